"""A script's `main` as a command: what it exits with, and what it writes to stderr."""

import subprocess
import sys

import pytest
from support import ROOT

from pipeline.runtime import cli, xla
from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.signals import Interrupted


def main_that_raises(error: BaseException):
    @command
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("no such corpus"), 2, "\nerror: no such corpus\n"),
        (Interrupted("after step 3"), 143, "\ninterrupted: after step 3\n"),
        (KeyboardInterrupt(), 130, ""),  # before the handlers are installed
    ],
)
def test_exit_codes(error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main_that_raises(error)()
    assert end.value.code == code
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_not_caught() -> None:
    with pytest.raises(ValueError, match="not foreseen"):
        main_that_raises(ValueError("not foreseen"))()


def test_a_command_keeps_its_name_and_ends_well() -> None:
    """The TPU's launcher looks for `main` by its name."""

    @command
    def main() -> None:
        """Do it."""

    assert (main.__name__, main.__doc__, main()) == ("main", "Do it.", None)


@pytest.mark.parametrize("error", [UserError("no such corpus"), Interrupted("after step 3")])
def test_other_ranks_give_the_first_time_to_report_and_report_then(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setattr(cli.signal, "signal", lambda *args: None)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            main_that_raises(error)()
    assert waited == [cli.RANK_ZERO_REPORT_SECONDS]
    assert capsys.readouterr().err.count(str(error)) == 2


def test_of_replicas_only_the_first_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(xla, "is_replica", lambda: True)
    for ordinal in (0, 3):
        monkeypatch.setattr(xla, "ordinal", lambda ordinal=ordinal: ordinal)
        monkeypatch.setattr(xla.threading, "Timer", lambda *args: type("Timer", (), {"start": lambda self: None})())
        with pytest.raises(SystemExit):
            main_that_raises(UserError("no such corpus"))()
    assert capsys.readouterr().err.count("error: no such corpus") == 1


def test_nothing_slow_is_imported() -> None:
    """A mistake in an option is reported before torch and transformers are imported."""
    code = (
        "import sys, pipeline.runtime.cli, pipeline.runtime.logging\nprint({'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"
