"""The table and the bar of a training run, from what Trainer tells its callbacks."""

import logging
from types import SimpleNamespace

import pytest
from support import TASK
from transformers import PrinterCallback, ProgressCallback, TrainerControl, TrainerState

from pipeline.tasks import create_task
from pipeline.training import progress
from pipeline.training.progress import ProgressTable, show_progress

BEST = {"eval_loss": 0.2, "eval_accuracy": 0.95, "eval_f1_macro": 0.9, "eval_f1_부정": 0.8}
WORSE = {"eval_loss": 0.3, "eval_accuracy": 0.97, "eval_f1_macro": 0.9, "eval_f1_부정": 0.7}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are shown."""
    lines: list[str] = []
    monkeypatch.setattr(progress, "show", lines.append)
    return lines


def arguments(**options: object) -> SimpleNamespace:
    return SimpleNamespace(**{"metric_for_best_model": "loss", "greater_is_better": False} | options)


def run(table: ProgressTable, args: SimpleNamespace, *evaluations: dict, start: int = 0, best=None) -> None:
    """Train 10 steps before each evaluation, as Trainer does it."""
    state = TrainerState(max_steps=40, global_step=start, best_metric=best, is_world_process_zero=True)
    control = TrainerControl()
    for metrics in evaluations:
        table.on_step_begin(args, state, control)
        state.global_step, state.epoch = state.global_step + 10, state.global_step / 10 + 1
        table.on_log(args, state, control, logs={"loss": 1 / state.global_step, "grad_norm": 2.0})
        table.on_log(args, state, control, logs=metrics)
        table.on_evaluate(args, state, control, metrics=metrics)
        value = metrics["eval_" + args.metric_for_best_model.removeprefix("eval_")]
        if state.best_metric is None or (value > state.best_metric) == args.greater_is_better:
            state.best_metric = value
    table.on_log(args, state, control, logs={"train_runtime": 1.0})


def test_one_line_per_evaluation(shown: list[str]) -> None:
    run(ProgressTable(TASK, "validation"), arguments(), BEST, WORSE)
    header, *rows = shown
    assert header.split() == "epoch step train loss validation loss accuracy macro f1 time left".split()
    assert [row.split()[:6] for row in rows] == [
        ["1.00", "10", "0.1000", "0.2000", "0.9500", "0.9000"],
        ["2.00", "20", "0.0500", "0.3000", "0.9700", "0.9000"],
    ]
    for row in rows:  # each cell ends under the end of its title
        for cell, title in zip(row.split()[:4], ("epoch", "step", "train loss", "validation loss"), strict=True):
            assert row.index(cell) + len(cell) == header.index(title) + len(title)


@pytest.mark.parametrize(
    ("options", "marked"),
    [
        ({}, [True, False, True]),
        ({"metric_for_best_model": "accuracy", "greater_is_better": True}, [True, True, False]),
        ({"metric_for_best_model": "eval_accuracy", "greater_is_better": True}, [True, True, False]),
    ],
)
def test_the_best_so_far_is_marked(shown: list[str], options: dict, marked: list[bool]) -> None:
    run(ProgressTable(TASK, "validation"), arguments(**options), BEST, WORSE, {**BEST, "eval_loss": 0.1})
    assert [row.endswith("  best") for row in shown[1:]] == marked


def test_a_resumed_run_knows_the_best_of_before(shown: list[str]) -> None:
    run(ProgressTable(TASK, "validation"), arguments(), BEST, start=20, best=0.1)
    assert not shown[1].endswith("best")


def test_the_metric_that_selects_has_a_column(shown: list[str]) -> None:
    selects = arguments(metric_for_best_model="f1_부정", greater_is_better=True)
    run(ProgressTable(TASK, "test"), selects, BEST)
    assert "f1_부정" in shown[0]
    assert "test loss" in shown[0]
    assert shown[1].split()[6] == "0.8000"


def test_the_loss_has_one_column_in_a_regression(shown: list[str]) -> None:
    metrics = {"eval_loss": 0.5, "eval_pearson": 0.6, "eval_spearman": 0.7}
    run(ProgressTable(create_task("regression", ("점수",)), "test"), arguments(), metrics)
    assert shown[1].split()[:6] == ["1.00", "10", "0.1000", "0.5000", "0.6000", "0.7000"]
    assert len(shown[1].split()) == 8


def test_time_left_counts_only_the_steps_of_this_process(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 150.0, 200.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    run(ProgressTable(TASK, "validation"), arguments(), BEST, BEST, start=20)
    assert [row.split()[6] for row in shown[1:]] == ["0:00:50", "0:00:00"]


def test_a_resumed_run_evaluates_before_its_first_step(shown: list[str]) -> None:
    table, state = ProgressTable(TASK, "validation"), TrainerState(max_steps=4)
    table.on_evaluate(arguments(), state, TrainerControl(), metrics={"eval_loss": 0.5})
    assert shown[1].split() == ["0.00", "0", "-", "0.5000", "-", "-", "-", "best"]


def test_logs_go_to_the_log_file(shown: list[str], caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="pipeline"):
        run(ProgressTable(TASK, "validation"), arguments(), BEST)
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]
    assert logged[0] == "step 10: {'loss': 0.1, 'grad_norm': 2.0}"
    assert len(logged) == 3


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_trainers_own_output_is_replaced(disable_tqdm: bool) -> None:
    callbacks: list = [PrinterCallback() if disable_tqdm else ProgressCallback()]

    def remove(kind: type) -> None:
        callbacks[:] = [callback for callback in callbacks if not isinstance(callback, kind)]

    trainer = SimpleNamespace(
        args=SimpleNamespace(disable_tqdm=disable_tqdm), remove_callback=remove, add_callback=callbacks.append
    )
    show_progress(trainer, TASK, "validation")
    assert [type(callback).__name__ for callback in callbacks] == ["_Bar"] * (not disable_tqdm) + ["ProgressTable"]


def test_the_bar_writes_no_line_per_log(capsys: pytest.CaptureFixture[str]) -> None:
    bar, state = progress._Bar(), TrainerState(max_steps=2, is_world_process_zero=True)
    bar.on_train_begin(None, state, TrainerControl())
    bar.on_log(None, state, TrainerControl(), logs={"loss": 0.25})
    for state.global_step in (1, 2):
        bar.on_step_end(None, state, TrainerControl())
    bar.on_train_end(None, state, TrainerControl())
    written = capsys.readouterr().err
    assert "2/2" in written
    assert "loss=0.2500" in written
    assert "{'loss'" not in written
