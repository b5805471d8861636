"""Fixtures that several rooms use."""

import shutil
from pathlib import Path

import pytest
from support import SCRATCH, SHARED, TWO_PROCESSES, toy_reviews, write_corpus

from pipeline.data.corpora.quickstart import write_quickstart
from pipeline.runtime.build_once import default_cache_dir


def pytest_sessionfinish() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture(scope="session")
def official() -> Path:
    """Korpora's folder with the official NSMC, where the machine has it."""
    if not (SHARED / "nsmc" / "ratings_train.txt").is_file():
        pytest.skip(f"the official NSMC is not in {SHARED}: nothing to check against")
    return SHARED


@pytest.fixture(scope="session")
def kakao() -> Path:
    """The folder with the real files of KorNLI (but those to train on) and KorSTS, where the machine has them."""
    if not (SHARED / "korsts" / "sts-train.tsv").is_file() or not (SHARED / "kornli" / "xnli.dev.ko.tsv").is_file():
        pytest.skip(f"KorNLI and KorSTS are not in {SHARED}: nothing to check against")
    return SHARED


@pytest.fixture(scope="session")
def kcbert(official: Path) -> Path:
    """kcbert-base's config and vocabulary, where the machine has them. No weights."""
    if not (SHARED / "kcbert-base" / "vocab.txt").is_file():
        pytest.skip(f"kcbert-base is not in {SHARED}: nothing to check against")
    return SHARED / "kcbert-base"


@pytest.fixture(scope="session")
def quickstart() -> tuple[Path, Path]:
    """The quickstart's corpus root and its model folder (config and tokenizer)."""
    folder = write_quickstart(default_cache_dir())
    return folder, folder / "model"


@pytest.fixture
def toy_corpus(tmp_path: Path) -> Path:
    """150 + 50 reviews: a number that 32 does not divide, so that an epoch's last batch is a small one."""
    rows = toy_reviews(200)
    return write_corpus(tmp_path / "toy", rows[:150], rows[150:])


@pytest.fixture(scope="module")
def odd_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 + 101 reviews: a prime to test with, which no batch and no number of processes divides."""
    rows = toy_reviews(251)
    return write_corpus(tmp_path_factory.mktemp("corpus"), rows[:150], rows[150:])


@pytest.fixture(scope="session")
def two_processes() -> tuple[str, ...]:
    """A launcher of two processes."""
    return TWO_PROCESSES
