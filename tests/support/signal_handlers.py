"""The handlers of `pipeline.runtime.signals` in the process of the tests, for one test."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.runtime import signals


@contextmanager
def installed_handlers() -> Iterator[None]:
    """Handle signals as the scripts do, without the thread that watches them."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    forget_signals()
    for number in signals.SIGNALS:
        signal.signal(number, signals._on_signal)
    try:
        yield
    finally:
        forget_signals()
        for number, handler in before.items():
            signal.signal(number, handler)


def forget_signals() -> None:
    """As in a new process, which no signal has reached yet."""
    signals._received = None
