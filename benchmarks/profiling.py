"""Where a training step of this project spends its time: the share of each of torch's operations, largest first.

python -m benchmarks --only profiling
"""

from typing import Any

import torch
from torch.autograd import DeviceType
from transformers import TrainerCallback

from benchmarks.common import Settings, print_table, run_in_process
from benchmarks.training import run_trainer, timed_rows

LARGEST = 12


class ProfilerCallback(TrainerCallback):
    """torch's profiler over all steps but the first, which also allocates the optimizer's state."""

    def __init__(self, steps: int) -> None:
        self.profiler = torch.profiler.profile(schedule=torch.profiler.schedule(wait=0, warmup=1, active=steps))

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.step()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.stop()


def measure(settings: Settings) -> dict[str, float]:
    """The shares, 0 to 1, by operation."""
    print("profiling", flush=True)
    return run_in_process(operation_shares, settings)["shares"]


def show(result: dict[str, float]) -> None:
    """Print the table."""
    print_table("where a step of (e) goes", [("share", 10, ".1%")], {name: [share] for name, share in result.items()})


def operation_shares(settings: Settings) -> dict[str, Any]:
    """Profile some steps of (e)."""
    batches = max(2, settings.batches)
    callback = ProfilerCallback(batches)
    run_trainer(settings, timed_rows(settings, batches), warm_up=1, method="e", callbacks=(callback,))
    attribute = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    # Operations only: a GPU's kernels are listed too, with the same time again.
    operations = [event for event in callback.profiler.key_averages() if event.device_type == DeviceType.CPU]
    times = {event.key: getattr(event, attribute) for event in operations}
    times.pop("ProfilerStep*", None)  # a full step
    ranked = sorted(times, key=times.get, reverse=True)[:LARGEST]
    return {"shares": {name: times[name] / sum(times.values()) for name in ranked}}
