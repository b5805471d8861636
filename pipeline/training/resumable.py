"""A Trainer whose checkpoints are complete or do not count, and which stops where it can resume bit for bit."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback

from pipeline.runtime.coordinated_stop import StopCoordinator
from pipeline.runtime.distributed import num_nodes
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import MANIFEST
from pipeline.runtime.signals import RESUME_HINT, Interrupted, defer_signals, received_signal
from pipeline.training.checkpoints import (
    discard_checkpoint,
    discard_later_checkpoints,
    disk_errors_as_user_errors,
    find_corruption,
    prune_checkpoints,
    read_manifest,
    remove_checkpoint,
    write_manifest,
)
from pipeline.training.hf_hooks import HookedTrainer

logger = logging.getLogger(__name__)

UNLOADABLE = (UnpicklingError, SafetensorError, RuntimeError, ValueError, KeyError, EOFError)
FSDP_WEIGHTS = "pytorch_model_fsdp.bin"  # what FSDP resumes from (accelerate 1.15, `save_fsdp_model`)
HYPERPARAMETERS = {"betas", "eps", "weight_decay"}  # of an optimizer, which a resume may change
DISK_ADVICE = f"Complete checkpoints are unchanged. Free some space. {RESUME_HINT}"


class ResumableTrainer(HookedTrainer):
    """Writes a manifest into each checkpoint before older ones are removed, and stops when a signal asks to.

    Args:
        settings: what decides the result, from `result_settings`; written into every checkpoint.
    """

    def __init__(self, *args: Any, settings: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.origin = {
            "settings": settings or {},
            "processes": self.args.world_size,
            "device": self.args.device.type,
            "precision": self.accelerator.mixed_precision,
        }
        self.coordinator: StopCoordinator | None = None
        self.evaluation_due = False  # the last step's evaluation was skipped, and precedes the next step
        self.started_at = 0  # the step that this process started after
        self.has_stepped = False
        self.add_callback(_StopOnRequest(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train from a complete checkpoint or from the start, and end with the same weights on all nodes.

        Args:
            resume_from_checkpoint: a folder, as `checkpoint_to_resume` returns it; None to start from the beginning.
            args, kwargs: as for `transformers.Trainer`.

        Raises:
            Interrupted: a signal asked to stop. There is a complete checkpoint of the last step.
            UserError: a checkpoint could not be written, or does not fit the model.
        """
        checkpoint = None if resume_from_checkpoint is None else str(resume_from_checkpoint)
        self.evaluation_due = self.has_stepped = False
        if checkpoint and Path(checkpoint, MANIFEST).is_file():
            self.evaluation_due = read_manifest(checkpoint)["evaluation_due"]
        self._check_processes_agree(checkpoint)
        self._check_sharding(checkpoint)
        self.coordinator = StopCoordinator(
            self.args.world_size, self.args.process_index, self.args.device.type, self.output_dir
        )
        with defer_signals():
            try:
                outcome = super().train(checkpoint, *args, **kwargs)
            except _EvaluationStopped:
                self.evaluation_due = True
                self.save_and_exit()
            except UNLOADABLE as error:
                # Trainer loads everything with `weights_only` (transformers 5.23), so a pickle cannot run code.
                if self.has_stepped or not checkpoint or isinstance(error, UserError):
                    raise
                raise UserError(f"{checkpoint} does not fit this model or cannot be loaded: {error}") from error
            finally:
                self.coordinator = None
        if received_signal():
            raise Interrupted(f"Interrupted after the last step, before the final evaluation. {RESUME_HINT}")
        if num_nodes() > 1 and not self.is_fsdp_enabled:  # only node 0 can load the best checkpoint
            for tensor in self.model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)
        return outcome

    def _check_processes_agree(self, checkpoint: str | None) -> None:
        """Nodes that do not share `output_dir` each look at a disk of their own, and would wait forever."""
        if not torch.distributed.is_initialized():
            return
        found: list[str | None] = [None] * self.args.world_size
        torch.distributed.all_gather_object(found, checkpoint and Path(checkpoint).name)
        if len(set(found)) > 1:
            raise UserError(
                f"the processes start from different checkpoints: {', '.join(map(str, found))}. Put --output_dir on a "
                "disk that all nodes share."
            )

    def _check_sharding(self, checkpoint: str | None) -> None:
        if checkpoint and Path(checkpoint, FSDP_WEIGHTS).exists() != self.is_fsdp_enabled:
            raise UserError(
                f"{checkpoint} was written {'without' if self.is_fsdp_enabled else 'with'} FSDP, whose checkpoints are "
                "of another kind. Resume with the launcher's config that the run was started with."
            )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        self.hyperparameters = [
            {name: group[name] for name in HYPERPARAMETERS & group.keys()} for group in optimizer.param_groups
        ]
        return optimizer

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As Trainer's, without changing the random state.

        A data loader draws a number from the generator that dropout uses. A run whose evaluation was cut short and is
        repeated on resume would continue with other numbers than an undisturbed one.
        """
        with torch.random.fork_rng(devices=[]):
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """As Trainer's; a full disk becomes a `UserError`."""
        with disk_errors_as_user_errors(Path(output_dir or self.output_dir), DISK_ADVICE):
            super().save_model(output_dir, *args, **kwargs)

    def write_checkpoint(self, folder: Path, write: Callable[[], None], keep: int | None) -> None:
        """Write a checkpoint and its manifest, and only then remove older checkpoints."""
        try:
            with disk_errors_as_user_errors(folder, DISK_ADVICE):
                if self.args.should_save and folder.exists():  # of a run that died; none of its files may count
                    remove_checkpoint(folder)
                self.accelerator.wait_for_everyone()
                write()
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    write_manifest(folder, {**self.origin, "evaluation_due": self.evaluation_due})
        except UserError:
            if self.args.should_save:
                shutil.rmtree(folder, ignore_errors=True)
            self.callback_handler.on_train_end(self.args, self.state, self.control)  # closes the bar and the curves
            raise
        if self.args.should_save:
            prune_checkpoints(folder.parent, keep, newest=self.state.global_step, best=self.state.best_global_step)
        self.accelerator.wait_for_everyone()  # the first process to exit makes the launcher end the others

    def run_due_evaluation(self) -> None:
        """Do the evaluation that an interruption skipped, as if nothing had happened."""
        is_best = self.evaluate_and_track_best()
        self.evaluation_due = False
        if is_best:
            self.state.best_model_checkpoint = str(self._best_checkpoint())

    def find_best_checkpoint(self) -> None:
        """Look for the best checkpoint in `output_dir`, which may have moved; it has to be complete too."""
        if not self.state.best_global_step:
            return
        best = self._best_checkpoint()
        self.state.best_model_checkpoint = str(best)
        if problems := find_corruption(best):
            logger.warning(
                "The best checkpoint, %s, is lost: %s. Unless a later one is better, the last weights are the result.",
                *(best, "; ".join(problems)),
            )
            self.state.best_model_checkpoint = None
            if self.args.should_save:
                # Trainer would take it up again with the next checkpoint it writes (5.23, `_save_checkpoint`).
                discard_checkpoint(best)

    def _best_checkpoint(self) -> Path:
        return self.output_dir / f"checkpoint-{self.state.best_global_step}"

    def save_and_exit(self) -> NoReturn:
        """Write a checkpoint of the last step, and raise `Interrupted`."""
        step = self.state.global_step
        if step > self.started_at:  # otherwise it is the checkpoint that this process started from
            self.save_checkpoint()
        self.callback_handler.on_train_end(self.args, self.state, self.control)  # closes the curves' files
        saved = f"checkpoint-{step} is complete." if step else "No step was finished."
        raise Interrupted(f"Interrupted after step {step} of {self.state.max_steps}; {saved} {RESUME_HINT}")

    def should_stop(self) -> bool:
        """Whether all processes stop now. Counts a tick while training."""
        return self.coordinator is not None and self.coordinator.should_stop()


