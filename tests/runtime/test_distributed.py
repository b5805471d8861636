"""What processes know of one another before and after they are connected."""

import sys

import pytest

from pipeline.runtime import distributed
from pipeline.runtime.distributed import (
    check_nodes_agree,
    destroy_process_group,
    is_distributed,
    is_rank_zero,
    local_rank,
    local_world_size,
    num_nodes,
    share_random_seed,
)
from pipeline.runtime.errors import UserError


def test_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (is_rank_zero(), is_distributed(), local_rank(), local_world_size(), num_nodes()) == (True, False, 0, 1, 1)


def test_the_first_process_of_the_second_node(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RANK": "8", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (is_rank_zero(), is_distributed(), local_rank(), local_world_size(), num_nodes()) == (False, True, 0, 8, 2)


def test_a_seed_is_drawn_anew_each_time() -> None:
    seeds = {share_random_seed("cpu") for _ in range(5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_leaving_a_group_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    destroy_process_group()
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # a script that failed before it imported torch
    destroy_process_group()


def answers(monkeypatch: pytest.MonkeyPatch, *others: dict) -> None:
    """Play the other nodes: what they are about to do."""
    monkeypatch.setenv("GROUP_WORLD_SIZE", str(1 + len(others)))
    monkeypatch.setenv("GROUP_RANK", "0")
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: [*mine, *enumerate(others, 1)])


def test_nodes_that_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"seed": 7}, {"seed": 7})
    check_nodes_agree({"seed": 7, "output_dir": "here", "cache_dir": "on this node"})


def test_every_difference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"seed": 8, "gamma": 0.9}, {"seed": 7})
    with pytest.raises(UserError) as error:
        check_nodes_agree({"seed": 7, "max_length": 128, **dict.fromkeys(distributed.NODE_LOCAL, "here")})
    lines = [line for line in str(error.value).splitlines() if line.startswith("  ") and " on node " in line]
    assert lines == [
        "  gamma: None on node 0, 0.9 on node 1",
        "  max_length: 128 on node 0, None on node 1",
        "  max_length: 128 on node 0, None on node 2",
        "  seed: 7 on node 0, 8 on node 1",
    ]


def test_one_node_asks_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    monkeypatch.setattr("accelerate.utils.gather_object", pytest.fail)
    check_nodes_agree({"seed": 7})
