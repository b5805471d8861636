"""What the launchers leave to the script: threads, log levels per process, and errors without tracebacks."""

import functools
import logging
import os
import sys
from collections.abc import Callable

import psutil

from pipeline import xla
from pipeline.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def is_main_process() -> bool:
    """Whether this process speaks for all (rank 0), known before any process group exists."""
    return int(os.environ.get("RANK", "0")) == 0 and xla.ordinal() == 0


def command(main: Callable[[], None]) -> Callable[[], None]:
    """Make `main` a command: a `UserError` becomes one message on stderr and exit code 2, with no traceback.

    `accelerate launch` calls `main()` itself on a TPU, so this wraps the function and not the module's last line.
    """

    @functools.wraps(main)
    @xla.ending_together()
    def run() -> None:
        try:
            main()
        except UserError as error:
            if is_main_process():
                sys.stderr.write(f"\nerror: {error}\n")
            _quiet_the_launcher()
            sys.exit(EXIT_USER_ERROR)
        except KeyboardInterrupt:  # Ctrl-C reaches the launcher as well, which says so in its own way
            sys.exit(EXIT_INTERRUPTED)

    return run


def _simple_launcher() -> psutil.Process | None:
    """The `accelerate launch` that started this process and this process only, if that is how it was started."""
    if "RANK" in os.environ or xla.is_replica():
        return None  # torchrun and xmp.spawn say by themselves how it ended, and stay to end the other processes
    launcher = psutil.Process().parent()
    try:
        names = [os.path.basename(argument) for argument in launcher.cmdline()[:3]] if launcher else []
    except psutil.Error:
        return None
    return launcher if "accelerate-launch" in names or {"accelerate", "launch"} <= set(names) else None


def _quiet_the_launcher() -> None:
    """End a single-process `accelerate launch` before it buries our message under a traceback of its own.

    Unless it was given --quiet, its `simple_launcher` raises CalledProcessError for every exit code but 0
    (accelerate 1.15, commands/launch.py). It has nothing left to do but to wait for us. Its exit code is then 143.
    """
    if launcher := _simple_launcher():
        launcher.terminate()


def start_logging() -> logging.Logger:
    """Log this project to stderr, on rank 0 only, but for errors; stdout is for results."""
    logger = logging.getLogger("pipeline")
    with xla.one_at_a_time:
        if not logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
            # Not by the logger's level, which replicas that are threads share.
            handler.addFilter(lambda record: record.levelno >= logging.ERROR or is_main_process())
            logger.addHandler(handler)
            logger.propagate = False
    if "transformers" in sys.modules:  # its bars for loading and writing weights are over before they are seen
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    logger.setLevel(logging.INFO)
    return logger


def use_all_cores() -> None:
    """Give a lone process on a CPU all the cores it may use.

    Where nobody said otherwise, `accelerate launch` sets OMP_NUM_THREADS=1 (1.15, `_validate_launch_command`), which
    leaves every core but one idle. Where the user did say (OMP_NUM_THREADS in the launcher's own environment, or its
    option --num_cpu_threads_per_process), nothing is changed here; `taskset` is heeded too.
    """
    import torch

    launcher = _simple_launcher()
    try:
        asked = (
            launcher is None
            or "OMP_NUM_THREADS" in launcher.environ()
            or any(argument.startswith("--num_cpu_threads_per_process") for argument in launcher.cmdline())
        )
    except psutil.Error:
        return
    if not asked and not torch.cuda.is_available():
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
