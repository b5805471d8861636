"""The data stages in a row: each option reaches the stage that it is for."""

import hashlib
import logging
from pathlib import Path

import pytest
from support import write_corpus

from pipeline.config.parser import parse_arguments
from pipeline.data.corpora import get_corpus, nsmc
from pipeline.data.corpus import SourceFile
from pipeline.prepare import Prepared, fetch_sources, prepare
from pipeline.runtime.errors import UserError

ROWS = [("재밌다", 1), ("별로다", 0)]


def prepare_by(*words: str) -> Prepared:
    data, model, _ = parse_arguments(list(words))
    return prepare(data, fetch_sources(data, model))


@pytest.fixture
def words(toy_corpus: Path, quickstart: tuple[Path, Path], tmp_path: Path) -> list[str]:
    return [
        *("--corpus_name", "nsmc_layout", "--corpus_root_dir", str(toy_corpus), "--cache_dir", str(tmp_path / "cache")),
        *("--model", str(quickstart[1]), "--from_scratch", "--max_length", "8"),
    ]


def test_features_are_found_again_and_overwritten_on_demand(words: list[str], tmp_path: Path) -> None:
    prepared = prepare_by(*words)
    assert prepared.features.folder.parent == tmp_path / "cache"
    assert max(map(len, prepared.features.splits["train"]["input_ids"])) == prepared.tokenizer.model_max_length == 8
    written = (prepared.features.folder / "features.json").stat().st_mtime_ns
    assert prepare_by(*words).features.folder == prepared.features.folder
    assert (prepared.features.folder / "features.json").stat().st_mtime_ns == written
    assert prepare_by(*words, "--overwrite_cache").features.folder == prepared.features.folder
    assert (prepared.features.folder / "features.json").stat().st_mtime_ns > written


def test_the_origin_of_data_and_model(words: list[str], toy_corpus: Path, quickstart: tuple[Path, Path]) -> None:
    prepared = prepare_by(*words)
    digests = {
        split: hashlib.sha256((toy_corpus / "nsmc" / f"ratings_{split}.txt").read_bytes()).hexdigest()
        for split in ("train", "test")
    }
    assert prepared.describe() == {
        "corpus": {
            "name": "nsmc_layout",
            "sha256": digests,
            "card": get_corpus("nsmc_layout").card.describe(),
            "task": prepared.task.describe(),
            "report": {},
        },
        "features": {
            "folder": str(prepared.features.folder),
            "num_examples": {"train": 150, "test": 50},
            "statistics": prepared.features.statistics,
        },
        "model": {"name": str(quickstart[1]), "commit": None, "pretrained": False},
    }


def test_a_forced_download_is_tried(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_corpus(tmp_path / "official", ROWS, ROWS)
    digest = hashlib.sha256((root / "nsmc" / "ratings_train.txt").read_bytes()).hexdigest()  # of both files
    files = {split: SourceFile(file.name, sha256=digest) for split, file in get_corpus("nsmc").files.items()}
    monkeypatch.setattr(nsmc.Nsmc, "files", files)
    words += ["--corpus_name", "nsmc", "--corpus_root_dir", str(root)]
    assert prepare_by(*words).features.splits.num_rows == {"train": 2, "test": 2}
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        prepare_by(*words, "--force_download")


def test_the_notice_of_a_corpus_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    data, model, _ = parse_arguments(["--recipe", "quickstart"])
    with caplog.at_level(logging.WARNING, "pipeline"):
        sources = fetch_sources(data, model)
    assert caplog.messages == [get_corpus("quickstart").notice]
    assert not sources.model_files.weights


def test_the_notice_of_its_model_alone(words: list[str], toy_corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, model, _ = parse_arguments([*words, "--model", "quickstart"])
    with caplog.at_level(logging.WARNING, "pipeline"):
        fetch_sources(data, model)
    assert caplog.messages == [get_corpus("quickstart").notice]
