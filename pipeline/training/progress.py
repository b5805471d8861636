"""What a person sees while training: one line per evaluation, and a bar where a terminal can show one."""

import logging
import time
from datetime import timedelta
from typing import Any

import transformers
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerControl, TrainerState

from pipeline.runtime.logging import show
from pipeline.tasks import Task

logger = logging.getLogger(__name__)

MIN_WIDTH = 8  # of a column


def show_progress(trainer: transformers.Trainer, task: Task, split: str) -> None:
    """Replace Trainer's own output, a dict per log, by a table; the dicts go to the log file.

    Args:
        trainer: before it trains.
        task: its headline metrics are columns.
        split: that is evaluated, and so selects the checkpoint: validation or test.
    """
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(_Bar())
    trainer.add_callback(ProgressTable(task, split))


class ProgressTable(TrainerCallback):
    """Shows a line per evaluation; the best one so far is marked."""

    def __init__(self, task: Task, split: str) -> None:
        self.split, self.train_loss = split, "-"
        # The loss has a column in any case; of a regression it is a headline metric too.
        headline = [(name, title) for name, _, title in task.headline_metrics if name != "loss"]
        self.titles = {f"eval_{name}": title.lower() for name, title in headline}
        self.has_header = False
        self.first_step: tuple[float, int] | None = None  # when this process began it (seconds), its number

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.first_step is None:
            self.first_step = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        logger.debug("step %s: %s", state.global_step, logs)
        if "loss" in logs:
            self.train_loss = f"{logs['loss']:.4f}"

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # A resumed run may evaluate before its first step: what its checkpoint was due.
        metrics, metric = kwargs["metrics"], _key(args.metric_for_best_model)
        if metric != "eval_loss":
            self.titles.setdefault(metric, metric.removeprefix("eval_"))
        cells = {
            "epoch": f"{state.epoch or 0:.2f}",
            "step": f"{state.global_step:,}",
            "train loss": self.train_loss,
            f"{self.split} loss": _decimal(metrics.get("eval_loss")),
            **{title: _decimal(metrics.get(key)) for key, title in self.titles.items()},
            "time left": self._time_left(state),
        }
        if not self.has_header:
            show("".join(f"{title:>{_column(title)}}" for title in cells))
            self.has_header = True
        row = "".join(f"{cell:>{_column(title)}}" for title, cell in cells.items())
        show(row + "  best" * _is_best(args, state, metrics))

    def _time_left(self, state: TrainerState) -> str:
        if self.first_step is None:
            return "-"
        begun, step = self.first_step
        seconds = (time.perf_counter() - begun) / (state.global_step - step) * (state.max_steps - state.global_step)
        return str(timedelta(seconds=round(seconds)))


class _Bar(ProgressCallback):
    """Trainer's bar, with the training loss beside it instead of a line per log."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)


def _is_best(args: Any, state: TrainerState, metrics: dict[str, float]) -> bool:
    """Whether this evaluation is better than those before; Trainer has not taken note of it yet."""
    value, best = metrics.get(_key(args.metric_for_best_model)), state.best_metric
    if value is None or best is None:
        return value is not None
    return value > best if args.greater_is_better else value < best


def _key(metric: str | None) -> str:
    return f"eval_{(metric or 'loss').removeprefix('eval_')}"


def _column(title: str) -> int:
    return max(MIN_WIDTH, len(title) + 2)


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
