"""Ranks, nodes and process groups: what is known from the environment, and what all nodes must agree on."""

import os
import secrets
import sys
from typing import Any

from pipeline.runtime import xla
from pipeline.runtime.errors import UserError

# Options that may differ from node to node.
NODE_LOCAL = {
    "output_dir",
    "corpus_root_dir",
    "cache_dir",
    "resume_from_checkpoint",
    "force_download",
    "overwrite_cache",
}


def is_rank_zero() -> bool:
    """Whether this process is rank 0. Known before any process group exists."""
    return int(os.environ.get("RANK", "0")) == 0 and xla.ordinal() == 0


def is_distributed() -> bool:
    """Whether torchrun, or `accelerate launch` through it, started this process."""
    return "RANK" in os.environ


def local_rank() -> int:
    """The rank on this node."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """How many processes run on this node."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def num_nodes() -> int:
    """How many nodes train together, as torchrun says; one on a TPU."""
    return int(os.environ.get("GROUP_WORLD_SIZE", "1"))


def destroy_process_group() -> None:
    """Leave the process group, if there is one.

    The threads of a group that still exists abort a process that ends ("terminate called without an active
    exception", torch 2.13 with gloo, one run in ten on busy cores).
    """
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def share_random_seed(device: Any) -> int:
    """Draw a seed below 2**31, the same for all processes."""
    import torch
    from accelerate.utils import broadcast

    drawn = torch.tensor([secrets.randbelow(2**31)], device=device)
    return int(broadcast(drawn).item())  # every process draws; all take rank 0's


def check_nodes_agree(settings: dict[str, Any]) -> None:
    """Check that all nodes are about to do the same work, before they wait for one another forever.

    Args:
        settings: what has to be equal. Options in `NODE_LOCAL` are ignored.

    Raises:
        UserError: on every node, with the differences.
    """
    if num_nodes() == 1:
        return
    from accelerate.utils import gather_object

    mine = {name: value for name, value in settings.items() if name not in NODE_LOCAL}
    everyones = gather_object([(int(os.environ["GROUP_RANK"]), mine)])
    first = everyones[0][1]
    differing = {
        f"  {name}: {first.get(name)} on node 0, {theirs.get(name)} on node {node}"
        for node, theirs in everyones
        for name in first.keys() | theirs.keys()
        if first.get(name) != theirs.get(name)
    }
    if differing:
        raise UserError(
            "the nodes were started with different settings:\n"
            + "\n".join(sorted(differing))
            + "\n  Give all nodes the same options and corpus. Only node 0 writes checkpoints: to resume, copy the "
            "checkpoint to the same path on the others."
        )
