"""The `accelerate launch` above this process, and what its exit code says.

`accelerate launch` answers a script that fails with a traceback of its own, which pushes the script's one-line message
off the screen (accelerate 1.15, commands/launch.py: `simple_launcher` raises CalledProcessError, `multi_gpu_launcher`
lets torchrun raise ChildFailedError). Two readers want different things of it:

- A person at a terminal wants to read the message. There the launcher, which has nothing left to do, is ended before
  it can print; its exit code is then 143 (SIGTERM), or 138 (SIGUSR1) where it runs several processes.
- A scheduler, CI or a pipe wants an honest exit code: 143 means preemption to a scheduler, which would start the job
  again. There the launcher is left alone after a mistake, and ends with 1.

An interruption is a preemption. Everywhere the launcher is ended by a signal then: SIGTERM (143) for one process,
SIGUSR2 (140) for several, since torchrun answers the usual signals with a traceback and exit code 1.
"""

import ctypes
import os
import signal
import sys

import psutil

from pipeline.runtime import xla
from pipeline.runtime.distributed import is_distributed


def find_launcher() -> psutil.Process | None:
    """The `accelerate launch` or `torchrun` that started this process, if one did."""
    parent = psutil.Process().parent()
    try:
        names = [os.path.basename(argument) for argument in parent.cmdline()[:3]] if parent else []
    except psutil.Error:
        return None
    found = {"accelerate-launch", "torchrun", "torch.distributed.run"} & set(names)
    return parent if found or {"accelerate", "launch"} <= set(names) else None


def find_simple_launcher() -> psutil.Process | None:
    """The `accelerate launch` that started this process and no other, if one did."""
    return None if is_distributed() or xla.is_replica() else find_launcher()


def silence_launcher_after_error() -> None:
    """After a mistake of the user: end the launcher where a person reads stderr, else leave it alone."""
    if sys.stderr.isatty():
        _end_launcher(signal.SIGUSR1)


def silence_launcher_after_interruption() -> None:
    """After an interruption: end the launcher by a signal, so that its exit code says so."""
    _end_launcher(signal.SIGUSR2)


def _end_launcher(distributed_signal: int) -> None:
    launcher = find_launcher()
    if launcher is None or xla.is_replica():
        return
    if not is_distributed():
        terminate_with_parent(False)
        launcher.terminate()
        return
    others = [process for process in launcher.children() if process.pid != os.getpid()]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process is about to end by itself
    for process in others:  # before the launcher, or they would report its end
        process.kill()
    launcher.send_signal(distributed_signal)


def terminate_with_parent(enabled: bool = True) -> None:
    """Have the kernel send SIGTERM to this process when its parent ends (Linux; elsewhere nothing is done).

    `kill` reaches the launcher alone, whose child would go on training.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM if enabled else 0)  # PR_SET_PDEATHSIG


def launcher_sets_threads() -> bool:
    """Whether `accelerate launch` chose OMP_NUM_THREADS itself, because the user did not."""
    launcher = find_launcher()
    try:
        return launcher is not None and not (
            "OMP_NUM_THREADS" in launcher.environ()
            or any(argument.startswith("--num_cpu_threads_per_process") for argument in launcher.cmdline())
        )
    except psutil.Error:
        return False
