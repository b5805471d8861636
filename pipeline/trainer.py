"""The Trainer subclass: optimizer, schedule, and a loss that is right. It overrides hooks, never the loop."""

import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from accelerate import DistributedType, PartialState
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback

from pipeline import xla
from pipeline.arguments import ADAM, EXPONENTIAL, TrainingArguments
from pipeline.batching import IGNORED_LABEL, EpochOrder, TokenRows
from pipeline.errors import UserError, blamed_on
from pipeline.launch import machines
from pipeline.resumable import ResumableTrainer
from pipeline.schedule import EpochwiseExponentialLR

FSDP_WEIGHTS = "pytorch_model_fsdp.bin"  # what FSDP resumes from (accelerate 1.15, `save_fsdp_model`)


class Trainer(ResumableTrainer):
    """`transformers.Trainer` with Adam and a per-epoch ExponentialLR, whose loss is the mean over the whole update.

    Trainer believes that BERT normalizes its loss by the number of items in an update, because its `forward` takes
    `**kwargs`. It does not: loss and gradient come out multiplied by accumulation steps x processes (transformers
    5.23). Here the loss is the sum over a micro-batch divided by the reviews of the whole update, so that one process
    of 32, two of 16 and 2 x 16 accumulated give the same gradient, in an epoch's last and smaller update too.
    """

    args: TrainingArguments

    def __init__(self, *args: Any, train_dataset: Any = None, eval_dataset: Any = None, **kwargs: Any) -> None:
        with blamed_on("the options of training do not work here", ValueError, ImportError):
            super().__init__(
                *args,
                train_dataset=None if train_dataset is None else TokenRows(train_dataset),
                eval_dataset=None if eval_dataset is None else TokenRows(eval_dataset),
                compute_loss_func=self._mean_over_update,
                **kwargs,
            )
        self.model_accepts_loss_kwargs = False
        self.add_callback(_SetEpoch(self))
        self.add_callback(_LogLastUpdates())
        if self.args.device.type == "xla":
            self.add_callback(_OnXla())

    def _mean_over_update(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """A micro-batch's part in the mean cross-entropy of its update.

        `num_items_in_batch` counts the reviews of the whole update on all processes; Trainer multiplies the result by
        the number of processes, since their gradients are averaged; and by that of GPUs where one process feeds them
        all, although the logits of all are here together (transformers 5.23, `compute_loss`).
        """
        total = F.cross_entropy(
            outputs.logits.float(),
            labels,
            reduction="sum",
            ignore_index=IGNORED_LABEL,
            label_smoothing=self.args.label_smoothing_factor,
        )
        return total / num_items_in_batch / max(1, self.args.n_gpu)

    # Sharding.

    def create_accelerator_and_postprocess(self) -> None:
        """Make FSDP what the launcher was asked for, on the CPU too, and layer by layer with every model."""
        processes = PartialState()
        if os.environ.get("ACCELERATE_USE_FSDP") == "true" and processes.distributed_type == DistributedType.MULTI_CPU:
            # accelerate shards on GPUs only and trains unsharded elsewhere, in silence (1.15, `AcceleratorState`).
            processes.distributed_type = DistributedType.MULTI_GPU
        super().create_accelerator_and_postprocess()
        if self.is_fsdp_enabled and self.accelerator.state.fsdp_plugin.activation_checkpointing:
            # accelerate 1.15, `fsdp2_apply_ac`: preserve_rng_state=False.
            raise UserError(
                "fsdp_activation_checkpointing would give wrong gradients: layers are computed again with other "
                "dropout masks. Set it to false in the launcher's config, and give scripts/train.py "
                "--activation_checkpointing true instead."
            )
        if self.is_fsdp_enabled and self.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap is None:
            # What models name themselves will not do: BERT and RoBERTa name their embeddings too, whose inner one
            # accelerate would then shard twice (1.15, `fsdp2_prepare_model`), and ELECTRA names nothing (5.23).
            lists = [module for module in self.model.modules() if isinstance(module, torch.nn.ModuleList)]
            names = sorted({type(layer).__name__ for layers in lists for layer in layers})
            self.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = names

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_fsdp_enabled and not self.accelerator._models:
            # Trainer has a model that was not trained sharded alone, which accelerate refuses (1.15, `prepare`).
            self.model, self.optimizer = self.accelerator.prepare(self.model, self.create_optimizer())
            self.model_wrapped = self.model
        return super().evaluation_loop(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if Path(resume_from_checkpoint, FSDP_WEIGHTS).exists() != self.is_fsdp_enabled:
            raise UserError(
                f"{resume_from_checkpoint} was written {'without' if self.is_fsdp_enabled else 'with'} FSDP, whose "
                "checkpoints are of another kind. Go on with the config that the run was started with."
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    # Several machines: the first writes all that a run leaves, and the others need not see its folder.

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and end with the first machine's weights everywhere: it alone can load the best checkpoint."""
        outcome = super().train(*args, **kwargs)
        if machines() > 1 and not self.is_fsdp_enabled:
            for tensor in self.model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)
        return outcome

    def _save_rng_state(self, output_dir: str) -> None:
        if machines() == 1:
            return super()._save_rng_state(output_dir)
        with tempfile.TemporaryDirectory() as own:
            super()._save_rng_state(own)
            states = gather_object([(file.name, file.read_bytes()) for file in Path(own).iterdir()])
        if self.args.should_save:
            for name, state in states:
                Path(output_dir, name).write_bytes(state)

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

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        """The batches of an update and the number of its reviews on all processes.

        The order knows it. Trainer counts labels and gathers the counts at every update, for which a GPU has to catch
        up with the host and a TPU's program falls apart.
        """
        order, args = getattr(self, "epoch_order", None), self.args
        if order is None or args.ignore_data_skip or not (args.average_tokens_across_devices or args.world_size == 1):
            return super().get_batch_samples(epoch_iterator, num_batches, device)
        update = self.state.global_step % self.updates_per_epoch
        return list(islice(epoch_iterator, num_batches)), order.reviews_of(update)

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm of the gradients, where it will be logged or has been computed for clipping.

        Trainer computes it at every update, and multiplies every gradient by 1 to that end (transformers 5.23).
        """
        args, state, update = self.args, self.state, self.state.global_step + 1
        due = {
            "no": False,
            "steps": update % state.logging_steps == 0 or update >= state.max_steps,
            "epoch": True,  # the last update of one is not known here
        }[args.logging_strategy] or (args.logging_first_step and update == 1)
        return super()._get_grad_norm(model, grad_norm) if due or grad_norm is not None else None

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        return xla.with_ready_mask(inputs, self.model.dtype) if self.args.device.type == "xla" else inputs

    # Evaluation.

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        return xla.counted(super().get_eval_dataloader(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        return xla.counted(super().get_test_dataloader(TokenRows(test_dataset)))

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
        # A CUDA graph writes the next batch's logits to the same place.
        return None, logits.clone() if self.args.torch_compile else logits, labels


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


class _LogLastUpdates(TrainerCallback):
    """Log the updates since the last log as well: else the mean over all has in it the last ones of this process only.

    Trainer gathers the loss from all processes where it logs, and not at the end (transformers 5.23, `train_loss`).
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True


class _OnXla(TrainerCallback):
    """What replicas on XLA need before the first step, and before each."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        xla.begin_equal(model)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        xla.seed_dropout(args.seed, state.global_step)
