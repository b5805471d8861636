"""The corpora that docs/architecture.md adds, one file each, go the whole way; no other file knows them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from support import NO_DROPOUT, ROOT, run

CLASSES = {"부정": "별로였다 시끄럽다 비싸다", "중립": "그저 그렇다 평범하다", "긍정": "맛있다 친절하다 좋았다"}
# As an installation with this file in its folder of corpora; the checkout is left alone.
WITH_THE_CORPUS = (
    "import runpy, sys; import pipeline.data.corpora as corpora; corpora.__path__.append(sys.argv[1]); "
    "sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora's code as the docs have it, in `code`, and their files in folders of their names."""
    home = tmp_path_factory.mktemp("cafe")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = re.findall(r'`pipeline/data/corpora/(\w+\.py)`:\n\n```python\n(""".*?)^```$', page, re.M | re.S)
    assert [name for name, _ in files] == ["cafe_reviews.py", "cafe_answers.py"]
    (home / "code").mkdir()
    for name, code in files:
        assert len(code.splitlines()) < 50
        (home / "code" / name).write_text(code, encoding="utf-8")
    (home / "cafe_reviews").mkdir()
    for split, count in (("train", 300), ("test", 60)):
        with open(home / "cafe_reviews" / f"{split}.tsv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["opinion", "review"])
            for number in range(count):
                name = list(CLASSES)[number % 3]
                words = CLASSES[name].split()
                writer.writerow([name, f"카페가 {'정말 ' * (number % 4)}{words[number % len(words)]} {number}"])
    (home / "cafe_answers").mkdir()
    for split, count in (("train", 90), ("validation", 30), ("test", 40)):
        rows = [
            {"q": f"몇 시에 {'문을 ' * (i % 3)}여나요? {i}", "a": f"아홉 시요 {i}", "ok": i % 2 == 0}
            for i in range(count)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (home / "cafe_answers" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return home


def script(home: Path, *words: str) -> subprocess.CompletedProcess:
    name, *flags = words
    launcher = (sys.executable, "-c", WITH_THE_CORPUS, str(home / "code"))
    return run(name, *flags, cwd=home, launcher=launcher, PYTHONPATH=str(ROOT))


@pytest.fixture(scope="module")
def trained(home: Path) -> tuple[Path, str]:
    done = script(
        home,
        *("train.py", "--recipe", "quickstart", "--corpus_name", "cafe_reviews", "--corpus_root_dir", str(home)),
        *("--num_train_epochs", "6", "--validation_fraction", "0.1", "--metric_for_best_model", "f1_중립"),
        *("--config_overrides", NO_DROPOUT, "--output_dir", "run", "--report_to", "none", "--cache_dir", "cache"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return home / "run", done.stdout


def test_it_is_an_option_by_its_files_name(home: Path) -> None:
    told = "".join(script(home, "train.py", "--help").stdout.split())
    assert "cafe_reviews:reviewsofcafesinthreeclasses" in told
    assert "cafe_reviews" not in "".join(run("train.py", "--help", cwd=home).stdout.split())
    command = ("train.py", "--corpus_name", "cafe_reviews")
    done = script(home, *command, "--metric_for_best_model", "f1_보통")
    assert "recall_macro, f1_부정, f1_중립, f1_긍정." in done.stderr
    done = script(home, *command, "--corpus_root_dir", "elsewhere", "--model", "quickstart")
    assert done.returncode == 2
    assert f"{home / 'elsewhere' / 'cafe_reviews' / 'train.tsv'} is missing." in done.stderr


def test_it_is_learned_and_reported(trained: tuple[Path, str]) -> None:
    folder, table = trained
    results = json.loads((folder / "results.json").read_text())
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (30, 60)
    assert set(results["test"]["per_class"]) == set(CLASSES)
    assert results["test"]["accuracy"] > 0.8  # chance: one in three
    for name in CLASSES:
        assert f"precision {name}" in table
    assert json.loads((folder / "run.json").read_text())["corpus"]["name"] == "cafe_reviews"
    config = json.loads((folder / "config.json").read_text())
    assert list(config["id2label"].values()) == list(CLASSES)


def test_its_card_speaks_of_it(trained: tuple[Path, str]) -> None:
    card = ModelCard.load(trained[0] / "README.md")
    for expected in ("카페 리뷰", "cafe reviews", *CLASSES, "공개하지 않는 데이터입니다.", "The data is not public."):
        assert expected in card.text
    assert [result.dataset_name for result in card.data.eval_results] == ["cafe reviews"] * 2
    for another in ("NSMC", "별점", "영화", "movie"):
        assert another not in card.text


def test_both_languages_have_the_same_code() -> None:
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("architecture.md", "architecture.ko.md")]
    english, korean = (re.findall(r"^```python\n.*?^```$", page, re.M | re.S) for page in pages)
    assert english == korean


def test_pairs_of_a_form_of_their_own(home: Path) -> None:
    words = ("--recipe", "quickstart", "--corpus_name", "cafe_answers", "--corpus_root_dir", str(home))
    more = ("--max_steps", "2", "--output_dir", "pairs", "--report_to", "none", "--cache_dir", "cache")
    done = script(home, "train.py", *words, *more)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((home / "pairs" / "results.json").read_text())
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (30, 40)
    run_json = json.loads((home / "pairs" / "run.json").read_text())
    assert run_json["corpus"]["task"]["text_columns"] == ["question", "answer"]
    assert run_json["features"]["num_examples"] == {"train": 90, "validation": 30, "test": 40}


@pytest.mark.slow
def test_its_model_is_evaluated_and_predicts(home: Path, trained: tuple[Path, str]) -> None:
    folder, _ = trained
    done = script(home, "evaluate_model.py", "--model", "run")
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((folder / "results.json").read_text())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert {name: evaluation[name] for name in ("validation", "test")} == {
        name: results[name] for name in ("validation", "test")
    }
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["review"].split()[0] for line in lines] == ["카페가"] * 90
    assert set(lines[0]["probabilities"]) == set(CLASSES)
    done = run("predict.py", "--model", "run", *(line["review"] for line in lines[:6]), cwd=home)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [line["predicted"] for line in lines[:6]]
    assert len({line["predicted"] for line in lines[:6]}) > 1
