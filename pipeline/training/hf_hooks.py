"""Every override of a private or version-bound part of transformers' Trainer and of accelerate, each with its reason.

What `@hook` records is checked by tests/training/test_hf_hooks.py (see `pipeline.training.upstream`), and so is that no
other module overrides or reads a private name of these libraries. Functions whose bodies the code here relies on,
without replacing them, are in `pipeline.training.dependencies`.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import DistributedType, PartialState
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback

from pipeline.config.arguments import TrainingArguments
from pipeline.data.dataset import EpochSampler, TokenizedDataset
from pipeline.runtime import xla
from pipeline.runtime.distributed import num_nodes
from pipeline.runtime.errors import UserError
from pipeline.training.upstream import hook


class HookedTrainer(transformers.Trainer):
    """`transformers.Trainer` with its faults worked around and its private steps given public names."""

    args: TrainingArguments
    model: torch.nn.Module
    lr_scheduler: Any  # declared as the LambdaLR that Trainer makes by itself
    train_dataset: TokenizedDataset
    train_sampler: EpochSampler | None = None
    updates_per_epoch = 1
    labels_per_example = 1  # Trainer counts each label of a multi-hot row as an item

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _shard_on_cpu_too()
        super().__init__(*args, **kwargs)
        # Trainer hands the number of items in an update to every model whose `forward` takes `**kwargs`, and believes
        # that its loss is divided by it. Ours is computed outside of the model, whose packed `forward` takes no number.
        self.model_accepts_loss_kwargs = False
        self._configure_fsdp()
        self.add_callback(_SetEpoch(self))
        self.add_callback(_LogLastUpdates())
        self.add_callback(_EndAtLastStep())
        if self.args.device.type == "xla":
            self.add_callback(_OnXla())

    @property
    def output_dir(self) -> Path:
        """The run's folder."""
        assert self.args.output_dir  # Trainer's arguments have a default
        return Path(self.args.output_dir)

    # Sharding.

    def _configure_fsdp(self) -> None:
        if not self.is_fsdp_enabled:
            return
        plugin = self.accelerator.state.fsdp_plugin
        if plugin.activation_checkpointing:
            # accelerate 1.15, `fsdp2_apply_ac`: preserve_rng_state=False.
            raise UserError(
                "fsdp_activation_checkpointing would give wrong gradients: layers are computed again with other "
                "dropout masks. Set it to false in the launcher's config, and give scripts/train.py "
                "--activation_checkpointing true instead."
            )
        if plugin.transformer_cls_names_to_wrap is None:
            # The names that models give themselves do not work: BERT and RoBERTa name their embeddings too, whose inner
            # one accelerate would then shard twice (1.15, `fsdp2_prepare_model`), and ELECTRA names nothing (5.23).
            lists = [module for module in self.model.modules() if isinstance(module, torch.nn.ModuleList)]
            names = sorted({type(layer).__name__ for layers in lists for layer in layers})
            plugin.transformer_cls_names_to_wrap = names

    @hook(
        "transformers.Trainer.evaluation_loop",
        reason="a model that was not trained is prepared alone, without its optimizer, which accelerate refuses under "
        "FSDP (1.15, `Accelerator.prepare`)",
        remove_when="accelerate prepares a model for FSDP without an optimizer",
        digests={"5.23.0": "a0fe4d6536f8", "5.24.0": "a0fe4d6536f8"},
    )
    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_fsdp_enabled and self.optimizer is None:
            self.model, self.optimizer = self.accelerator.prepare(self.model, self.create_optimizer())
            self.model_wrapped = self.model
        return super().evaluation_loop(*args, **kwargs)

    # Several nodes: rank 0 writes everything, and the others need not see its disk.

    @hook(
        "transformers.Trainer._save_rng_state",
        reason="every process writes its random state into its own node's folder; here rank 0 writes all of them",
        remove_when="Trainer gathers random states as it gathers optimizer states",
        digests={"5.23.0": "27a97d106124", "5.24.0": "27a97d106124"},
    )
    def _save_rng_state(self, output_dir: str) -> None:
        if num_nodes() == 1:
            return super()._save_rng_state(output_dir)
        with tempfile.TemporaryDirectory() as own:
            super()._save_rng_state(own)
            states = gather_object([(file.name, file.read_bytes()) for file in Path(own).iterdir()])
        if self.args.should_save:
            for name, state in states:
                Path(output_dir, name).write_bytes(state)

    # Examples and their order.

    def get_train_dataloader(self) -> DataLoader:
        loader = super().get_train_dataloader()
        self.updates_per_epoch = max(1, -(-len(loader) // self.args.gradient_accumulation_steps))
        return loader

    @hook(
        "transformers.Trainer._get_train_sampler",
        reason="the order of examples is a function of (seed, epoch) alone, and an epoch's last batch is filled up "
        "with examples that count for nothing",
        remove_when="Trainer takes a sampler; `get_train_dataloader` would have to repeat how it makes the loader",
        digests={"5.23.0": "1580d7493244", "5.24.0": "1580d7493244"},
    )
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if self.args.train_sampling_strategy not in ("random", "sequential"):
            return super()._get_train_sampler(train_dataset)
        self.train_sampler = EpochSampler(
            num_examples=len(self.train_dataset),
            global_batch_size=self.get_total_train_batch_size(self.args),
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            shuffle=self.args.train_sampling_strategy == "random",
        )
        return self.train_sampler

    @hook(
        "transformers.Trainer.get_batch_samples",
        reason="counting labels and gathering the counts at every update makes a GPU wait for the host and splits a "
        "TPU's program; the sampler knows the number of examples. And resumed after its very last step within an "
        "epoch, Trainer trains one step more",
        remove_when="Trainer takes the number of items from the sampler, and trains no step after `max_steps` "
        "(test_one_step_too_many_is_not_trained)",
        digests={"5.23.0": "0b3727386f73", "5.24.0": "0b3727386f73"},
    )
    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        """The batches of an update, and the number of its examples on all processes."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        args, sampler = self.args, self.train_sampler
        counts_locally = args.world_size > 1 and not args.average_tokens_across_devices
        if sampler is None or args.ignore_data_skip or counts_locally:
            batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
            return batches, None if count is None else count // self.labels_per_example
        update = self.state.global_step % self.updates_per_epoch
        return list(islice(epoch_iterator, num_batches)), sampler.num_examples_in_update(update)

    @hook(
        "transformers.Trainer._get_grad_norm",
        reason="the norm is computed at every update, where only the logged ones are read: 1.4 % of a step on a CPU",
        remove_when="Trainer computes it only where it clips or logs",
        digests={"5.23.0": "913ba6f52f07", "5.24.0": "913ba6f52f07"},
    )
    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        args, state, update = self.args, self.state, self.state.global_step + 1
        is_logged = {
            "no": False,
            "steps": update % state.logging_steps == 0 or update >= state.max_steps,
            "epoch": True,  # an epoch's last update is not known here
        }[args.logging_strategy] or (args.logging_first_step and update == 1)
        return super()._get_grad_norm(model, grad_norm) if is_logged or grad_norm is not None else None

    # Evaluation.

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        return xla.loader_with_known_end(super().get_eval_dataloader(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        return xla.loader_with_known_end(super().get_test_dataloader(test_dataset))

    @hook(
        "transformers.Trainer.prediction_step",
        reason="Trainer's own mean of the loss gives every batch of several processes the same weight, and gathers a "
        "count at every step; the task computes the loss over all logits",
        remove_when="evaluation weighs batches by their examples",
        digests={"5.23.0": "d12d7a1d2f99", "5.24.0": "5d3407ff9546"},
    )
    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor | None, torch.Tensor | None]:
        """Logits and labels, without a loss."""
        labels = inputs["labels"].to(self.args.device)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        _, logits, _ = super().prediction_step(model, inputs, False, ignore_keys)
        # A CUDA graph writes the next batch's logits to the same memory.
        return None, logits.clone() if logits is not None and self.args.torch_compile else logits, labels

    # Private steps under public names, for `pipeline.training.resumable`.

    @hook(
        "transformers.Trainer._save_checkpoint",
        reason="a checkpoint counts only once its manifest is written, and older ones are removed only then; "
        "`on_save` comes after Trainer has removed them, and not at all where writing fails",
        remove_when="callbacks run before a checkpoint is written, and before older ones are removed",
        digests={"5.23.0": "a9111e30faa9", "5.24.0": "a9111e30faa9"},
    )
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = self.output_dir / f"checkpoint-{self.state.global_step}"
        keep, self.args.save_total_limit = self.args.save_total_limit, None  # Trainer removes none
        try:
            self.write_checkpoint(folder, lambda: super(HookedTrainer, self)._save_checkpoint(model, trial), keep)
        finally:
            self.args.save_total_limit = keep

    def write_checkpoint(self, folder: Path, write: Callable[[], None], keep: int | None) -> None:
        """Write a checkpoint with `write`, and remove older ones until `keep` are left."""
        raise NotImplementedError

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the current step."""
        self._save_checkpoint(self.model, None)

    def evaluate_and_track_best(self) -> bool:
        """Evaluate as within training, and return whether the result is the best so far."""
        metrics = self._evaluate(None, None)
        return self._determine_best_metric(metrics, None)


def _shard_on_cpu_too() -> None:
    """accelerate shards on GPUs only and trains unsharded elsewhere without a word (1.15, `AcceleratorState`).

    Can go when FSDP is honored on MULTI_CPU.
    """
    state = PartialState()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.MULTI_GPU


class _SetEpoch(TrainerCallback):
    """Tell the sampler which epoch begins.

    accelerate tells samplers too, but does not find one behind the two wrappers of a multi-process run that was resumed
    within an epoch (1.15, `skip_first_batches`), which would then go on with another epoch's order.
    """

    def __init__(self, trainer: HookedTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.train_sampler:
            self.trainer.train_sampler.set_epoch(state.global_step // self.trainer.updates_per_epoch)


class _LogLastUpdates(TrainerCallback):
    """Log the updates since the last log too: otherwise the mean over all includes this process' last ones alone.

    Trainer gathers the loss from all processes where it logs, and not at the end (transformers 5.23, `train_loss`).
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True


class _EndAtLastStep(TrainerCallback):
    """Do nothing at the end of an epoch in which no step was trained: see `get_batch_samples`."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begins_at = state.global_step

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.begins_at:
            control.should_log = control.should_evaluate = control.should_save = False


class _OnXla(TrainerCallback):
    """What XLA replicas need before the first step, and before each."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        xla.broadcast_parameters(kwargs["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        xla.seed_dropout(args.seed, state.global_step)
