"""The project's own logger: stderr and a run's file, rank 0 only, set up once."""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from pipeline.runtime import xla
from pipeline.runtime.logging import configure_logging, log_to_file, show


@pytest.fixture(autouse=True)
def without_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    logger, library = logging.getLogger("pipeline"), logging.getLogger("transformers")
    for name, value in (("handlers", []), ("propagate", True), ("level", logging.NOTSET)):
        monkeypatch.setattr(logger, name, value)
    monkeypatch.setattr(library, "handlers", list(library.handlers))
    yield
    for handler in logger.handlers:
        with contextlib.suppress(OSError):  # as when Python ends
            handler.close()


def test_messages_go_to_stderr_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    logging.getLogger("pipeline.data.tokenization").info("written")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [err.strip()]
    assert err.endswith(" INFO written\n")


@pytest.mark.parametrize("kind", ["rank", "replica"])
def test_other_ranks_log_errors_only(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    logger = configure_logging()
    log_to_file(tmp_path / "train.log", append=False)
    logger.info("of the first")
    if kind == "rank":
        monkeypatch.setenv("RANK", "1")
    else:
        monkeypatch.setattr(xla, "ordinal", lambda: 3)  # in a thread of the same process
    log_to_file(tmp_path / "another.log", append=False)
    logger.warning("of another")
    show("a table of another")
    logger.error("an error of another")
    expected = ["INFO of the first", "ERROR an error of another"]
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines()] == expected
    assert [line.split(maxsplit=2)[2] for line in (tmp_path / "train.log").read_text().splitlines()] == expected
    assert not (tmp_path / "another.log").exists()


def test_the_file_has_more_than_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure_logging()
    logger.info("before")
    log_to_file(tmp_path / "train.log", append=False)
    logger.debug("arguments: 두 줄\n  a=1")
    logger.warning("careful")
    logging.getLogger("transformers.trainer").warning("of the library")
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^[\d-]+ [\d:]+ ", "", line) for line in lines] == [
        *("DEBUG arguments: 두 줄", "  a=1", "WARNING careful", "WARNING of the library"),
    ]
    err = capsys.readouterr().err
    assert "before" in err
    assert "careful" in err
    assert "arguments" not in err


def test_a_screen_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    log_to_file(tmp_path / "train.log", append=False)
    show("긍정  100 %\n부정    0 %")
    assert capsys.readouterr() == ("", "긍정  100 %\n부정    0 %\n")
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "긍정  100 %\n부정    0 %\n"


@pytest.mark.parametrize(("append", "expected"), [(True, "earlier\nlater\n"), (False, "later\n")])
def test_a_resumed_run_appends_to_its_file(tmp_path: Path, append: bool, expected: str) -> None:
    (tmp_path / "train.log").write_text("earlier\n")
    configure_logging()
    log_to_file(tmp_path / "train.log", append=append)
    show("later")
    assert (tmp_path / "train.log").read_text() == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full is Linux's")
def test_a_full_disk_stops_the_file_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure_logging()
    log_to_file(Path("/dev/full"), append=True)
    for text in ("first", "second"):
        logger.info(text)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]


def test_a_bar_is_not_torn_apart(capsys: pytest.CaptureFixture[str]) -> None:
    logger = configure_logging()
    with tqdm(total=2, file=sys.stderr, mininterval=0, ncols=40) as bar:
        bar.update()
        logger.info("in between")
        bar.update()
    written = capsys.readouterr().err
    assert re.search(r"\r +\r\d\d:\d\d:\d\d INFO in between\n", written)  # the bar is erased before
    assert "1/2" in written.split("in between")[1]  # and drawn again after
