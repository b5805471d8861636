"""Which device processes compute on, and with how many threads."""

import os
import re
import subprocess

import pytest
import torch
from support import ACCELERATE, CONFIGS

from pipeline.runtime import devices
from pipeline.runtime.devices import needs_cpu_backend
from pipeline.runtime.errors import UserError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Play a machine with so many GPUs, on which so many processes were started."""

    def machine(device: str | None, gpus: int, processes: int | None) -> None:
        found = device and torch.device(device)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
        for name in ("RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        if processes:
            monkeypatch.setenv("RANK", "0")
            monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    return machine


@pytest.mark.parametrize(
    ("device", "gpus", "processes", "expected"),
    [
        (None, 0, None, False),  # one process alone is not told to use the CPU
        (None, 0, 2, True),
        ("mps", 1, 2, True),  # a Mac's GPU serves one process
        ("cuda", 2, 2, False),
        ("cuda", 1, None, False),
    ],
)
def test_processes_without_gpus_meet_on_the_cpu(
    machine, device: str | None, gpus: int, processes: int | None, expected: bool
) -> None:
    machine(device, gpus, processes)
    assert needs_cpu_backend() is expected


def test_more_processes_than_gpus_are_refused(machine) -> None:
    machine("cuda", 1, 2)
    with pytest.raises(UserError, match=r"2 processes were started on a machine with 1 GPU\(s\)"):
        needs_cpu_backend()


@pytest.mark.parametrize(("cores", "processes", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (1, 2, 1)])
def test_cores_are_shared_among_the_processes(
    machine, monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int
) -> None:
    machine(None, 0, processes)
    monkeypatch.setattr(devices, "launcher_sets_threads", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    devices.use_all_cores()
    assert chosen == [threads]
    monkeypatch.setattr(devices, "launcher_sets_threads", lambda: False)
    devices.use_all_cores()
    assert chosen == [threads]  # what the user asked for is kept


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "asked"), [(1, None), (2, None), (1, "1")])
def test_processes_of_a_launcher_share_the_cores(tmp_path, processes: int, asked: str | None) -> None:
    script = tmp_path / "threads.py"
    script.write_text(
        "import torch\nfrom pipeline.runtime.devices import use_all_cores\n"
        "use_all_cores()\nprint(f'<{torch.get_num_threads()}>', flush=True)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    launcher = (*ACCELERATE, "--config_file", str(CONFIGS / "cpu.yaml"), "--num_processes", str(processes))
    result = subprocess.run(
        [*launcher, str(script)],
        env={**environment, "CUDA_VISIBLE_DEVICES": "", **({"OMP_NUM_THREADS": asked} if asked else {})},
        **{"capture_output": True, "text": True, "check": True, "timeout": 120},
    )
    expected = int(asked) if asked else max(1, len(os.sched_getaffinity(0)) // processes)
    assert re.findall(r"<(\d+)>", result.stdout) == [str(expected)] * processes
