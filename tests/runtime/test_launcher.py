"""What launchers are told: exit codes that tell a mistake from an interruption, and a message that a person sees."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support import ACCELERATE, ON_CPU, ROOT, TWO_PROCESSES

SCRIPT = """
import os, sys, time
from pathlib import Path
from pipeline.runtime.cli import command, install_signal_handlers
from pipeline.runtime.errors import UserError
from pipeline.runtime.signals import Interrupted, defer_signals, received_signal

@command
def main():
    install_signal_handlers()
    if sys.argv[1] == "mistake":
        raise UserError("there is no such corpus")
    if sys.argv[1] == "bug":
        raise RuntimeError("not foreseen")
    rank = os.environ.get("RANK", "0")
    if sys.argv[1] == "between":
        Path(f"pid-{rank}").write_text(str(os.getpid()))
        time.sleep(60)
    with defer_signals():
        Path(f"pid-{rank}").write_text(str(os.getpid()))
        while not received_signal() and not Path("stop").exists():
            time.sleep(0.01)
        Path("stop").touch()  # all processes stop together
        time.sleep(0.2)  # a checkpoint is written
        raise Interrupted("checkpoint-3 is complete")

main()
"""
PYTHON = (sys.executable,)
ONE = (*ACCELERATE, "--cpu", "--num_processes", "1")
TORCHRUN = (str(Path(sys.executable).with_name("torchrun")), "--nproc_per_node", "2", "--master_port", "0")
LAUNCHERS = {"python": PYTHON, "one process": ONE, "two processes": TWO_PROCESSES, "torchrun": TORCHRUN}
TERM, INT, USR1, USR2 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """The command that launches the script above."""
    (tmp_path / "script.py").write_text(SCRIPT)
    return lambda launcher, what: [*LAUNCHERS[launcher], str(tmp_path / "script.py"), what]


def environment() -> dict[str, str]:
    return {**os.environ, **ON_CPU, "PYTHONPATH": str(ROOT)}


# A mistake.


@pytest.mark.parametrize(
    ("launcher", "code"),
    [
        ("python", 2),
        ("one process", 1),
        ("two processes", 1),
        pytest.param("torchrun", 1, marks=pytest.mark.slow),
    ],
)
def test_a_mistake_is_a_failure_to_schedulers(command, tmp_path: Path, launcher: str, code: int) -> None:
    """Not 143, which they take for a preemption: they would start the job again."""
    result = subprocess.run(
        command(launcher, "mistake"),
        **{"cwd": tmp_path, "env": environment(), "capture_output": True, "text": True, "check": False},
        timeout=60,
    )
    assert result.returncode == code
    assert result.stderr.count("error: there is no such corpus") == 1


@pytest.mark.parametrize("launcher", ["python", "one process"])
def test_a_bug_keeps_its_traceback(command, tmp_path: Path, launcher: str) -> None:
    result = subprocess.run(
        command(launcher, "bug"),
        **{"cwd": tmp_path, "env": environment(), "capture_output": True, "text": True, "check": False},
        timeout=60,
    )
    assert result.returncode == 1
    assert "RuntimeError: not foreseen" in result.stderr


@pytest.mark.parametrize(("launcher", "code"), [("one process", -TERM), ("two processes", -USR1)])
def test_the_message_is_the_last_word_on_a_terminal(command, tmp_path: Path, launcher: str, code: int) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        words = command(launcher, "mistake")
        os.execve(words[0], words, environment())  # noqa: S606
    shown = b""
    try:
        while select.select([terminal], [], [], 60)[0] and (read := os.read(terminal, 65536)):
            shown += read
    except OSError:  # how a terminal ends
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    assert shown.decode().split("\r\n")[-2:] == ["error: there is no such corpus", ""]
    assert b"Traceback" not in shown


# An interruption.


@pytest.mark.parametrize("number", [pytest.param(TERM, id="SIGTERM"), pytest.param(INT, id="SIGINT")])
@pytest.mark.parametrize("stage", ["between", "training"])
@pytest.mark.parametrize(
    ("launcher", "whom", "code"),
    [
        ("python", "script", None),
        ("one process", "group", -TERM),
        ("one process", "launcher", -TERM),
        pytest.param("one process", "script", -TERM, marks=pytest.mark.slow),
        ("two processes", "group", -USR2),
        pytest.param("two processes", "launcher", -USR2, marks=pytest.mark.slow),
        pytest.param("two processes", "script", -USR2, marks=pytest.mark.slow),
        pytest.param("two processes", "second", -USR2, marks=pytest.mark.slow),
        pytest.param("torchrun", "launcher", -USR2, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_is_told_from_a_failure(
    command, tmp_path: Path, launcher: str, whom: str, code: int | None, stage: str, number: int
) -> None:
    """A scheduler signals the group or the launcher, a person the launcher or the script: no code is 0, 1 or 2."""
    processes = 2 if launcher in ("two processes", "torchrun") else 1
    process = subprocess.Popen(
        command(launcher, stage),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(INT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    pids: list[str] = []
    while len(pids) < processes or not all(pids):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)
        pids = [path.read_text() for path in sorted(tmp_path.glob("pid-*"))]
    if whom == "group":
        os.killpg(process.pid, number)
    elif whom == "launcher":
        process.send_signal(number)
    else:
        os.kill(int(pids[whom == "second"]), number)
    stderr = process.communicate(timeout=60)[1]
    if launcher == "python":
        code = 128 + number
    elif (launcher, whom, number) == ("one process", "launcher", INT):
        code = -INT  # as any Python program that Ctrl-C ends
    assert process.returncode == code
    assert stderr.count("interrupted: ") == 1
    assert psutil.wait_procs([psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))], 10)[1] == []
