"""The project's own logger: stderr, rank 0 only, set up once."""

import logging

import pytest

from pipeline.runtime import xla
from pipeline.runtime.logging import configure_logging


@pytest.fixture(autouse=True)
def without_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("pipeline")
    for name, value in (("handlers", []), ("propagate", True), ("level", logging.NOTSET)):
        monkeypatch.setattr(logger, name, value)


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
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = configure_logging()
    logger.info("of the first")
    if kind == "rank":
        monkeypatch.setenv("RANK", "1")
    else:
        monkeypatch.setattr(xla, "ordinal", lambda: 3)  # in a thread of the same process
    logger.warning("of another")
    logger.error("an error of another")
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "INFO of the first",
        "ERROR an error of another",
    ]
