"""A TPU host played by a CPU: `xmp.spawn` starts as many replicas as asked, each with an XLA:CPU device of its own.

Everything is torch_xla's own but two things. Its plugin for the device is `Host`, which says how many processes a host
has and which ordinals their devices bear. And `xm.all_reduce`, the one primitive on which gathers, broadcasts and
rendezvous are built too and which XLA:CPU cannot do between processes, goes through memory that all replicas share.

Written for torch_xla 2.9, the last release. README.md in this folder says what can be proved with it and what cannot.
"""

import math
import mmap
import multiprocessing
import os
from collections import Counter
from functools import partial
from typing import Any

import torch
import torch_xla
import torch_xla.core.xla_model as xm
from torch_xla import runtime
from torch_xla._internal import pjrt
from torch_xla.experimental import plugins

SLOT = 64 << 20  # bytes that one replica can hand in at once; only what is used takes memory
PATIENCE = 120  # seconds until replicas that wait for a lost one give up
REDUCE = {"sum": torch.sum, "mul": torch.prod, "max": torch.amax, "min": torch.amin}

reductions: Counter[int] = Counter()  # how many each replica took part in, which `probe` reads
_shared: mmap.mmap
_barrier: Any


class Host(plugins.DevicePlugin):
    """The plugin through which torch_xla asks what the host is like."""

    def __init__(self, processes: int, threads: int) -> None:
        super().__init__()
        self.processes, self.threads = processes, threads

    def physical_chip_count(self) -> int:
        return self.processes

    def configure_multiprocess(self, local_rank: int, local_world_size: int) -> None:
        """Number this process's devices on from those of the processes before it, as a TPU does."""
        first = local_rank * self.threads
        for name in ("_xla_get_device_ordinal", "_xla_get_default_device_ordinal"):
            setattr(torch_xla._XLAC, name, partial(_numbered_from, first, getattr(torch_xla._XLAC, name)))
        runtime._WORLD_SIZE = local_world_size * self.threads


def _numbered_from(first: int, number: Any, *device: str) -> int:
    return first + number(*device)


def install(processes: int, threads: int) -> None:
    """Make torch_xla take this machine for a TPU host. Replicas are forked, since they inherit the shared memory."""
    global _shared, _barrier
    _shared = mmap.mmap(-1, processes * threads * SLOT)
    _barrier = multiprocessing.get_context("fork").Barrier(processes * threads, timeout=PATIENCE)
    os.environ |= {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(threads), "PJRT_DYNAMIC_PLUGINS": "1"}
    runtime.device_type = lambda: "TPU"  # accelerate asks this too, and has code for the TPU alone
    plugins._plugin_registry["TPU"] = Host(processes, threads)
    spawn = pjrt.run_multiprocess
    pjrt.run_multiprocess = lambda fn, start_method: spawn(fn, start_method="fork")
    xm.all_reduce = all_reduce


def all_reduce(reduce_type: str, inputs: Any, scale: float = 1.0, groups: Any = None, pin_layout: bool = True) -> Any:
    """`xm.all_reduce`, in place for a list of tensors. XLA_REPLICAS_FAULT=averaging leaves gradients as they are."""
    assert not groups, "replica groups are not played"
    single = isinstance(inputs, torch.Tensor)
    if not single and scale != 1.0 and os.environ.get("XLA_REPLICAS_FAULT") == "averaging":
        return inputs
    reductions[runtime.global_ordinal()] += 1
    with torch.no_grad():
        torch_xla.sync(wait=True)  # one graph for all that is pending; else what is common would be computed again
        mine = xm._maybe_convert_to_cpu([tensor.detach() for tensor in ([inputs] if single else inputs)])
        reduced = [(value * scale).to(value.dtype) for value in _reduce_on_host(REDUCE[reduce_type], mine)]
        reduced = xm.send_cpu_data_to_device(reduced, torch_xla.device())
        if single:
            return reduced[0]
        for tensor, value in zip(inputs, reduced, strict=True):
            tensor.copy_(value)
    return inputs


def _reduce_on_host(reduce: Any, mine: list[torch.Tensor]) -> list[torch.Tensor]:
    """Each replica writes into its own slot, waits for all, and computes the same from all slots in the same order."""
    start, size = runtime.global_ordinal() * SLOT, sum(tensor.nbytes for tensor in mine)
    assert size <= SLOT, f"{size} bytes at once are more than SLOT"
    _shared[start : start + size] = b"".join(tensor.numpy().tobytes() for tensor in mine)
    _barrier.wait()
    reduced, offset = [], 0
    for tensor in mine:
        numbers = math.prod(tensor.shape)
        every = [
            torch.frombuffer(_shared, dtype=tensor.dtype, count=numbers, offset=slot * SLOT + offset)
            for slot in range(runtime.world_size())
        ]
        reduced.append(reduce(torch.stack(every), 0).to(tensor.dtype).reshape(tensor.shape))
        offset += tensor.nbytes
    _barrier.wait()  # nobody writes again before all have read
    return reduced
