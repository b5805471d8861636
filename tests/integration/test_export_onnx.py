"""scripts/export_onnx.py: what it compares on, and the whole way from a model to predictions of its export."""

import argparse
import csv
import importlib.util
import json
import runpy
import shutil
from pathlib import Path

import pytest
from support import ROOT, run, toy_reviews, write_corpus
from support.models import save_random_classifier

from pipeline.modeling.files import fetch_model
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task

PAIRS = SingleLabelClassification(("다름", "같음"), ("premise", "hypothesis"))
TEXTS = ["재밌다", "영화가 너무 지루하다 " * 20, "연기가 최고다", "👍"]


@pytest.fixture
def saved(quickstart, tmp_path: Path) -> Path:
    return save_random_classifier(tmp_path / "saved", quickstart[1], initializer_range=0.1)


@pytest.fixture
def read_texts(saved: Path):
    """The script's choice of texts, for a model and the given options."""
    function = runpy.run_path(str(ROOT / "scripts" / "export_onnx.py"))["read_texts"]

    def call(count: int = 40, model: Path = saved, **options: object) -> tuple[list, str]:
        given = argparse.Namespace(**{"texts": None, "corpus_name": None, "corpus_root_dir": None, **options})
        return function(given, fetch_model(str(model)), count)

    return call


def record_training(saved: Path, corpus_name: str, corpus_root_dir: Path | None = None) -> None:
    """Write what scripts/train.py leaves of the corpus: its name, and unless the model is from the Hub its place."""
    (saved / "results.json").write_text(json.dumps({"evaluated_with": {"corpus_name": corpus_name}}))
    if corpus_root_dir:
        data = {"corpus_root_dir": str(corpus_root_dir), "cache_dir": None}
        (saved / "run.json").write_text(json.dumps({"arguments": {"data": data}}))


def test_the_default_is_the_corpus_of_the_training(saved: Path, toy_corpus: Path, read_texts) -> None:
    record_training(saved, "nsmc_layout", toy_corpus)
    texts, corpus = read_texts()
    assert corpus == "nsmc_layout"
    assert texts == [text for text, _ in toy_reviews(200)[150:190]]  # of the test split, in order


def test_texts_are_distinct_and_not_empty(saved: Path, tmp_path: Path, read_texts) -> None:
    rows = [("재밌다", 1), ("", 0), ("별로다", 0), ("재밌다", 1), ("끝", 1)]
    record_training(saved, "nsmc_layout", write_corpus(tmp_path / "own", rows, rows))
    assert read_texts(2) == (["재밌다", "별로다"], "nsmc_layout")
    assert read_texts(9) == (["재밌다", "별로다", "끝"], "nsmc_layout")


@pytest.mark.parametrize("corpus", [None, "nsmc_layout", "nsmc", "of another version"])
def test_without_the_corpus_of_the_training_it_is_generated_texts(
    saved: Path, tmp_path: Path, read_texts, corpus: str | None
) -> None:
    if corpus:
        record_training(saved, corpus, tmp_path / "nowhere")
    texts, name = read_texts(corpus_root_dir=str(tmp_path / "nowhere"))
    assert name == "quickstart"
    assert len(texts) == 40


@pytest.mark.parametrize("corpus", [None, "nsmc_layout"])
def test_only_a_corpus_that_was_trained_on_is_missed(
    saved: Path, tmp_path: Path, read_texts, caplog: pytest.LogCaptureFixture, corpus: str | None
) -> None:
    """A model of own data names no corpus in results.json."""
    caplog.set_level("INFO")
    if corpus:
        record_training(saved, corpus)
    else:
        (saved / "results.json").write_text('{"evaluated_with": {"max_length": 16}}')
    read_texts(corpus_root_dir=str(tmp_path / "nowhere"))
    assert any("Not comparing on" in message for message in caplog.messages) is (corpus is not None)


