"""Signals, sent to processes that handle them as the scripts do."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from support import ROOT
from support.signal_handlers import installed_handlers

from pipeline.runtime.signals import SAME_KEYSTROKE_SECONDS, Interrupted, received_signal

HANDLE = """
import os, sys, time, multiprocessing
from pipeline.runtime.signals import Interrupted, defer_signals, install_handlers, received_signal
install_handlers()
"""
TRAIN = """
with defer_signals():
    print("ready", flush=True)
    while not received_signal():
        time.sleep(0.01)
    print("received", received_signal(), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start Python code that handles signals and prints `ready`; signals in `ignored` are ignored, as by nohup."""
    started = []

    def start(code: str, *ignored: int) -> subprocess.Popen:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        process = subprocess.Popen(
            [sys.executable, "-c", HANDLE + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line that was read ahead would be hidden from `select`
            cwd=ROOT,
            preexec_fn=prepare,
            start_new_session=True,
        )
        started.append(process)
        assert says(process) == "ready"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def says(process: subprocess.Popen, seconds: float = 20) -> str:
    """The next line that the process prints; empty if it prints none in time."""
    return process.stdout.readline().decode().strip() if select.select([process.stdout], [], [], seconds)[0] else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_two_stages_ends_at_once(number: int) -> None:
    with installed_handlers():
        with pytest.raises(Interrupted) as stop:
            signal.raise_signal(number)
        assert stop.value.code == 128 + number
        signal.raise_signal(signal.SIGTERM)  # the launcher's echo of it changes nothing more
        assert received_signal() == number


def test_a_signal_while_training_is_recorded_and_said(start) -> None:
    process = start(TRAIN)
    process.send_signal(signal.SIGTERM)
    assert says(process) == "received 15"
    assert process.poll() is None
    process.kill()
    assert b"Stopping after this step" in process.communicate()[1]


def test_a_second_ctrl_c_ends_at_once(start) -> None:
    process = start(TRAIN)
    for _ in range(2):
        process.send_signal(signal.SIGINT)  # together: one keystroke that came by two ways
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(SAME_KEYSTROKE_SECONDS * 1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert b"Ended at once" in process.communicate()[1]


def test_a_second_sigterm_does_not_end_at_once(start) -> None:
    """Schedulers repeat it; the checkpoint is written nonetheless."""
    process = start(TRAIN)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(SAME_KEYSTROKE_SECONDS * 1.5)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_signals_that_were_ignored_stay_ignored(start, number: int) -> None:
    """nohup ignores SIGHUP; a shell ignores SIGINT for the jobs in its background."""
    process = start(TRAIN, number)
    process.send_signal(number)
    assert says(process, 1) == ""
    process.send_signal(signal.SIGTERM)
    assert says(process) == "received 15"


def test_workers_live_through_ctrl_c_and_end_by_sigterm(start) -> None:
    """A terminal sends Ctrl-C to a data loader's workers too, whose batches the last step still needs."""
    process = start("""
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
worker.start()
with defer_signals():
    print("ready", flush=True)
    print(worker.pid, flush=True)
    worker.join()
    print("ended by", -worker.exitcode, flush=True)
""")
    worker = int(says(process))
    os.kill(worker, signal.SIGINT)
    assert says(process, 1) == ""
    os.kill(worker, signal.SIGTERM)
    assert says(process) == "ended by 15"


def test_outside_the_main_thread_nothing_is_handled() -> None:
    """Python allows it in the main thread only; XLA runs `main` in others."""
    code = "import threading; t = threading.Thread(target=install_handlers); t.start(); t.join(); print('ready')"
    done = subprocess.run(
        [sys.executable, "-c", HANDLE.replace("\ninstall_handlers()", "") + code],
        **{"capture_output": True, "text": True, "cwd": ROOT, "check": False, "timeout": 60},
    )
    assert (done.stdout, done.stderr) == ("ready\n", "")
