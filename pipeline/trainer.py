"""The Trainer subclass: optimizer, schedule, and a loss that is right. It overrides hooks, never the loop."""

from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback

from pipeline.arguments import ADAM, EXPONENTIAL, TrainingArguments
from pipeline.batching import IGNORED_LABEL, EpochOrder, Filled
from pipeline.errors import blamed_on
from pipeline.resumable import ResumableTrainer
from pipeline.schedule import EpochwiseExponentialLR


class Trainer(ResumableTrainer):
    """`transformers.Trainer` with Adam and a per-epoch ExponentialLR, whose loss is the mean over the whole update.

    Trainer believes that BERT normalizes its loss by the number of items in an update, because its `forward` takes
    `**kwargs`. It does not: loss and gradient come out multiplied by accumulation steps x processes (transformers
    5.23). Here the loss is the sum over a micro-batch divided by the reviews of the whole update, so that one process
    of 32, two of 16 and 2 x 16 accumulated give the same gradient, in an epoch's last and smaller update too.
    """

    args: TrainingArguments

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with blamed_on("the options of training do not work here", ValueError, ImportError):
            super().__init__(*args, compute_loss_func=self._mean_over_update, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.train_dataset = Filled(self.train_dataset) if self.train_dataset is not None else None
        self.add_callback(_SetEpoch(self))

    def _mean_over_update(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """A micro-batch's part in the mean cross-entropy of its update.

        `num_items_in_batch` counts the reviews of the whole update on all processes; Trainer multiplies the result by
        the number of processes, since their gradients are averaged.
        """
        total = F.cross_entropy(
            outputs.logits.float(),
            labels,
            reduction="sum",
            ignore_index=IGNORED_LABEL,
            label_smoothing=self.args.label_smoothing_factor,
        )
        return total / num_items_in_batch

    # Optimizer and schedule.

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        options = f"--optim {_plain(self.args.optim)} --optim_args {self.args.optim_args}"
        with blamed_on(options, TypeError, ValueError, ImportError):
            return super().create_optimizer(*args, **kwargs)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> tuple[Any, dict[str, Any]]:
        """torch's Adam for `--optim adam`, fused where the device has it; Trainer's choice for any other name."""
        if args.optim != ADAM:
            return transformers.Trainer.get_optimizer_cls_and_kwargs(args, model)
        return torch.optim.Adam, {
            "lr": args.learning_rate,
            "betas": (args.adam_beta1, args.adam_beta2),
            "eps": args.adam_epsilon,
            "fused": args.device.type in ("cuda", "cpu"),  # XLA has none and refuses it
        }

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The per-epoch ExponentialLR for `--lr_scheduler_type exponential`; Trainer's choice for any other name."""
        if self.args.lr_scheduler_type != EXPONENTIAL:
            options = f"--lr_scheduler_type {_plain(self.args.lr_scheduler_type)}"
            with blamed_on(f"{options} --lr_scheduler_kwargs {self.args.lr_scheduler_kwargs}", TypeError, ValueError):
                return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            self.lr_scheduler = EpochwiseExponentialLR(
                optimizer or self.optimizer, self.args.gamma, self.updates_per_epoch
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # Rows and their order.

    def get_train_dataloader(self) -> DataLoader:
        loader = super().get_train_dataloader()
        self.updates_per_epoch = max(1, -(-len(loader) // self.args.gradient_accumulation_steps))
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if self.args.train_sampling_strategy not in ("random", "sequential"):
            return super()._get_train_sampler(train_dataset)
        self.epoch_order = EpochOrder(
            rows=len(self.train_dataset),
            total_batch_size=self.get_total_train_batch_size(self.args),
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            shuffle=self.args.train_sampling_strategy == "random",
        )
        return self.epoch_order

    # Evaluation.

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels, no loss: `pipeline.metrics` computes it once over all logits.

        Trainer's own mean weighs every batch the same on several processes, and gathers a count at every step.
        """
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        _, logits, _ = super().prediction_step(model, inputs, False, ignore_keys)
        return None, logits, labels


def _plain(name: Any) -> str:
    return getattr(name, "value", name)  # transformers turns the names that it knows into enums


class _SetEpoch(TrainerCallback):
    """Tell the order of rows which epoch begins.

    accelerate tells samplers too, but does not find one behind the two wrappers of a multi-process run that was
    resumed within an epoch (1.15, `skip_first_batches`), which would then go on with another epoch's rows.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if order := getattr(self.trainer, "epoch_order", None):
            order.set_epoch(state.global_step // self.trainer.updates_per_epoch)
