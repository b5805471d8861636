"""`from pipeline import load_corpus, load_features`, as docs/reuse.md shows it: what the scripts read and build."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_from_disk
from support import ROOT, run
from transformers import AutoTokenizer

import pipeline
from pipeline import load_corpus, load_features
from pipeline.inference import classifier
from pipeline.runtime.errors import UserError


def test_the_quickstart(tmp_path: Path) -> None:
    corpus = load_corpus("quickstart", cache_dir=tmp_path)
    assert corpus.num_rows == {"train": 4000, "test": 1000}
    assert corpus["train"].column_names == ["text", "label"]
    features = load_features("quickstart", 16, corpus_name="quickstart", cache_dir=tmp_path)
    assert features["train"].column_names == ["text", "label", "input_ids"]
    for split in ("train", "test"):
        assert features[split]["text"][:] == corpus[split]["text"][:]
        assert features[split]["label"][:] == corpus[split]["label"][:]
    tokenizer = AutoTokenizer.from_pretrained(next(tmp_path.glob("quickstart-*/model")))
    row = max(range(1000), key=lambda number: len(corpus["test"][number]["text"]))
    expected = tokenizer(corpus["test"][row]["text"], truncation=True, max_length=16)["input_ids"]
    assert features["test"][row]["input_ids"] == expected
    assert len(expected) == 16


def test_files_of_ones_own(toy_corpus: Path, quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    where = {"corpus_name": "nsmc_layout", "corpus_root_dir": toy_corpus}
    assert load_corpus(**where).num_rows == {"train": 150, "test": 50}
    features = load_features(str(quickstart[1]), 32, **where, cache_dir=tmp_path / "cache")
    assert features.num_rows == {"train": 150, "test": 50}
    assert load_corpus("nsmc_layout", str(toy_corpus))["test"][0] == {
        name: value for name, value in features["test"][0].items() if name != "input_ids"
    }


def test_scripts_and_other_experiments_share_one_folder(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = run("prepare_data.py", "--recipe", "quickstart", "--cache_dir", str(cache), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = Path(done.stdout.splitlines()[-1])
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    features = load_features("quickstart", 64, corpus_name="quickstart", cache_dir=str(cache))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before  # nothing is built, nothing added
    assert features["train"][:] == load_from_disk(folder)["train"][:]
    assert {Path(file["filename"]).parents[1] for file in features["test"].cache_files} == {folder}


def test_what_is_missing_is_the_error_of_the_scripts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the corpus NSMC is not in"):
        load_corpus(corpus_root_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []  # offline, no folder and no lock is made for a download
    with pytest.raises(UserError, match="the model beomi/kcbert-base is not in the Hub's cache"):
        load_features(corpus_name="quickstart", cache_dir=tmp_path)


def test_data_of_ones_own_by_the_names_of_the_options(quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    for name, count in (("a", 6), ("b", 2)):
        lines = ["sentence1,sentence2,label", *(f"글 {number},{name},{number % 2}" for number in range(count))]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    where = {"train_file": tmp_path / "a.csv", "test_file": [str(tmp_path / "b.csv")], "class_names": ["부정", "긍정"]}
    corpus = load_corpus(**where)
    assert corpus.num_rows == {"train": 6, "test": 2}
    assert corpus["train"].features["label"].names == ["부정", "긍정"]
    features = load_features(str(quickstart[1]), 16, **where, cache_dir=tmp_path / "cache")
    assert features["test"].column_names == ["sentence1", "sentence2", "label", "input_ids", "token_type_ids"]


def test_the_package_has_these_and_no_others() -> None:
    assert set(pipeline.__all__) == {"load_classifier", "load_corpus", "load_features"}
    assert pipeline.load_classifier is classifier.load_classifier
    with pytest.raises(AttributeError, match="load_nothing"):
        pipeline.load_nothing  # noqa: B018


def test_the_package_itself_imports_at_once() -> None:
    code = "import sys, pipeline; print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_with_no_arguments_it_is_nsmc_for_kcbert(official: Path, kcbert: Path, tmp_path: Path) -> None:
    """The lines of docs/reuse.md, in a home folder that has both."""
    (tmp_path / "Korpora").symlink_to(official)
    repository = tmp_path / "hub" / "models--beomi--kcbert-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(kcbert)
    code = (
        "from pipeline import load_corpus, load_features\n"
        "corpus = load_corpus()\n"
        "features = load_features()\n"
        "import json\n"
        "longest = max(map(len, features['test']['input_ids']))\n"
        "print(json.dumps([corpus.num_rows, features.num_rows, features['train'][0], longest]))"
    )
    environment = {
        **{**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")},
        "HF_DATASETS_CACHE": str(tmp_path / "datasets"),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    corpus, features, first, longest = json.loads(done.stdout.splitlines()[-1])
    assert corpus == features == {"train": 150_000, "test": 50_000}
    assert first == {
        "text": "아 더빙.. 진짜 짜증나네요 목소리",
        "label": 0,
        "input_ids": [2, 2170, 832, 5045, 17, 17, 7992, 29734, 4040, 10720, 3],
    }
    assert longest <= 128


def test_a_mistyped_option_is_named() -> None:
    with pytest.raises(UserError, match=r"no option train_flie\. Did you mean train_file\?"):
        load_corpus(train_flie="a.csv")
