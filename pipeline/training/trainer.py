"""The Trainer subclass: Adam, an ExponentialLR stepped per epoch, and a loss that is the mean over the whole update."""

import logging
from typing import Any

import numpy as np
import torch
import transformers
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pipeline.config.arguments import ADAM, EXPONENTIAL
from pipeline.data.dataset import TokenizedDataset
from pipeline.runtime.errors import as_user_error
from pipeline.tasks import Task
from pipeline.training.resumable import ResumableTrainer
from pipeline.training.schedule import EpochwiseExponentialLR

logger = logging.getLogger(__name__)


class Trainer(ResumableTrainer):
    """`transformers.Trainer` with the book's optimizer and schedule, and the loss of a task.

    Args:
        task: what is learnt; its loss, its metrics, and the label of an example that counts for nothing.
        train_dataset, eval_dataset: rows with `input_ids` and `label`.
        args, kwargs: as for `ResumableTrainer`.
    """

    def __init__(
        self, *args: Any, task: Task, train_dataset: Any = None, eval_dataset: Any = None, **kwargs: Any
    ) -> None:
        self.task, self.labels_per_example = task, task.labels_per_example
        self.diagnoses: set[str] = set()  # what has been said
        if options := kwargs.get("args"):
            task.check_label_smoothing(options.label_smoothing_factor)
        with as_user_error("the training options do not work here", ValueError, ImportError):
            super().__init__(
                *args,
                train_dataset=None if train_dataset is None else TokenizedDataset(train_dataset, task.ignored_label),
                eval_dataset=None if eval_dataset is None else TokenizedDataset(eval_dataset, task.ignored_label),
                compute_loss_func=self.mean_loss_of_update,
                compute_metrics=self.compute_task_metrics,
                **kwargs,
            )

    def compute_task_metrics(self, prediction: transformers.EvalPrediction) -> dict[str, float]:
        """The task's metrics. In training, a warning if the model has learnt nothing, each line once."""
        if self.is_in_train and self.is_world_process_zero():
            line = self.task.diagnose(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))
            if line and line not in self.diagnoses:
                self.diagnoses.add(line)
                logger.warning("Step %s: %s", self.state.global_step, line)
        return self.task.compute_metrics(prediction)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> tuple[Any, dict[str, Any]]:
        """torch's Adam for `--optim adam`, fused where the device has it; Trainer's choice for any other name."""
        if args.optim != ADAM:
            return transformers.Trainer.get_optimizer_cls_and_kwargs(args, model)
        return torch.optim.Adam, {
            "lr": args.learning_rate,
            "betas": (args.adam_beta1, args.adam_beta2),
            "eps": args.adam_epsilon,
            "fused": args.device.type in ("cuda", "cpu"),  # XLA has none and refuses it
        }

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """ExponentialLR per epoch for `--lr_scheduler_type exponential`; Trainer's choice for any other name."""
        if self.args.lr_scheduler_type != EXPONENTIAL:
            name, options = _option_value(self.args.lr_scheduler_type), self.args.lr_scheduler_kwargs
            with as_user_error(f"--lr_scheduler_type {name} --lr_scheduler_kwargs {options}", TypeError, ValueError):
                return super().create_scheduler(num_training_steps, optimizer)
        optimizer = optimizer or self.optimizer
        assert optimizer is not None  # Trainer creates it first
        self.lr_scheduler = EpochwiseExponentialLR(optimizer, self.args.gamma, self.updates_per_epoch)
        return self.lr_scheduler

    def mean_loss_of_update(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int
    ) -> torch.Tensor:
        """A micro-batch's part in the mean loss of its update.

        The sum over the micro-batch is divided by the examples of the whole update on all processes
        (`num_items_in_batch`), so that one process of 32, two of 16 and 2 x 16 accumulated give the same gradient, in
        an epoch's last and smaller update too. Trainer multiplies the result by the number of processes, since their
        gradients are averaged, and by that of GPUs if one process feeds several, although the logits of all of them
        are here together (transformers 5.23, `compute_loss`). Class weights change the sum, not the divisor.
        """
        total = self.task.loss(outputs.logits, labels, self.args.label_smoothing_factor)
        return total / num_items_in_batch / max(1, self.args.n_gpu)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> Optimizer:
        options = f"--optim {_option_value(self.args.optim)} --optim_args {self.args.optim_args}"
        with as_user_error(options, TypeError, ValueError, ImportError):
            return super().create_optimizer(model)

    def get_test_dataloader(self, test_dataset: Any) -> torch.utils.data.DataLoader:
        return super().get_test_dataloader(TokenizedDataset(test_dataset, self.task.ignored_label))


def _option_value(name: Any) -> str:
    return getattr(name, "value", name)  # transformers turns its own names into enums
