"""What a TPU asks for besides: everything here is about torch_xla, which nothing else in this project imports.

A replica is one core with a copy of the model. torch_xla starts a process for each chip and in it a thread for each
core: eight processes of one replica on a v5e-8, four of two on a v2-8 and a v3-8. A replica records what it computes
and compiles the record; a new shape is a new program, and reading a value on the host waits for the device.
"""

import os
import random
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # slow to import, and `pipeline.launch` needs this module before anything slow is wanted
    import torch

from pipeline.errors import UserError

GRACE = 10  # seconds in which the replicas may fail one after the other, all for the same reason

# What replicas that are threads of one process must not do at once. Opening a dataset is such a thing (datasets 5.2,
# `load_from_disk`): tqdm, which shows how that goes, takes its lock away from under the other thread.
one_at_a_time = threading.Lock()


def is_replica() -> bool:
    """Whether torch_xla's `xmp.spawn` started this process."""
    return "PJRT_LOCAL_PROCESS_RANK" in os.environ


def ordinal() -> int:
    """The number of this replica among all; 0 where there are none."""
    if not is_replica():
        return 0
    from torch_xla import runtime

    return runtime.global_ordinal()


def settle(args: Any) -> None:
    """What TrainingArguments have to be where the device is XLA's.

    Raises:
        UserError: 16-bit floats are asked for.
    """
    if args.device.type != "xla":
        return
    asked = [name for name in ("XLA_USE_BF16", "XLA_DOWNCAST_BF16") if os.environ.get(name) == "1"]
    asked += [f"--{name}" for name in ("bf16", "fp16") if getattr(args, name)]
    if asked:
        raise UserError(
            f"{asked[0]}: on XLA devices (TPU) it would round Adam's state to 16 bits as well. Leave mixed_precision "
            "at 'no', as accelerate_configs/tpu_8core.yaml has it; a TPU multiplies matrices in bfloat16 anyway."
        )
    if args.eval_accumulation_steps is None:
        # Else predictions pile up on the device, in a shape that grows, and every step of it is compiled.
        args.eval_accumulation_steps = 1


def device_kind() -> str | None:
    """What kind of device a replica runs on, as `TPU v3`; None where there are no replicas."""
    if not is_replica():
        return None
    import torch_xla.core.xla_model as xm

    return xm.xla_device_kind()


@contextmanager
def ending_together() -> Iterator[None]:
    """Let no replica outlive one that failed: it would wait for that one for ever, and the launcher for it.

    Where all fail alike, the launcher gets the exit code; else this process ends by itself, and the launcher, which
    notices that (`concurrent.futures.process.BrokenProcessPool`), ends the others.
    """
    try:
        yield
    except BaseException as error:
        if is_replica():
            if not isinstance(error, SystemExit):
                traceback.print_exc()  # the launcher shows it only if it comes to ask this replica
            last_resort = threading.Timer(GRACE, os._exit, (1,))
            last_resort.daemon = True
            last_resort.start()
        raise


@contextmanager
def drawing() -> Iterator[None]:
    """Let replicas that are threads of one process draw their weights in turn, and none go on before all have drawn.

    They share torch's random generator, and what transformers patches while it loads a model. A Trainer seeds that
    generator once more when it is made, while another thread may still be drawing.
    """
    with one_at_a_time:
        yield
    if is_replica():
        import torch_xla.core.xla_model as xm

        xm.rendezvous("weights are drawn")


def begin_equal(model: "torch.nn.Module") -> None:
    """Give every replica the weights of the first: equal seeds should have done it, and nothing else would notice."""
    import torch_xla.core.xla_model as xm

    xm.broadcast_master_param(model)


def seed_dropout(seed: int, step: int) -> None:
    """Have each replica drop otherwise, at each step, as a function of nothing but seed, step and replica.

    Nothing else gives XLA a seed (transformers 5.23, `set_seed`), so that all replicas would drop the same. And its
    state moves on with every program that runs, of which a resumed run has others between checkpoint and step.
    """
    import torch_xla.core.xla_model as xm

    xm.set_rng_state(random.Random(f"{seed} {step} {ordinal()}").getrandbits(63))


def with_ready_mask(inputs: dict[str, Any], dtype: "torch.dtype") -> dict[str, Any]:
    """The batch with its mask as attention adds it, [batch, 1, 1, width] of `dtype`, which models take as it is.

    From the mask of two dimensions they make it only after a look at its values: none where nothing is padded
    (transformers 5.23, `masking_utils`). The look costs a transfer to the host at every step, and what hangs on it
    another program, which a batch without padding would have on one replica and not on the others.
    """
    import torch

    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return inputs
    return {**inputs, "attention_mask": (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min}


def counted(loader: Any) -> Any:
    """The loader by whose end accelerate knows which rows of an evaluation only fill up the last batch.

    Its `MpDeviceLoader` reads ahead in a thread, so that the end is reached when most batches are still to come, and
    the rows beyond it are counted as well: 128 where there are 101 (accelerate 1.15). Trainer takes the batches of the
    loader inside it to the device by itself.
    """
    return getattr(loader, "dataloader", loader)
