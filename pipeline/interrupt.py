"""Ctrl-C, SIGTERM and SIGHUP: noted at once, heeded where nothing is lost.

Before and after training a signal ends the process where it stands, by an exception, so that half-built folders go.
While training, which `deferred()` encloses, it is only noted; the Trainer asks an `Agreement` after every step whether
to stop. A second Ctrl-C ends the process at once, whatever it is doing.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# SIGHUP: the terminal was closed, or the shell that had it ended. Windows has none.
SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None))))
SAME_KEYSTROKE_SECONDS = 1.0  # launchers pass on what the terminal has sent as well
STOP_FILE = "stop"
GO_ON = "To go on: the same command with --resume_from_checkpoint auto."


class Interrupted(KeyboardInterrupt):
    """The run was interrupted. A KeyboardInterrupt, which no library takes for an error to recover from.

    Attributes:
        code: for the process to exit with: 128 + the signal's number, as shells have it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 128 + (asked() or signal.SIGTERM)


_asked: int | None = None
_deferred = False


def asked() -> int | None:
    """The signal that asked this process to stop, if one has."""
    return _asked


def heed_signals(on_first: dict[int, object] | None = None) -> None:
    """Install the handlers, if this is the main thread: Python allows them in no other, and XLA runs replicas there.

    Args:
        on_first: what to call at once when the first signal is this one, in a thread of its own. While the main thread
            is inside a long backward pass, Python would call a handler only after it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
            signal.signal(number, _note)
    threading.Thread(target=_watch, args=(reading, on_first or {}), name="signals", daemon=True).start()
    os.register_at_fork(after_in_child=_leave_signals_to_the_parent)


def follow_the_launcher(follow: bool = True) -> None:
    """Have the system send SIGTERM to this process when the one that started it ends, or no longer.

    `kill` reaches the launcher alone, which would leave its child training on (Linux; elsewhere nothing is done).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM if follow else 0)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only note signals, for as long as the block runs."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def _note(number: int, frame: FrameType | None) -> None:
    global _asked
    first, _asked = _asked is None, _asked or number
    if first and not _deferred:
        raise Interrupted(f"Interrupted between the stages; nothing that was on the disk is lost. {GO_ON}")


def _watch(reading: int, on_first: dict) -> None:
    """See each signal as it comes, even while the main thread is busy outside of Python."""
    parent, since = os.getppid(), None
    while number := os.read(reading, 1):
        if number[0] not in SIGNALS:  # others have handlers too
            continue
        if since is None:
            since = time.monotonic()
            with contextlib.suppress(Exception):  # a process to be told may have ended by itself
                on_first.get(number[0], lambda: None)()
            if _deferred:
                _say("\nStopping after this step; writing a checkpoint. Ctrl-C again ends the run at once.\n")
        elif time.monotonic() - since > SAME_KEYSTROKE_SECONDS:
            # torchrun keeps the terminal's signals to itself and passes on the first one only; a second kills it.
            orphaned = "RANK" in os.environ and os.getppid() != parent
            if number[0] == signal.SIGINT or orphaned:
                _say("\nEnded at once. What was being written is passed over by --resume_from_checkpoint auto.\n")
                os._exit(128 + signal.SIGINT)


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(sys.stderr.fileno(), text.encode())


def _leave_signals_to_the_parent() -> None:
    """In a forked child, a data loader's worker say: Ctrl-C reaches it too, but its parent needs it for this step."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Agreement:
    """One moment at which all processes stop, although the signal reaches them at different ones.

    Processes count the same ticks (training and evaluation steps). The one that is signalled writes down a tick a
    little ahead, the first to write wins, and all read it at every tick: no collective, nothing waits for a device.
    """

    def __init__(self, processes: int, index: int, device: str, folder: Path) -> None:
        self.tick = 0
        self.at: int | None = None
        self.index = index
        # Gradients are averaged in every step, so on a CPU no process is more than a step ahead of another. Elsewhere
        # Python runs ahead of the device by as many steps as the device's queue takes.
        self.margin = 0 if processes == 1 else 2 if device == "cpu" else 16
        if processes == 1:
            self.board = None
        elif device == "xla":  # no torch.distributed store there; the replicas of one host share a disk
            self.board = _FileBoard(folder)
        else:
            self.board = _StoreBoard()

    def stop(self) -> bool:
        """Count a tick; whether all are to stop now."""
        self.tick += 1
        wanted = asked() or (self.index == 0 and self.board and self.board.wanted())
        if self.at is None and wanted:
            proposed = self.tick + self.margin
            self.at = self.board.propose(proposed) if self.board else proposed
        elif self.at is None and self.board:
            self.at = self.board.read()
        return self.at is not None and self.tick >= self.at


class _StoreBoard:
    """The key-value store of torch.distributed."""

    KEY = "pipeline/stop"

    def __init__(self) -> None:
        from torch.distributed.distributed_c10d import _get_default_store

        self.store = _get_default_store()

    def wanted(self) -> bool:
        return False

    def propose(self, tick: int) -> int:
        return int(self.store.compare_set(self.KEY, "", str(tick)))

    def read(self) -> int | None:
        return int(self.store.get(self.KEY)) if self.store.check([self.KEY]) else None


class _FileBoard:
    """A file in the run's folder. Creating `stop` there asks as a signal would, which no thread can be sent."""

    def __init__(self, folder: Path) -> None:
        self.asking = folder / STOP_FILE
        self.path = folder / f".stop-at-{os.getppid()}"  # all replicas have one parent; an earlier run had another
        for left_over in set(folder.glob(".stop-at-*")) - {self.path}:
            left_over.unlink(missing_ok=True)

    def wanted(self) -> bool:
        return self.asking.exists()

    def propose(self, tick: int) -> int:
        self.asking.unlink(missing_ok=True)  # or it would stop the next run too
        beside = self.path.with_name(f"{self.path.name}-{os.getpid()}-{threading.get_ident()}")
        beside.write_text(str(tick))
        with contextlib.suppress(FileExistsError):
            os.link(beside, self.path)
        beside.unlink()
        return int(self.path.read_text())

    def read(self) -> int | None:
        return int(self.path.read_text()) if self.path.exists() else None
