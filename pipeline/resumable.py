"""A Trainer whose checkpoints are whole or not there, and which stops where it can go on bit for bit."""

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import torch
import transformers
from safetensors import SafetensorError
from transformers import TrainerCallback

from pipeline.checkpoint import MANIFEST, damage, disk_errors_named, read_manifest, rotate, seal
from pipeline.errors import UserError, blamed_on
from pipeline.interrupt import GO_ON, Agreement, Interrupted, asked, deferred

logger = logging.getLogger(__name__)

UNLOADABLE = (UnpicklingError, SafetensorError, RuntimeError, ValueError, KeyError, EOFError)


class ResumableTrainer(transformers.Trainer):
    """Seals each checkpoint before older ones are removed, and heeds `pipeline.interrupt`.

    Args:
        settings: what decides the result, from `decisive_settings`; written into every checkpoint.
    """

    def __init__(self, *args: Any, settings: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.about = {
            "settings": settings or {},
            "processes": self.args.world_size,
            "device": self.args.device.type,
            "precision": self.accelerator.mixed_precision,
        }
        self.agreement: Agreement | None = None
        self.evaluation_due = False  # the last step's evaluation was left out, and belongs before the next step
        self.begun_at = 0  # the step that this process began after
        self.add_callback(_StopWhenAsked(self))

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:
        """As Trainer's, from a whole checkpoint or from the beginning.

        Raises:
            Interrupted: a signal asked to stop. A whole checkpoint of the last step is there.
            UserError: a checkpoint could not be written, or does not fit the model.
        """
        self.evaluation_due = False
        if resume_from_checkpoint and Path(resume_from_checkpoint, MANIFEST).is_file():
            self.evaluation_due = read_manifest(resume_from_checkpoint)["evaluation_due"]
        self._check_all_begin_alike(resume_from_checkpoint)
        args = self.args
        self.agreement = Agreement(args.world_size, args.process_index, args.device.type, Path(args.output_dir))
        with deferred():
            try:
                outcome = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
            finally:
                self.agreement = None
        if asked():
            raise Interrupted(f"Interrupted after the last step; the final evaluation is left. {GO_ON}")
        return outcome

    def _check_all_begin_alike(self, checkpoint: str | None) -> None:
        """On machines that do not share `output_dir`, each looks at a disk of its own; they would wait for ever."""
        if not torch.distributed.is_initialized():
            return
        found = [None] * self.args.world_size
        torch.distributed.all_gather_object(found, checkpoint and Path(checkpoint).name)
        if len(set(found)) > 1:
            raise UserError(
                f"the processes begin from different checkpoints: {', '.join(map(str, found))}. Put --output_dir on a "
                "disk that all machines share."
            )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As Trainer's, without a trace in the random state.

        A data loader draws a number from the generator that dropout uses. A run whose evaluation was cut short, and is
        done again when it goes on, would go on with other numbers than an undisturbed one.
        """
        with torch.random.fork_rng(devices=[]):
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's, with a full disk named."""
        folder = Path(output_dir or self.args.output_dir)
        advice = f"Free some space. The checkpoints are as they were. {GO_ON}"
        with nullcontext() if _internal_call else disk_errors_named(folder, advice):
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, seal it, and only then remove older ones."""
        folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        advice = f"Earlier checkpoints are as they were. Free some space. {GO_ON}"
        # Trainer removes older checkpoints at the end of writing one, when this one is not sealed yet.
        keep, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with disk_errors_named(folder, advice):
                if self.args.should_save and folder.exists():  # of a run that died; nothing of it may count
                    (folder / MANIFEST).unlink(missing_ok=True)
                    shutil.rmtree(folder)
                self.accelerator.wait_for_everyone()
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    seal(folder, {**self.about, "evaluation_due": self.evaluation_due})
        except UserError:
            if self.args.should_save:
                shutil.rmtree(folder, ignore_errors=True)
            self.callback_handler.on_train_end(self.args, self.state, self.control)  # closes the bar and the curves
            raise
        finally:
            self.args.save_total_limit = keep
        if self.args.should_save:
            rotate(folder.parent, keep, newest=self.state.global_step, best=self.state.best_global_step)
        self.accelerator.wait_for_everyone()  # the first process to leave has the launcher end the others

    # Whole is not harmless, nor of this model. Trainer loads all of it with `weights_only` (transformers 5.23).

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with blamed_on(f"{resume_from_checkpoint} does not fit this model or is no checkpoint", *UNLOADABLE):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with blamed_on(f"optimizer or schedule in {checkpoint} cannot be loaded", *UNLOADABLE):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with blamed_on(f"the random state in {checkpoint} cannot be loaded", *UNLOADABLE):
            super()._load_rng_state(checkpoint)

    def _run_epoch(self, **kwargs: Any) -> None:
        # Resumed after its very last step within an epoch, Trainer would train one more (transformers 5.23).
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        try:
            return super()._evaluate(*args, **kwargs)
        except _EvaluationStopped:
            self.evaluation_due = True
            self.save_and_leave()

    def evaluate_what_is_due(self) -> None:
        """Do the evaluation that was left out when the run was interrupted, as if it had never been."""
        metrics = self._evaluate(None, None)
        self.evaluation_due = False
        if self._determine_best_metric(metrics, None):
            self.state.best_model_checkpoint = self._best_checkpoint()

    def find_best_again(self) -> None:
        """Look for the best checkpoint in `output_dir`, which may have moved; it has to be whole too."""
        if not self.state.best_global_step:
            return
        self.state.best_model_checkpoint = self._best_checkpoint()
        if problems := damage(Path(self.state.best_model_checkpoint)):
            logger.warning(
                "The best checkpoint so far, %s, is lost: %s. If none to come is better, the run ends with its last.",
                *(self.state.best_model_checkpoint, "; ".join(problems)),
            )
            self.state.best_model_checkpoint = None

    def _best_checkpoint(self) -> str:
        return str(Path(self.args.output_dir, f"checkpoint-{self.state.best_global_step}"))

    def save_and_leave(self) -> NoReturn:
        """Write a checkpoint of the step that has just ended, and end the run."""
        step = self.state.global_step
        if step > self.begun_at:  # else it is what this run began from
            self._save_checkpoint(self.model, None)
        self.callback_handler.on_train_end(self.args, self.state, self.control)  # closes the curves' files
        where = f"checkpoint-{step} is whole." if step else "No step was finished."
        raise Interrupted(f"Interrupted after step {step} of {self.state.max_steps}; {where} {GO_ON}")


class _EvaluationStopped(Exception):
    """Leaves the evaluation loop, on all processes after the same batch."""


class _StopWhenAsked(TrainerCallback):
    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer
        self.stopping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.stopping = False
        self.trainer.begun_at = state.global_step
        self.trainer.find_best_again()
        if self.trainer.evaluation_due:
            self.trainer.evaluate_what_is_due()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.evaluation_due = False
        if self.trainer.agreement.stop():
            self.stopping = control.should_training_stop = True
            self.trainer.evaluation_due = control.should_evaluate
            control.should_evaluate = control.should_save = False  # saved once, when the loop has been left

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Comes after the last step of an epoch, and after any step that training stops at."""
        if self.stopping:
            complete = state.epoch % 1 == 0 or state.global_step >= state.max_steps
            self.trainer.evaluation_due |= control.should_evaluate and complete
            self.trainer.save_and_leave()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.agreement and self.trainer.agreement.stop():
            raise _EvaluationStopped
