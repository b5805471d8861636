"""What a TPU needs. Only this module imports torch_xla.

A replica is one core with a copy of the model. torch_xla starts one process per chip, with one thread per core: eight
processes of one replica on a v5e-8, four of two on a v2-8 and a v3-8. A replica records its operations and compiles
them; every new shape is a new program, and reading a value on the host waits for the device.
"""

import os
import random
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # slow to import; scripts need this module before anything slow
    import torch

from pipeline.runtime.errors import UserError

GRACE_SECONDS = 10  # in which the other replicas may fail for the same reason

# Held by code that replicas in threads of one process must not run at once, such as opening a dataset: tqdm, which
# shows its progress, removes its lock while the other thread uses it (datasets 5.2, `load_from_disk`).
thread_lock = threading.Lock()


def is_replica() -> bool:
    """Whether torch_xla's `xmp.spawn` started this process."""
    return "PJRT_LOCAL_PROCESS_RANK" in os.environ


def ordinal() -> int:
    """The global index of this replica; 0 without replicas."""
    if not is_replica():
        return 0
    from torch_xla import runtime

    return runtime.global_ordinal()


def configure_arguments(args: Any) -> None:
    """Set what TrainingArguments need on an XLA device; on others do nothing.

    Raises:
        UserError: 16-bit floats are requested.
    """
    if args.device.type != "xla":
        return
    requested = [name for name in ("XLA_USE_BF16", "XLA_DOWNCAST_BF16") if os.environ.get(name) == "1"]
    requested += [f"--{name}" for name in ("bf16", "fp16") if getattr(args, name)]
    if requested:
        raise UserError(
            f"{requested[0]} would round Adam's state to 16 bits on XLA devices (TPU). Leave mixed_precision at 'no', "
            "as in accelerate_configs/tpu_8core.yaml; a TPU multiplies matrices in bfloat16 anyway."
        )
    if args.eval_accumulation_steps is None:
        # Otherwise predictions are concatenated on the device, and every evaluation step has a new shape to compile.
        args.eval_accumulation_steps = 1


def device_kind() -> str | None:
    """The kind of device that a replica runs on, such as `TPU v3`; None without replicas."""
    if not is_replica():
        return None
    import torch_xla.core.xla_model as xm

    return xm.xla_device_kind()


@contextmanager
def end_with_failed_replica() -> Iterator[None]:
    """Let no replica outlive one that failed: it would wait for that one forever, and the launcher for it.

    If all replicas fail alike, the launcher gets the exit code. Otherwise this process ends by itself, and the launcher
    notices (`concurrent.futures.process.BrokenProcessPool`) and ends the others.
    """
    try:
        yield
    except BaseException as error:
        if is_replica():
            if not isinstance(error, SystemExit):
                traceback.print_exc()  # the launcher shows it only if it queries this replica
            last_resort = threading.Timer(GRACE_SECONDS, os._exit, (1,))
            last_resort.daemon = True
            last_resort.start()
        raise


@contextmanager
def initialize_in_turn() -> Iterator[None]:
    """Let replicas in threads of one process draw their weights one after the other, and wait for the last.

    They share torch's random generator, and what transformers patches while it loads a model. A Trainer seeds that
    generator again when it is created, while another thread might still be drawing.
    """
    with thread_lock:
        yield
    if is_replica():
        import torch_xla.core.xla_model as xm

        xm.rendezvous("weights are initialized")


def broadcast_parameters(model: "torch.nn.Module") -> None:
    """Give every replica the weights of the first. Equal seeds should have done it, but nothing else would notice."""
    import torch_xla.core.xla_model as xm

    xm.broadcast_master_param(model)


def seed_dropout(seed: int, step: int) -> None:
    """Give each replica its own dropout seed, derived from (seed, step, replica).

    Nothing else seeds XLA (transformers 5.23, `set_seed`), so all replicas would drop the same. And XLA's state
    advances with every program that runs, of which a resumed run has others between checkpoint and step.
    """
    import torch_xla.core.xla_model as xm

    xm.set_rng_state(random.Random(f"{seed} {step} {ordinal()}").getrandbits(63))


def loader_with_known_end(loader: Any) -> Any:
    """The loader within accelerate's `MpDeviceLoader`; any other loader unchanged.

    accelerate drops the rows that fill up an evaluation's last batch when the loader is at its end. `MpDeviceLoader`
    reads ahead in a thread and reaches the end while most batches are still to come, so that the filler rows are
    counted: 128 instead of 101 (accelerate 1.15). Trainer itself moves the inner loader's batches to the device.
    """
    return getattr(loader, "dataloader", loader)