def test_an_export_is_not_exported_again(saved: Path, tmp_path: Path) -> None:
    (saved / "model.safetensors").rename(saved / "model.onnx")
    result = run("export_onnx.py", "--model", str(saved), "--output", "onnx", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().startswith(f"error: {saved} is an ONNX export")


def test_the_users_choice_comes_first(saved: Path, tmp_path: Path, toy_corpus: Path, read_texts) -> None:
    record_training(saved, "quickstart", tmp_path)
    assert read_texts(corpus_name="nsmc_layout", corpus_root_dir=str(toy_corpus))[1] == "nsmc_layout"
    with pytest.raises(UserError, match=r"ratings_train\.txt is missing"):
        read_texts(corpus_name="nsmc_layout", corpus_root_dir=str(tmp_path / "nowhere"))


def record_features(model: Path, folder: Path, task: Task, **splits: dict) -> None:
    """Write a tokenized corpus, and the run.json that names it."""
    from datasets import Dataset, DatasetDict

    DatasetDict({name: Dataset.from_dict(columns) for name, columns in splits.items()}).save_to_disk(folder)
    corpus = {"name": "mine", "task": task.describe()}
    (model / "run.json").write_text(json.dumps({"corpus": corpus, "features": {"folder": str(folder)}}))


def test_own_data_comes_from_the_features(saved: Path, tmp_path: Path, read_texts, quickstart) -> None:
    task = SingleLabelClassification(("ㄱ", "ㄴ"), ("문장",))
    train, test = {"문장": ["ㅁ", "ㅂ"]}, {"문장": ["가", "", "나", "가", "다"]}
    record_features(saved, tmp_path / "features", task, train=train, test=test)
    assert read_texts() == (["가", "나", "다"], "mine")
    record_features(saved, tmp_path / "others", task, train=train)
    assert read_texts() == (["ㅁ", "ㅂ"], "mine")  # a run without a test split of its own
    record_features(saved, tmp_path / "gone", task, train=train)
    shutil.rmtree(tmp_path / "gone")
    assert read_texts()[1] == "quickstart"
    model = save_random_classifier(tmp_path / "pairs", quickstart[1], task=PAIRS)
    pairs = {"premise": ["가", "나", ""], "hypothesis": ["다", "라", "마"]}
    record_features(model, tmp_path / "of-pairs", PAIRS, test=pairs)
    assert read_texts(model=model) == ([("가", "다"), ("나", "라")], "mine")


def test_a_file_of_texts(saved: Path, tmp_path: Path, read_texts, quickstart) -> None:
    record_training(saved, "quickstart", tmp_path)
    file = tmp_path / "texts.csv"

    def write(*rows: list[str]) -> None:
        with open(file, "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(rows)

    write(["id", "리뷰"], ["1", "가"], ["2", ""], ["3", "나"], ["4", "가"])
    assert read_texts(texts=file) == (["가", "나"], str(file))
    assert read_texts(1, texts=file)[0] == ["가"]
    model = save_random_classifier(tmp_path / "pairs", quickstart[1], task=PAIRS)
    with pytest.raises(UserError, match=r"리뷰 were taken; the model reads 2.*premise and hypothesis"):
        read_texts(model=model, texts=file)
    for names in (["premise", "hypothesis"], ["sentence1", "sentence2"]):
        write(["id", *names], ["1", "가", "나"], ["2", "다", ""])
        assert read_texts(model=model, texts=file)[0] == [("가", "나")]
    with pytest.raises(UserError, match="no such file"):
        read_texts(texts=tmp_path / "nothing.csv")
    write(["text"], [""])
    with pytest.raises(UserError, match="no texts to compare on"):
        read_texts(texts=file)


def test_a_model_of_pairs_is_compared_on_neighbours(saved: Path, tmp_path: Path, read_texts, quickstart) -> None:
    """If only corpora of single texts are there."""
    model = save_random_classifier(tmp_path / "pairs", quickstart[1], task=PAIRS)
    singles, pairs = (read_texts(10, model=each, corpus_root_dir=str(tmp_path))[0] for each in (saved, model))
    assert len(pairs) == 10
    assert pairs[:5] == list(zip(singles[::2], singles[1::2], strict=True))


needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxruntime", "onnxscript")),
    reason="the extra is not installed: pip install -e '.[onnx]'",
)


@pytest.mark.slow
@needs_onnx
def test_export_and_prediction(saved: Path, tmp_path: Path, toy_corpus: Path) -> None:
    record_training(saved, "nsmc_layout", toy_corpus)
    words = ("export_onnx.py", "--model", str(saved), "--output", "onnx")
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    difference, labels, size, output = result.stdout.splitlines()
    assert float(difference.split()[-1]) < 1e-4
    assert labels.endswith(" 100.00% of 50 texts")
    assert float(size.split()[-2]) > 1  # MB
    assert output == "onnx"
    # Nothing of the exporters' own warnings.
    assert [line.split(" ", 2)[2] for line in result.stderr.splitlines()] == [
        f"Exporting {saved}; comparing on 50 texts of nsmc_layout."
    ]
    again = run(*words, cwd=tmp_path)
    assert again.returncode == 2
    assert "onnx exists" in again.stderr
    assert "Traceback" not in again.stderr
    (tmp_path / "onnx" / "export.json").write_text("{}")
    assert run(*words, "--overwrite", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "onnx" / "export.json").read_text())["num_texts"] == 50
    predictions = [run("predict.py", "--model", model, *TEXTS, cwd=tmp_path).stdout for model in (str(saved), "onnx")]
    assert predictions[0] == predictions[1] != ""


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize(
    ("task", "agreement"),
    [
        (PAIRS, "same label                    100.00% of 40 texts"),
        (MultiLabelClassification(("ㄱ", "ㄴ", "ㄷ"), thresholds=(0.4, 0.5, 0.6)), "same label  "),
        (Regression(("score",), ("sentence1", "sentence2")), "correlation of the numbers    1.000000 on 40 texts"),
    ],
    ids=["pairs", "several", "numbers"],
)
def test_export_of_other_tasks(quickstart, tmp_path: Path, task: Task, agreement: str) -> None:
    model = save_random_classifier(tmp_path / "model", quickstart[1], initializer_range=0.2, task=task)
    rows = [text for text, _ in toy_reviews(80)]
    texts = {column: rows[index * 40 :][:40] for index, column in enumerate(task.text_columns)}
    record_features(model, tmp_path / "features", task, test=texts)
    result = run("export_onnx.py", "--model", str(model), "--output", "onnx", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[1].startswith(agreement)
    assert "comparing on 40 texts of mine." in result.stderr
