"""Processes that are asked at different steps stop at the same one."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.signal_handlers import installed_handlers

from pipeline.runtime.coordinated_stop import StopCoordinator
from pipeline.runtime.signals import defer_signals


def run_until_all_stop(replicas: list[StopCoordinator], ask_at: int, ask, order: tuple[int, ...]) -> dict[int, int]:
    """At which tick each replica stops. In every round each that has not stopped looks once, in this order."""
    stopped: dict[int, int] = {}
    for tick in range(1, 60):
        if tick == ask_at:
            ask()
        for index in order:
            if index not in stopped and replicas[index].should_stop():
                stopped[index] = tick
    return stopped


def test_one_process_stops_at_once(tmp_path: Path) -> None:
    with installed_handlers(), defer_signals():
        alone = StopCoordinator(1, 0, "cpu", tmp_path)
        assert not alone.should_stop()
        signal.raise_signal(signal.SIGTERM)
        assert alone.should_stop()
    assert list(tmp_path.iterdir()) == []


def test_replicas_stop_together_where_a_file_asks(tmp_path: Path) -> None:
    """The first replica sees the file; the one that looked before it in that round learns of it in the next."""
    (tmp_path / ".stop-at-1").write_text("2")  # of an earlier run
    replicas = [StopCoordinator(3, index, "xla", tmp_path) for index in range(3)]
    assert run_until_all_stop(replicas, 5, (tmp_path / "stop").touch, (2, 0, 1)) == {0: 21, 1: 21, 2: 21}
    assert [path.name for path in tmp_path.iterdir()] == [f".stop-at-{os.getppid()}"]


def test_nobody_stops_where_no_one_asks(tmp_path: Path) -> None:
    replicas = [StopCoordinator(2, index, "xla", tmp_path) for index in range(2)]
    assert run_until_all_stop(replicas, 99, None, (0, 1)) == {}


def test_of_two_proposals_the_first_counts(tmp_path: Path) -> None:
    """Each replica proposes by its own count, and the second is two ticks ahead of the first."""
    behind, ahead = (StopCoordinator(2, index, "xla", tmp_path) for index in range(2))
    ticks = {id(behind): 3, id(ahead): 5}
    for replica in (behind, ahead):
        for _ in range(ticks[id(replica)]):
            assert not replica.should_stop()
    with installed_handlers(), defer_signals():
        signal.raise_signal(signal.SIGTERM)
        for replica in (behind, ahead):  # both were asked before either has read what the other proposed
            while not replica.should_stop():
                ticks[id(replica)] += 1
                assert ticks[id(replica)] < 60
            ticks[id(replica)] += 1
    assert ticks == {id(behind): 20, id(ahead): 20}


STORE = """
import os, sys, time
from pathlib import Path
import torch.distributed
from pipeline.runtime import signals
from pipeline.runtime.coordinated_stop import StopCoordinator
signals.install_handlers()
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
coordinator, tick = StopCoordinator(2, rank, "cpu", Path.cwd()), 0
with signals.defer_signals():
    while True:
        torch.distributed.barrier()  # as the gradients of a step
        tick += 1
        if tick == 3 + rank and sys.argv[1] in ("both", str(rank)):
            os.kill(os.getpid(), 15)
        if coordinator.should_stop():
            print(tick)
            break
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize(("asked", "tick"), [("0", 5), ("1", 6), ("both", 5)])
def test_processes_stop_together_through_the_store(tmp_path: Path, asked: str, tick: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    environment = {**os.environ, **meeting, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STORE, asked],
            env={**environment, "RANK": str(rank)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    # The last line: gloo of torch 2.9 greets on stdout.
    assert [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes] == [str(tick)] * 2
