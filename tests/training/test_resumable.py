"""Stopping and resuming in one process: the resumed run ends with the weights of an undisturbed one."""

import logging
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.signal_handlers import forget_signals, installed_handlers
from support.soak_resume import TINY, differences
from transformers import TrainerCallback

from pipeline.runtime.signals import Interrupted, received_signal
from pipeline.training.checkpoints import checkpoint_to_resume, find_corruption, read_manifest
from pipeline.training.trainer import Trainer


@pytest.fixture
def handlers() -> Iterator[None]:
    with installed_handlers():
        yield


@pytest.fixture
def new(make, tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer of a tiny model with dropout in a folder of its own: five updates an epoch, evaluations of four
    batches, by default at the end of each epoch."""

    def new(name: str, *callbacks: TrainerCallback, **options: object) -> Trainer:
        given = {"output_dir": str(tmp_path / name), "learning_rate": 1e-3, "per_device_eval_batch_size": 16}
        given |= {"save_total_limit": 2, "eval_strategy": "epoch", "save_strategy": "epoch"}
        given |= {"load_best_model_at_end": True, "batching": "longest", "overrides": TINY}
        return make(*callbacks, **{**given, **options})

    return new


class SignalAt(TrainerCallback):
    """Sends this process real signals, before a step or within the evaluation after it."""

    def __init__(self, step: int, batch: int | None = None, *numbers: int) -> None:
        self.step, self.batch, self.batches, self.numbers = step, batch, 0, numbers or (signal.SIGTERM,)

    def send(self) -> None:
        for number in self.numbers:
            signal.raise_signal(number)

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if self.batch is None and state.global_step == self.step - 1:
            self.send()

    def on_prediction_step(self, args, state, control, **kwargs) -> None:
        self.batches += state.global_step == self.step
        if self.batches == self.batch:
            self.batch = None
            self.send()


def end_state(trainer: Trainer) -> dict[str, object]:
    log = [
        {name: value for name, value in entry.items() if not name.endswith(("_second", "runtime"))}
        for entry in trainer.state.log_history
        if "eval_loss" in entry or "loss" in entry
    ]
    best = trainer.state.best_model_checkpoint
    return {**trainer.model.state_dict(), "log": log, "best": best and Path(best).name}


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))


def resume(trainer: Trainer, folder: Path) -> Trainer:
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(folder, "auto"))
    return trainer


EPOCHS = {"num_train_epochs": 3}
STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 4, "save_steps": 4, "max_steps": 13}


@pytest.mark.parametrize(
    ("options", "moment"),
    [
        (EPOCHS, (1,)),
        (EPOCHS, (7,)),
        (EPOCHS, (5,)),  # an epoch's last step, whose evaluation is then left for later
        (EPOCHS, (15,)),  # the very last
        (EPOCHS, (5, 1)),  # within an evaluation
        (EPOCHS, (10, 3)),
        (EPOCHS, (15, 4)),
        (STEPS, (4,)),  # a step to be evaluated and saved anyway
        (STEPS, (8, 2)),
        (STEPS, (13,)),  # the last one, within an epoch
        ({**STEPS, "gradient_accumulation_steps": 2}, (7,)),
        ({**EPOCHS, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}, (6,)),
        ({"max_steps": 8}, (8,)),  # Trainer evaluates and saves where it stops
    ],
    ids=str,
)
def test_interrupted_and_resumed_is_undisturbed(new, handlers, tmp_path: Path, options: dict, moment: tuple) -> None:
    straight = new("straight", **options)
    straight.train()

    trainer = new("run", SignalAt(*moment), **options)
    with pytest.raises(Interrupted, match=f"after step {moment[0]} of") as stop:
        trainer.train()
    assert stop.value.code == 143
    assert trainer.state.global_step == moment[0]
    assert find_corruption(tmp_path / "run" / f"checkpoint-{moment[0]}") == []

    forget_signals()
    resumed = resume(new("run", **options), tmp_path / "run")
    assert differences(end_state(straight), end_state(resumed)) == []
    # The random state too is where it would have been.
    last = f"checkpoint-{straight.state.global_step}"
    if moment[0] < straight.state.global_step and (tmp_path / "straight" / last).exists():
        states = [
            torch.load(tmp_path / name / last / "rng_state.pth", weights_only=False)["cpu"]
            for name in ("straight", "run")
        ]
        assert torch.equal(*states)


def test_interrupted_twice_at_an_evaluation_that_is_due(new, handlers, tmp_path: Path) -> None:
    straight = new("straight", **EPOCHS)
    straight.train()
    for batch in (2, 1, 3):
        forget_signals()
        with pytest.raises(Interrupted):
            resume(new("run", SignalAt(5, batch), **EPOCHS), tmp_path / "run")
        assert read_manifest(tmp_path / "run" / "checkpoint-5")["evaluation_due"] is True
    forget_signals()
    resumed = resume(new("run", **EPOCHS), tmp_path / "run")
    assert differences(end_state(straight), end_state(resumed)) == []


def test_the_first_signal_is_the_exit_code(new, handlers) -> None:
    trainer = new("run", SignalAt(2, None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    with pytest.raises(Interrupted) as stop:
        trainer.train()
    assert stop.value.code == 128 + signal.SIGINT


def test_a_run_that_no_one_interrupts_runs_to_its_end(new, handlers, tmp_path: Path) -> None:
    trainer = new("run", max_steps=7, save_total_limit=None)
    trainer.train()
    assert trainer.state.global_step == 7
    assert checkpoints(tmp_path / "run") == [5, 7]  # where it saves anyway, and nowhere else
    assert received_signal() is None


@pytest.mark.parametrize("options", [STEPS, {"max_steps": 13}], ids=["steps", "epochs"])
def test_one_step_too_many_is_not_trained(new, tmp_path: Path, options: dict) -> None:
    straight = new("run", **options)
    straight.train()
    before = (tmp_path / "run" / "checkpoint-13" / "manifest.json").stat().st_mtime_ns
    resumed = new("run", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-13"))
    assert resumed.state.global_step == 13
    assert differences(end_state(straight), end_state(resumed)) == []
    assert (tmp_path / "run" / "checkpoint-13" / "manifest.json").stat().st_mtime_ns == before  # not written again


# The best checkpoint. Here it is the one of the highest loss, and so the first.


def test_the_best_checkpoint_is_kept_and_loaded_at_the_end(new, tmp_path: Path) -> None:
    trainer = new("run", **EPOCHS, greater_is_better=True)
    trainer.train()
    assert checkpoints(tmp_path / "run") == [5, 15]  # the best and the newest; 10 was removed
    best, last = (load_file(tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors") for step in (5, 15))
    assert differences(trainer.model.state_dict(), best) == []
    assert differences(best, last) != []


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_best_checkpoint_that_is_lost_is_not_loaded(
    new, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**STEPS, "greater_is_better": True, "save_total_limit": None}
    straight = new("run", **options)
    straight.train()
    run = tmp_path / "run"
    assert Path(straight.state.best_model_checkpoint) == run / "checkpoint-4"
    expected = load_file(run / "checkpoint-13" / "model.safetensors")
    for step in (12, 13):
        shutil.rmtree(run / f"checkpoint-{step}")
    if how == "missing":
        shutil.rmtree(run / "checkpoint-4")
    else:
        weights = run / "checkpoint-4" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING, "pipeline"):
        resumed = resume(new("run", **options), run)
    assert f"The best checkpoint, {run / 'checkpoint-4'}, is lost" in caplog.text
    assert resumed.state.best_model_checkpoint is None
    assert differences(resumed.model.state_dict(), expected) == []  # the last weights


def test_the_best_checkpoint_is_found_where_the_folder_was_moved(new, tmp_path: Path) -> None:
    options = {**STEPS, "greater_is_better": True, "save_total_limit": None}
    straight = new("run", **options)
    straight.train()
    shutil.move(tmp_path / "run", tmp_path / "moved")
    resumed = resume(new("moved", **options), tmp_path / "moved")  # from its last step: all that is left is to load it
    assert Path(resumed.state.best_model_checkpoint) == tmp_path / "moved" / "checkpoint-4"
    assert differences(end_state(straight), end_state(resumed)) == []


# Other settings on a resume.


def test_a_resume_with_other_settings_uses_them(new, tmp_path: Path) -> None:
    options = {**STEPS, "save_total_limit": None}
    new("run", **options).train()
    changed = new("again", **options, learning_rate=3e-3, gamma=0.5, adam_beta1=0.6, adam_epsilon=1e-7)
    changed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    rates = {entry["step"]: entry["learning_rate"] for entry in changed.state.log_history if "learning_rate" in entry}
    assert [rates[step] for step in (4, 5, 6, 10, 11, 13)] == pytest.approx([1e-3, 3e-3, *2 * [1.5e-3], *2 * [7.5e-4]])
    for group in changed.optimizer.param_groups:
        assert (group["betas"], group["eps"]) == ((0.6, 0.999), 1e-7)


# Checkpoints of other lives.


class DieAt(TrainerCallback):
    """As a kill would, without a chance to write anything."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            raise RuntimeError("killed")


def test_checkpoints_of_an_abandoned_branch_are_not_resumed_from(new, tmp_path: Path) -> None:
    """Started again from checkpoint-4 with another gamma, the run must not return to the old checkpoint-8."""
    run, options = tmp_path / "run", {**STEPS, "save_total_limit": None}
    new("run", **options).train()
    with pytest.raises(RuntimeError, match="killed"):
        new("run", DieAt(6), **options, gamma=0.5).train(resume_from_checkpoint=str(run / "checkpoint-4"))
    assert checkpoint_to_resume(run, "auto") == str(run / "checkpoint-4")
    # Nothing is lost yet, should that have been a mistake; the new branch's first checkpoint replaces the old branch.
    assert checkpoint_to_resume(run, str(run / "discarded-checkpoint-8")) == str(run / "discarded-checkpoint-8")
    resumed = resume(new("run", **{**options, "save_total_limit": 2}, gamma=0.5), run)
    assert resumed.state.log_history[-3]["learning_rate"] == pytest.approx(1e-3 * 0.25)
    assert sorted(path.name for path in run.glob("*checkpoint*")) == ["checkpoint-12", "checkpoint-13"]


def test_nothing_is_discarded_by_a_run_that_does_not_start(new, tmp_path: Path) -> None:
    run = tmp_path / "run"
    new("run", **STEPS, save_total_limit=None).train()
    before = checkpoints(run)
    (run / "checkpoint-4" / "optimizer.pt").write_bytes(b"no optimizer")
    with pytest.raises(Exception, match="checkpoint-4"):
        new("run", **STEPS).train(resume_from_checkpoint=str(run / "checkpoint-4"))
    assert checkpoints(run) == before


def test_the_folder_of_a_dead_run_is_cleared_before_it_is_written(new, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint-4"
    folder.mkdir(parents=True)
    (folder / "rng_state_1.pth").write_bytes(b"of two processes")
    (folder / "model.safetensors.index.json").write_text("{}")
    new("run", **{**STEPS, "max_steps": 4}).train()
    assert find_corruption(folder) == []
    assert not {"rng_state_1.pth", "model.safetensors.index.json"} & {path.name for path in folder.iterdir()}
