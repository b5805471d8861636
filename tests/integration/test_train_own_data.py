"""The user's own data through the real scripts: what new users tried, and NSMC in other formats, to the last digit."""

import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas
import pytest
from support import logged_steps, run, small_training, toy_reviews, write_corpus
from support.hub import TOKEN, Hub

pytestmark = pytest.mark.slow

SHORT = ("--max_steps", "6", "--logging_steps", "1", "--output_dir", "out", "--report_to", "none")
EMOTIONS = "기쁨 슬픔 분노 불안 당황 상처".split()


def train(cwd: Path, *flags: str, **environment: str) -> dict:
    """Train the quickstart's model on own data and return results.json and run.json as one."""
    words = ("train.py", "--model_name_or_path", "quickstart", "--from_scratch", "--max_length", "32", *SHORT, *flags)
    result = run(*words, cwd=cwd, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return {name: json.loads((cwd / "out" / f"{name}.json").read_text()) for name in ("results", "run")}


def emotions(count: int = 240) -> pandas.DataFrame:
    order = random.Random(0)
    rows = [(f'오늘은 {name} 같은 하루였다, "{i}"', name) for i in range(count) for name in [order.choice(EMOTIONS)]]
    return pandas.DataFrame(rows, columns=["문장", "감정"])


def pairs(count: int) -> list[dict]:
    kinds = ("entailment", "neutral", "contradiction")
    return [
        {"premise": f"그는 {i}번 갔다", "hypothesis": "그는 갔다", "gold_label": kinds[i % 3]} for i in range(count)
    ]


def test_six_emotions_in_a_csv_as_korean_excel_saves_it(tmp_path: Path) -> None:
    """CP949, commas and quotation marks within texts, no test set; then every other script on the model."""
    emotions().to_csv(tmp_path / "감정.csv", index=False, encoding="cp949")
    found = train(tmp_path, "--train_file", "감정.csv", "--class_weights", "balanced")
    corpus, results = found["run"]["corpus"], found["results"]
    assert corpus["task"]["class_names"] == sorted(EMOTIONS)
    assert (corpus["report"]["text_columns"], corpus["report"]["label_columns"]) == (["문장"], ["감정"])
    assert any("CP949" in note for note in corpus["report"]["notes"])
    assert results["test"]["num_examples"] == pytest.approx(24, abs=3)
    assert set(results["test"]["per_class"]) == set(EMOTIONS)
    card = (tmp_path / "out" / "README.md").read_text()
    assert not any(word in card for word in ("부정", "긍정", "NSMC", "리뷰", "review"))

    predicted = run("predict.py", "--model", "out", "--input", "감정.csv", "--output", "labels.csv", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    table = pandas.read_csv(tmp_path / "labels.csv")
    assert table[["문장", "감정"]].equals(emotions())
    assert set(table["label"]) <= set(EMOTIONS)

    evaluated = run("evaluate_model.py", "--model_name_or_path", "out", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    again = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {split: again[split] for split in ("validation", "test")} == {
        split: results[split] for split in ("validation", "test")
    }


def test_pairs_in_jsonl(tmp_path: Path) -> None:
    for name, count in (("a.jsonl", 150), ("b.jsonl", 30)):
        (tmp_path / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs(count)))
    columns = ("--text_column", "premise", "hypothesis", "--label_column", "gold_label")
    found = train(tmp_path, "--train_file", "a.jsonl", "--test_file", "b.jsonl", *columns)
    assert found["results"]["test"]["num_examples"] == 30
    assert found["run"]["corpus"]["task"]["text_columns"] == ["premise", "hypothesis"]
    features = datasets.load_from_disk(found["run"]["features"]["folder"])
    assert set(features["train"][0]["token_type_ids"]) == {0, 1}
    predicted = run("predict.py", "--model", "out", "--input", "b.jsonl", "--output", "out.jsonl", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["premise"] for row in rows] == [row["premise"] for row in pairs(30)]


def test_a_saved_dataset_with_its_own_splits(tmp_path: Path) -> None:
    frame = emotions()
    names = datasets.ClassLabel(names=EMOTIONS)
    rows = datasets.Dataset.from_dict({"text": frame["문장"], "label": frame["감정"]}).cast_column("label", names)
    splits = {"train": range(160), "dev": range(160, 200), "test": range(200, 240)}
    datasets.DatasetDict({name: rows.select(part) for name, part in splits.items()}).save_to_disk(tmp_path / "saved")
    found = train(tmp_path, "--train_file", "saved")
    assert [found["results"][split]["num_examples"] for split in ("validation", "test")] == [40, 40]
    assert set(found["run"]["corpus"]["task"]["class_names"]) == set(EMOTIONS)


def test_star_ratings_from_excel_as_classes_and_as_numbers(tmp_path: Path) -> None:
    rows = pandas.DataFrame([(f"별점 {i % 5}점짜리", i % 5) for i in range(200)], columns=["내용", "별점"])
    rows.to_excel(tmp_path / "stars.xlsx", index=False)
    flags = ("--train_file", "stars.xlsx", "--label_column", "별점")
    classes = train(tmp_path, *flags, "--class_names", "최악", "별로", "보통", "좋음", "최고")
    assert classes["run"]["corpus"]["task"]["class_names"] == ["최악", "별로", "보통", "좋음", "최고"]
    numbers = train(tmp_path, *flags, "--problem_type", "regression", "--overwrite_output_dir")
    assert {"pearson", "rmse"} <= numbers["results"]["test"].keys()
    predicted = run("predict.py", "--model", "out", "별점 4점짜리", cwd=tmp_path)
    float(predicted.stdout.split("\t")[0])


def test_several_labels_at_once(tmp_path: Path) -> None:
    words = ("화남", "슬픔", "기쁨")
    rows = [
        {"text": f"{' '.join(chosen)} 날 {i}", "labels": list(chosen)}
        for i in range(180)
        for chosen in [[word for bit, word in enumerate(words) if i >> bit & 1]]
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    found = train(tmp_path, "--train_file", "a.jsonl", "--metric_for_best_model", "f1_macro")
    assert found["run"]["corpus"]["task"]["problem_type"] == "multi_label_classification"
    assert {"f1_micro", "f1_macro"} <= found["results"]["test"].keys()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert len(config["classifier"]["thresholds"]) == 3
    frame = pandas.DataFrame({"text": [row["text"] for row in rows]})
    for word in words:
        frame[word] = [int(word in row["labels"]) for row in rows]
    frame.to_parquet(tmp_path / "a.parquet")
    columns = train(tmp_path, "--train_file", "a.parquet", "--label_column", *sorted(words), "--overwrite_output_dir")
    assert columns["results"]["test"] == found["results"]["test"]


FORMATS: dict[str, Callable[[pandas.DataFrame, Path], None]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_nsmc_in_other_formats_gives_the_same_digits(tmp_path: Path, kind: str) -> None:
    rows = [("", 0), ("줄\t없이", 1), *toy_reviews(298)]
    rows = [(text.replace("\t", " "), label) for text, label in rows]
    corpus = write_corpus(tmp_path / "corpus", rows[:200], rows[200:])
    official = run(*small_training(corpus, "nsmc"), cwd=tmp_path)
    assert official.returncode == 0, official.stderr[-3000:]
    for name, part in (("train", rows[:200]), ("test", rows[200:])):
        FORMATS[kind](pandas.DataFrame(part, columns=["document", "label"]), tmp_path / f"{name}.{kind}")
    words = small_training(corpus, "own")
    start = words.index("--corpus_name")
    words[start : start + 4] = ["--train_file", f"train.{kind}", "--test_file", f"test.{kind}"]
    own = run(*words, "--class_names", "부정", "긍정", cwd=tmp_path)
    assert own.returncode == 0, own.stderr[-3000:]

    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("nsmc", "own"))
    assert [step["loss"] for step in logged_steps(tmp_path / "nsmc")] == [
        step["loss"] for step in logged_steps(tmp_path / "own")
    ]
    assert {split: first[split] for split in ("validation", "test")} == {
        split: second[split] for split in ("validation", "test")
    }
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("nsmc", "own")]
    assert weights[0] == weights[1]


def test_a_dataset_of_the_hub_and_again_without_a_network(tmp_path: Path) -> None:
    frame = emotions()
    frame[:200].to_csv(tmp_path / "train.csv", index=False)
    frame[200:].to_csv(tmp_path / "test.csv", index=False)
    push = """
        import datasets
        rows = datasets.load_dataset("csv", data_files={"train": "train.csv", "test": "test.csv"})
        rows.push_to_hub("me/emotions", "ynat")
    """
    with Hub({TOKEN: {"name": "me", "role": "write"}}) as hub:
        environment = hub.environment(TOKEN)
        code = [sys.executable, "-c", textwrap.dedent(push)]
        pushed = subprocess.run(code, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True)
        assert pushed.returncode == 0, pushed.stderr[-3000:]
        words = ("--dataset_name", "me/emotions", "--dataset_config_name", "ynat")
        found = train(tmp_path, *words, **environment)
        assert found["results"]["test"]["num_examples"] == 40
        assert set(found["run"]["corpus"]["task"]["class_names"]) == set(EMOTIONS)
        assert found["run"]["corpus"]["name"] == "emotions-ynat"
        wrong = run(
            "train.py",
            "--model",
            "quickstart",
            "--from_scratch",
            "--dataset_name",
            "me/no",
            cwd=tmp_path,
            **environment,
        )
        assert wrong.returncode == 2
        assert "--dataset_name me/no cannot be loaded" in wrong.stderr
        hub.down()
        offline = {**environment, "HF_HUB_OFFLINE": "1"}
        again = train(tmp_path, *words, "--overwrite_output_dir", **offline)
        assert again["results"]["test"] == found["results"]["test"]
        assert again["run"]["features"]["folder"] == found["run"]["features"]["folder"]


def test_bad_rows_are_named_and_left_out_only_if_told(tmp_path: Path) -> None:
    lines = ["text,label", *(f"글 {i},{i % 2}" for i in range(100)), "한 열뿐", "이름표 없음,", '"열린 따옴표,1']
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    words = ("train.py", "--model_name_or_path", "quickstart", "--from_scratch", "--train_file", "a.csv", *SHORT)
    refused = run(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "3 row(s) cannot be used" in refused.stderr
    for line, reason in ((102, "has 1 column"), (103, "has no label"), (104, "quot")):
        assert any(f"a.csv, line {line}" in row and reason in row for row in refused.stderr.splitlines()), (
            refused.stderr
        )
    assert "--skip_bad_rows" in refused.stderr
    found = train(tmp_path, "--train_file", "a.csv", "--skip_bad_rows")
    assert found["run"]["corpus"]["report"]["num_rows_left_out"] == 3
    assert sum(found["run"]["features"]["num_examples"].values()) == 100


def test_evaluation_takes_what_the_user_names(tmp_path: Path) -> None:
    emotions().to_csv(tmp_path / "train.csv", index=False)
    train(tmp_path, "--train_file", "train.csv")
    other = emotions(60).rename(columns={"문장": "text", "감정": "label"})
    other.to_csv(tmp_path / "other.tsv", index=False, sep="\t")
    evaluated = run("evaluate_model.py", "--model_name_or_path", "out", "--test_file", "other.tsv", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    scores = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert scores["test"]["num_examples"] == 60
    assert "validation" not in scores
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 60
    for path in ("nowhere.csv", "/no/such/folder"):
        flag = "--test_file" if path.endswith("csv") else "--corpus_root_dir"
        missing = run("evaluate_model.py", "--model_name_or_path", "out", flag, path, cwd=tmp_path)
        assert missing.returncode == 2
        assert path in missing.stderr
    strange = other.assign(label="모름")
    strange.to_csv(tmp_path / "strange.csv", index=False)
    unknown = run("evaluate_model.py", "--model_name_or_path", "out", "--test_file", "strange.csv", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "60 row(s) cannot be used" in unknown.stderr
    assert "has the label '모름'" in unknown.stderr