class _EvaluationStopped(Exception):
    """Leaves the evaluation loop, on all processes after the same batch."""


class _StopOnRequest(TrainerCallback):
    """Stops training where the coordinator says, after a step or within an evaluation."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer
        self.stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stopping = False
        self.trainer.started_at = state.global_step
        if args.should_save:
            discard_later_checkpoints(self.trainer.output_dir, state.global_step)
        # Loading an optimizer's state brings back the hyperparameters that the checkpoint was written with.
        for group, given in zip(kwargs["optimizer"].param_groups, self.trainer.hyperparameters, strict=True):
            group.update(given)
        self.trainer.find_best_checkpoint()
        if self.trainer.evaluation_due:
            self.trainer.run_due_evaluation()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.has_stepped = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.evaluation_due = False
        if self.trainer.should_stop():
            self.stopping = control.should_training_stop = True
            self.trainer.evaluation_due = control.should_evaluate
            control.should_evaluate = control.should_save = False  # one checkpoint, once the loop is left

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the last step of an epoch, and after any step that training stops at."""
        if self.stopping:
            epoch_complete = state.epoch % 1 == 0 or state.global_step >= state.max_steps
            self.trainer.evaluation_due |= control.should_evaluate and epoch_complete
            self.trainer.save_and_exit()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.should_stop():
            raise _EvaluationStopped
