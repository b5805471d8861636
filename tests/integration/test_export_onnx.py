"""scripts/export_onnx.py: what it compares on, and the whole way from a model to predictions of its export."""

import argparse
import importlib.util
import json
import runpy
from pathlib import Path

import pytest
from support import ROOT, run, toy_reviews, write_corpus
from support.models import save_random_classifier

from pipeline.modeling.files import fetch_model
from pipeline.runtime.errors import UserError

TEXTS = ["재밌다", "영화가 너무 지루하다 " * 20, "연기가 최고다", "👍"]


@pytest.fixture
def saved(quickstart, tmp_path: Path) -> Path:
    return save_random_classifier(tmp_path / "saved", quickstart[1], initializer_range=0.1)


@pytest.fixture
def read_texts(saved: Path):
    """The script's choice of texts, for a model and the given options."""
    function = runpy.run_path(str(ROOT / "scripts" / "export_onnx.py"))["read_texts"]

    def call(count: int = 40, **options: str) -> tuple[list[str], str]:
        given = argparse.Namespace(**{"corpus_name": None, "corpus_root_dir": None, **options})
        return function(given, fetch_model(str(saved)), count)

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


def test_the_users_choice_comes_first(saved: Path, tmp_path: Path, toy_corpus: Path, read_texts) -> None:
    record_training(saved, "quickstart", tmp_path)
    assert read_texts(corpus_name="nsmc_layout", corpus_root_dir=str(toy_corpus))[1] == "nsmc_layout"
    with pytest.raises(UserError, match=r"ratings_train\.txt is missing"):
        read_texts(corpus_name="nsmc_layout", corpus_root_dir=str(tmp_path / "nowhere"))


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxruntime", "onnxscript")),
    reason="the extra is not installed: pip install -e '.[onnx]'",
)
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
        f"Exporting {saved}; comparing on 50 test texts of nsmc_layout."
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
