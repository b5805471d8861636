"""Ctrl-C, SIGTERM and SIGHUP: recorded at once, acted on where nothing is lost.

Before and after training a signal raises `Interrupted` where it arrives, so that half-built folders are removed. Within
`defer_signals()`, which encloses training, it is only recorded, and the Trainer asks a `StopCoordinator` after every
step whether to stop. A second Ctrl-C ends the process at once.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

# SIGHUP: the terminal was closed, or its shell ended. Windows has none.
SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None))))
SAME_KEYSTROKE_SECONDS = 1.0  # launchers forward what the terminal has sent to the script as well
RESUME_HINT = "To resume: the same command with --resume_from_checkpoint auto."


class Interrupted(KeyboardInterrupt):
    """The run was interrupted. A KeyboardInterrupt, which no library catches as an error to recover from.

    Attributes:
        code: the exit code, 128 + the signal's number as in shells.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 128 + (received_signal() or signal.SIGTERM)


_received: int | None = None
_deferred = False


def received_signal() -> int | None:
    """The first signal that asked this process to stop, if any."""
    return _received


def install_handlers(on_first: dict[int, object] | None = None) -> None:
    """Install the handlers. Does nothing outside the main thread, where Python allows none (XLA replicas).

    Args:
        on_first: by signal, a function to call in a thread as soon as the first signal arrives. While the main thread
            is inside a long backward pass, Python would call a handler only after it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a background job of a shell
            signal.signal(number, _on_signal)
    threading.Thread(target=_watch, args=(read_end, on_first or {}), name="signals", daemon=True).start()
    os.register_at_fork(after_in_child=_reset_in_child)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Only record signals while the block runs."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _received
    first, _received = _received is None, _received or number
    if first and not _deferred:
        raise Interrupted(f"Interrupted between two stages; no file on the disk is lost. {RESUME_HINT}")


def _watch(read_end: int, on_first: dict) -> None:
    """React to signals as they arrive, even while the main thread is busy outside of Python."""
    parent, since = os.getppid(), None
    while number := os.read(read_end, 1):
        if number[0] not in SIGNALS:  # other handlers write to the pipe too
            continue
        if since is None:
            since = time.monotonic()
            with contextlib.suppress(Exception):  # the launcher may have ended by itself
                on_first.get(number[0], lambda: None)()
            if _deferred:
                _say("\nStopping after this step; writing a checkpoint. Ctrl-C again ends the run at once.\n")
        elif time.monotonic() - since > SAME_KEYSTROKE_SECONDS:
            # torchrun keeps the terminal's signals to itself and forwards the first one only; a second kills it.
            orphaned = "RANK" in os.environ and os.getppid() != parent
            if number[0] == signal.SIGINT or orphaned:
                _say("\nEnded at once. --resume_from_checkpoint auto skips what was being written.\n")
                os._exit(128 + signal.SIGINT)


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(sys.stderr.fileno(), text.encode())


def _reset_in_child() -> None:
    """In a forked child, such as a data loader's worker: Ctrl-C reaches it too, but this step still needs it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
