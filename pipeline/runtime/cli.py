"""A script's `main()` as a command: exit codes, and errors without tracebacks."""

import functools
import signal
import sys
import time
from collections.abc import Callable

from pipeline.runtime import signals, xla
from pipeline.runtime.distributed import destroy_process_group, is_distributed, is_rank_zero, local_rank
from pipeline.runtime.errors import UserError
from pipeline.runtime.launcher import (
    find_simple_launcher,
    silence_launcher_after_error,
    silence_launcher_after_interruption,
    terminate_with_parent,
)

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
RANK_ZERO_REPORT_SECONDS = 10


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Decorate `main`: a `UserError` becomes one message on stderr and exit code 2, without a traceback.

    The function is wrapped, not the module's last line, since `accelerate launch` itself calls `main()` on a TPU.
    """

    @functools.wraps(main)
    @xla.end_with_failed_replica()
    def run() -> None:
        try:
            main()
            destroy_process_group()
        except UserError as error:
            _report(f"error: {error}")
            silence_launcher_after_error()
            sys.exit(EXIT_USER_ERROR)
        except signals.Interrupted as interruption:
            _report(f"interrupted: {interruption}")
            destroy_process_group()
            silence_launcher_after_interruption()
            sys.exit(interruption.code)
        except KeyboardInterrupt:  # Ctrl-C reaches the launcher too, which reports it
            sys.exit(EXIT_INTERRUPTED)

    return run


def install_signal_handlers() -> None:
    """Handle Ctrl-C, SIGTERM and SIGHUP (see `pipeline.runtime.signals`), also where they reach the launcher alone."""
    launcher = find_simple_launcher()
    # Ctrl-C reaches the launcher as well, which prints a traceback a quarter of a second later: it is ended at once.
    signals.install_handlers({signal.SIGINT: launcher.terminate} if launcher else {})
    if is_distributed() or launcher:
        terminate_with_parent()


def _report(message: str) -> None:
    """Write the message to stderr, once a node.

    Non-zero local ranks wait first: local rank 0 usually reports the same and stops them. XLA replicas leave it to the
    first of all, since they share one launcher.
    """
    if local_rank() > 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(RANK_ZERO_REPORT_SECONDS)
    if is_rank_zero() or not xla.is_replica():
        sys.stderr.write(f"\n{message}\n")
