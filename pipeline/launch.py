"""What the launchers leave to the script: threads, log levels per process, and errors without tracebacks."""

import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from pipeline import xla
from pipeline.errors import UserError
from pipeline.interrupt import Interrupted, follow_the_launcher, heed_signals

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PATIENCE = 10  # seconds
# Options that may differ from machine to machine.
OWN = {"output_dir", "corpus_root_dir", "cache_dir", "resume_from_checkpoint", "force_download", "overwrite_cache"}


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
            _part()
        except UserError as error:
            _leave_it_to_the_first_process()
            if is_main_process() or not xla.is_replica():  # what replicas have to say is the same
                sys.stderr.write(f"\nerror: {error}\n")
            _quiet_the_launcher()
            _quiet_torchrun(signal.SIGUSR1)
            sys.exit(EXIT_USER_ERROR)
        except Interrupted as stop:
            _leave_it_to_the_first_process()
            if is_main_process():
                sys.stderr.write(f"\ninterrupted: {stop}\n")
            _part()
            _quiet_the_launcher()
            _quiet_torchrun(signal.SIGUSR2)
            sys.exit(stop.code)
        except KeyboardInterrupt:  # Ctrl-C reaches the launcher as well, which says so in its own way
            sys.exit(EXIT_INTERRUPTED)

    return run


def _part() -> None:
    """Leave the other processes in order: threads of a group that is still there abort a process that ends
    ("terminate called without an active exception", torch 2.13 with gloo, one run in ten on busy cores).
    """
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def be_interruptible() -> None:
    """Heed Ctrl-C, SIGTERM and SIGHUP as `pipeline.interrupt` does, also where they reach the launcher alone."""
    launcher = _simple_launcher()
    # Ctrl-C reaches it as well. It shows a traceback a quarter of a second later: no time to look for it then.
    heed_signals({signal.SIGINT: launcher.terminate} if launcher else {})
    if "RANK" in os.environ or launcher:
        follow_the_launcher()


def _simple_launcher() -> psutil.Process | None:
    """The `accelerate launch` that started this process and this process only, if that is how it was started."""
    return None if "RANK" in os.environ or xla.is_replica() else _launcher()


def _launcher() -> psutil.Process | None:
    """The `accelerate launch` that started this process, alone or with others, if that is how it was started."""
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
        follow_the_launcher(False)
        launcher.terminate()


def _leave_it_to_the_first_process() -> None:
    """Wait to be ended by this machine's first process, which has most likely the same to say."""
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(PATIENCE)


def _quiet_torchrun(number: int) -> None:
    """End this machine's run, if `accelerate launch` runs torchrun within itself, before that buries our message.

    It would end the other processes, report on each and raise ChildFailedError (accelerate 1.15, commands/launch.py,
    `multi_gpu_launcher`). It answers the usual signals with a traceback as well, so it gets another one: its exit code
    is then 138 (SIGUSR1) for a mistake and 140 (SIGUSR2) for an interruption.
    """
    launcher = _launcher()
    if launcher is None or "RANK" not in os.environ:
        return
    others = [process for process in launcher.children() if process.pid != os.getpid()]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process is about to end as it is
    for process in others:  # first, or they would hear of the launcher's end
        process.kill()
    launcher.send_signal(number)


def machines() -> int:
    """How many machines train together; known from torchrun, so one on a TPU."""
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


def check_machines_agree(settings: dict[str, Any]) -> None:
    """Make sure that all machines are about to do the same work, before they wait for one another for ever.

    Args:
        settings: what has to be the same. It may hold paths that are each machine's own (`OWN`), which are left out.

    Raises:
        UserError: on every machine, with what differs.
    """
    if machines() == 1:
        return
    from accelerate.utils import gather_object

    mine = {name: value for name, value in settings.items() if name not in OWN}
    everyones = gather_object([(int(os.environ["GROUP_RANK"]), mine)])
    first = everyones[0][1]
    differing = {
        f"  {name}: {first.get(name)} on machine 0, {theirs.get(name)} on machine {machine}"
        for machine, theirs in everyones
        for name in first.keys() | theirs.keys()
        if first.get(name) != theirs.get(name)
    }
    if differing:
        raise UserError(
            "the machines are not about to do the same:\n"
            + "\n".join(sorted(differing))
            + "\n  Give all of them the same options and corpus. A checkpoint is written by machine 0 alone: copy it "
            "to the same place on the others."
        )


def processes_meet_on_the_cpu() -> bool:
    """Whether this is one of several processes that have no device but the CPU.

    accelerate does not connect them unless it is told so: each would train the whole model on all rows, alone (1.15,
    `PartialState._prepare_backend`). Its launcher tells a single process only. A Mac's GPU serves one process.

    Raises:
        UserError: there are GPUs, but fewer than processes on this machine.
    """
    import torch

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.accelerator.current_accelerator(check_available=True)
    if "RANK" not in os.environ:
        return False
    if device is None or device.type in ("cpu", "mps"):
        return True
    if here > torch.accelerator.device_count():
        raise UserError(
            f"{here} processes were started on a machine with {torch.accelerator.device_count()} GPU(s); expected one "
            "GPU each. Set --num_processes after `accelerate launch`, or use accelerate_configs/cpu.yaml."
        )
    return False


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
    """Share out all the cores there are to this machine's processes, where they compute on the CPU.

    Where nobody said otherwise, `accelerate launch` sets OMP_NUM_THREADS=1 (1.15, `_validate_launch_command`), which
    leaves most cores idle. Where the user did say (OMP_NUM_THREADS in the launcher's own environment, or its
    option --num_cpu_threads_per_process), nothing is changed here; `taskset` is heeded too.
    """
    import torch

    launcher = _launcher()
    try:
        asked = (
            launcher is None
            or "OMP_NUM_THREADS" in launcher.environ()
            or any(argument.startswith("--num_cpu_threads_per_process") for argument in launcher.cmdline())
        )
    except psutil.Error:
        return
    if not asked and not torch.cuda.is_available():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
