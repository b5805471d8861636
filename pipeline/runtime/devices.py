"""Which device the processes of this node compute on, and with how many threads."""

import os

from pipeline.runtime.distributed import is_distributed, local_world_size
from pipeline.runtime.errors import UserError
from pipeline.runtime.launcher import launcher_sets_threads


def needs_cpu_backend() -> bool:
    """Whether this is one of several processes that have no device but the CPU.

    accelerate connects such processes only when it is told to use the CPU: otherwise each would train the whole model
    on all examples, alone (1.15, `PartialState._prepare_backend`). A Mac's GPU serves one process.

    Raises:
        UserError: the node has GPUs, but fewer than processes.
    """
    import torch

    if not is_distributed():
        return False
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None or device.type in ("cpu", "mps"):
        return True
    if local_world_size() > torch.accelerator.device_count():
        raise UserError(
            f"{local_world_size()} processes were started on a machine with {torch.accelerator.device_count()} GPU(s); "
            "expected one GPU each. Set --num_processes after `accelerate launch`, or use accelerate_configs/cpu.yaml."
        )
    return False


def use_all_cores() -> None:
    """Share this node's cores among its processes where they compute on the CPU.

    Unless told otherwise, `accelerate launch` sets OMP_NUM_THREADS=1 (1.15, `_validate_launch_command`), which leaves
    most cores idle. Threads that the user asked for are kept, and `taskset` is respected.
    """
    import torch

    if launcher_sets_threads() and not torch.cuda.is_available():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // local_world_size()))
