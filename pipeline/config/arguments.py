"""The options, each described once. The defaults are those of the book.

Three groups: data (which corpus, how it becomes token ids), model, and training, which has every option of
`transformers.TrainingArguments` with the book's values as defaults, and a few of ours.
"""

import importlib.util
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import transformers
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.runtime import xla
from pipeline.runtime.devices import needs_cpu_backend
from pipeline.runtime.distributed import share_random_seed
from pipeline.runtime.errors import UserError

ADAM = "adam"  # torch.optim.Adam; transformers knows AdamW only
EXPONENTIAL = "exponential"  # ExponentialLR once per epoch; transformers has no such schedule
RANDOM_SEED = -1
GLOBAL_BATCH_SIZE = 32  # the book's


def _bundled_models() -> list[str]:
    about = {name: get_corpus(name).bundled_model for name in corpus_names()}
    return [f"{name}: {model}" for name, model in about.items() if model]


@dataclass
class DataArguments:
    """Which corpus, and how it becomes token ids."""

    _argument_group_name = "data"

    corpus_name: str = field(
        default="nsmc",
        metadata={
            "help": "The corpus. " + "; ".join(f"{name}: {get_corpus(name).summary}" for name in corpus_names()) + "."
        },
    )
    corpus_root_dir: str = field(
        default="~/Korpora",
        metadata={"help": "Korpora's folder, in which each corpus has one of its own."},
    )
    train_file: list[str] | None = field(
        default=None,
        metadata={
            "help": "Your own data instead of a corpus: csv, tsv, json, jsonl, parquet, xlsx, or a folder of "
            "`save_to_disk`. Several files and patterns such as 'data/*.csv' are one table."
        },
    )
    validation_file: list[str] | None = field(
        default=None, metadata={"help": "Likewise, to select the checkpoint. Default: split off the training examples."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"help": "Likewise, to score at the end. Default: split off the training examples."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "A dataset on the Hugging Face Hub, USER/NAME, instead of a corpus."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Which configuration of that dataset."})
    dataset_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of that dataset."})
    text_column: list[str] | None = field(
        default=None,
        metadata={"help": "The column of the texts, or the two of a pair. Default: recognized by a common name."},
    )
    label_column: list[str] | None = field(
        default=None,
        metadata={
            "help": "The column of the labels; several columns of 0 and 1 are several labels at once. Default: "
            "recognized by a common name. For a corpus with labels of several kinds: which."
        },
    )
    problem_type: Literal["auto", "single_label_classification", "multi_label_classification", "regression"] = field(
        default="auto",
        metadata={
            "help": "What the labels are. auto: lists, several columns or a|b are several labels, numbers with "
            "fractions a regression, anything else one label."
        },
    )
    class_names: list[str] | None = field(
        default=None,
        metadata={"help": "What the classes are called, in the order of the labels: numbers by value, others sorted."},
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={"help": "Weights in the loss: balanced, or NAME=WEIGHT for each class. Default: all 1."},
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be used, and count them, instead of stopping."}
    )
    clean: Literal["none", "kcbert"] = field(
        default="none",
        metadata={"help": "kcbert: clean texts as KcBERT's authors did: other scripts, URLs, repeated letters."},
    )
    long_text: Literal["head", "head_tail", "windows"] = field(
        default="head",
        metadata={
            "help": "What is read of a text beyond --max_length: its beginning; its beginning and its end; or all of "
            "it, in overlapping windows whose logits are averaged."
        },
    )
    force_download: bool = field(
        default=False, metadata={"help": "Download the corpus again even if its files are there."}
    )
    validation_fraction: float = field(
        default=0.05,
        metadata={
            "help": "Share of the training examples held out, stratified by label, to select the checkpoint. "
            "0: select it on the test set, as the book does; the test score is then biased."
        },
    )
    test_fraction: float = field(
        default=0.1, metadata={"help": "Share of the examples split off for the test if there is no test set."}
    )
    validation_seed: int = field(
        default=7,
        metadata={"help": "Decides which examples are held out; independent of --seed, so that runs compare."},
    )
    drop_duplicates: bool = field(
        default=False,
        metadata={
            "help": "Leave out training examples whose text stands in the validation or test examples too; of several "
            "training examples with one text the first is kept."
        },
    )
    max_length: int = field(
        default=128, metadata={"help": "Longest input in tokens, special tokens included; longer texts are truncated."}
    )
    cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder for the tokenized corpus. Default: in the cache folder of Hugging Face datasets."},
    )
    overwrite_cache: bool = field(default=False, metadata={"help": "Tokenize again even if the cache has the result."})
    batching: Literal["auto", "packed", "longest", "max_length"] = field(
        default="auto",
        metadata={
            "help": "packed: the examples of a batch in one row, no padding; longest: pad each batch to its longest "
            "example; max_length: pad to --max_length, so that all batches have one shape; auto: max_length on XLA "
            "devices (TPU), elsewhere packed, or longest if the model cannot be packed."
        },
    )

    def __post_init__(self) -> None:
        names = corpus_names()
        _check("corpus_name", self.corpus_name, self.corpus_name in names, f"one of {', '.join(names)}")
        _check("validation_fraction", self.validation_fraction, 0 <= self.validation_fraction <= 0.5, "0 to 0.5")
        _check("test_fraction", self.test_fraction, 0 < self.test_fraction <= 0.5, "more than 0 and at most 0.5")
        _check("validation_seed", self.validation_seed, _SEED[0](self.validation_seed), _SEED[1])
        _check("max_length", self.max_length, self.max_length >= 3, "at least 3: two special tokens and one of text")
        self._check_source()

    @property
    def files(self) -> dict[str, list[str]]:
        """The user's own files by split; empty if a corpus or a dataset of the Hub is read."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: names for split, names in files.items() if names}

    @property
    def is_own_data(self) -> bool:
        """Whether columns and labels are found by looking at the data."""
        return bool(self.files or self.dataset_name)

    @property
    def name(self) -> str:
        """What the data is called in the names of folders and in cards."""
        if self.dataset_name:
            name = "-".join([self.dataset_name.rpartition("/")[2], self.dataset_config_name or ""])
        elif self.files:
            path = Path(next(iter(self.files.values()))[0])
            name = path.parent.name if "*" in path.name else path.stem
        else:
            name = self.corpus_name
        return re.sub(r"[^\w.]+", "-", name).strip("-.") or "data"

    def _check_source(self) -> None:
        if self.files and self.dataset_name:
            raise UserError(f"--dataset_name {self.dataset_name} and --{min(self.files)}_file: expected one of them.")
        if self.dataset_config_name and not self.dataset_name:
            raise UserError(f"--dataset_config_name {self.dataset_config_name} needs --dataset_name.")
        own = {"text_column": self.text_column, "class_names": self.class_names, "skip_bad_rows": self.skip_bad_rows}
        own["problem_type"] = self.problem_type != "auto"
        if not self.is_own_data and (given := [name for name, value in own.items() if value]):
            raise UserError(
                f"--{given[0]} is for your own data: --train_file or --dataset_name. {self.corpus_name} has its own."
            )


@dataclass
class ModelArguments:
    """Which model is fine-tuned."""

    _argument_group_name = "model"

    model_name_or_path: str = field(
        default="beomi/kcbert-base",
        metadata={
            "help": "; ".join(["A model on the Hugging Face Hub, or a folder", *_bundled_models()]) + ".",
            "aliases": ["--model"],
            "metavar": "NAME_OR_FOLDER",
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model on the Hub."})
    from_scratch: bool = field(
        default=False, metadata={"help": "Start from random weights: only config and tokenizer are needed."}
    )
    config_overrides: str | None = field(
        default=None,
        metadata={"help": "With --from_scratch: changes to the config, as num_hidden_layers=4,hidden_size=256."},
    )

    def __post_init__(self) -> None:
        if self.config_overrides and not self.from_scratch:
            raise UserError(
                f"--config_overrides {self.config_overrides} changes the model's shape, which pretrained weights do "
                "not fit. Add --from_scratch, or leave it out."
            )
        for change in self.config_overrides.split(",") if self.config_overrides else ():
            name, _, value = change.partition("=")
            if not (name.strip() and value.strip()):
                raise UserError(
                    f"--config_overrides {self.config_overrides} has `{change}`; expected NAME=VALUE, several of them "
                    "with commas in between, as num_hidden_layers=4,hidden_size=256."
                )


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """`transformers.TrainingArguments` with the book's values as defaults, and what the book has besides."""

    _argument_group_name = "training"

    # Defaults that differ from transformers'.
    output_dir: str = field(
        default="",
        metadata={"help": "Folder for model, checkpoints and results. Default: outputs/<model>-<data>."},
    )
    per_device_train_batch_size: int | None = field(  # type: ignore[assignment]  # None until it is derived
        default=None,
        metadata={"help": "Examples per device and step. Default: global_batch_size divided by devices and steps."},
    )
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Examples per device in evaluation."})
    optim: str = field(
        default=ADAM,
        metadata={"help": "adam: torch's Adam, fused where the device has it; or any of transformers' names."},
    )
    lr_scheduler_type: str = field(
        default=EXPONENTIAL,
        metadata={"help": "exponential: ExponentialLR, once per epoch (see gamma); or any of transformers' names."},
    )
    max_grad_norm: float = field(
        default=0.0, metadata={"help": "Clip gradients to this norm; 0: no clipping, as in the book."}
    )
    seed: int = field(default=7, metadata={"help": "Random seed; -1 draws one and logs it."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints kept; 2: the best one, and the last one for resuming."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the best checkpoint, not with the last."}
    )
    metric_for_best_model: str | None = field(
        default="loss",
        metadata={
            "help": "What selects the best checkpoint: loss, accuracy, f1_macro, or another metric of the task.",
            "metavar": "METRIC",
        },
    )
    remove_unused_columns: bool = field(
        default=False,
        metadata={"help": "Refused: the datasets have only the columns that the collators read."},
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Several processes: look for unused weights at every step."}
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Replace losses that are not finite in the log; a GPU waits for it at every step."},
    )
    logging_steps: float = field(
        default=50,
        metadata={"help": "Log every so many updates. Default: 50, or a tenth of a run of less than 500."},
    )
    report_to: list[str] = field(
        default_factory=lambda: ["tensorboard"],
        metadata={
            "help": "Trackers, one or several: tensorboard, wandb, ...; none, or all that are installed.",
            "metavar": "TRACKER",
        },
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "auto: the newest complete checkpoint in --output_dir, or the beginning if there is none; or the "
            "folder of a checkpoint."
        },
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Push the finished model; needs --hub_model_id."})
    hub_model_id: str | None = field(default=None, metadata={"help": "USER/NAME on the Hugging Face Hub."})
    hub_private_repo: bool = field(default=False, metadata={"help": "Create the repository private."})

    # Options of ours.
    global_batch_size: int = field(
        default=None,  # type: ignore[assignment]  # until it is derived
        metadata={
            "help": "Examples per update, over all devices and accumulation steps: 4 each on 8 TPU cores. Default: 32."
        },
    )
    gamma: float = field(default=0.9, metadata={"help": "exponential: the factor of the learning rate per epoch."})
    fast_dev_run: bool = field(
        default=False, metadata={"help": "One step of everything, to see that it runs; its numbers mean nothing."}
    )
    no_report: bool = field(
        default=False, metadata={"help": "Do not write report.html, the page of the run, at the end."}
    )
    allow_changed_settings: bool = field(
        default=False,
        metadata={"help": "Resume although settings that decide the result differ from the checkpoint's."},
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Replace an earlier run in --output_dir; its checkpoints and results are removed."},
    )

    def __post_init__(self) -> None:
        self._check_values()
        if self.fast_dev_run:
            self.max_steps, self.logging_steps = 1, 1
            self.eval_strategy = self.save_strategy = "steps"
            self.eval_steps = self.save_steps = 1
        self._adopt_launcher_compiler()
        self.use_cpu = self.use_cpu or needs_cpu_backend()
        if self.disable_tqdm is None:
            self.disable_tqdm = not sys.stderr.isatty()  # a bar is for a person
        has_accelerator_config = self.accelerator_config is not None
        # transformers accepts its own names only; ours are restored once it has checked the rest.
        stand_ins = {"optim": (ADAM, "adamw_torch"), "lr_scheduler_type": (EXPONENTIAL, "constant")}
        ours = {name: value for name, (value, _) in stand_ins.items() if getattr(self, name) == value}
        for name in ours:
            setattr(self, name, stand_ins[name][1])
        super().__post_init__()
        for name, value in ours.items():
            setattr(self, name, value)
        # Pinned memory is for copies to a GPU; without one torch warns of it for every loader.
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"
        if not has_accelerator_config:
            # The host need not wait for the copy. By now transformers has made an AcceleratorConfig of it.
            self.accelerator_config.non_blocking = self.dataloader_pin_memory  # type: ignore[union-attr]
        xla.configure_arguments(self)
        self._divide_batch()
        if self.seed == RANDOM_SEED:
            self.seed = share_random_seed(self.device)

    def _check_values(self) -> None:
        for name, (is_valid, expected) in RANGES.items():
            value = getattr(self, name)
            _check(name, value, value is None or is_valid(value), expected)
        if self.hub_token:
            raise UserError(
                "--hub_token would be written into the run's files. Set the environment variable HF_TOKEN, or run "
                "`hf auth login` once, and leave the option out."
            )
        if self.save_only_model or self.enable_jit_checkpoint:
            raise UserError(
                "--save_only_model and --enable_jit_checkpoint are not supported: their checkpoints cannot be resumed "
                "bit for bit. Ctrl-C and SIGTERM write a complete checkpoint anyway."
            )
        for option, name, ours in (
            ("optim_args", "optim", ADAM),
            ("lr_scheduler_kwargs", "lr_scheduler_type", EXPONENTIAL),
        ):
            if getattr(self, option) and getattr(self, name) == ours:
                raise UserError(f"--{option} is for transformers' own; --{name} {ours} takes no such values.")
        if self.warmup_steps and self.lr_scheduler_type == EXPONENTIAL:
            raise UserError(
                f"--warmup_steps {self.warmup_steps:g} does nothing with --lr_scheduler_type {EXPONENTIAL}, which has "
                "no warm-up. Add --lr_scheduler_type linear, or leave it out."
            )
        if self.bf16 and self.fp16:
            raise UserError("--bf16 and --fp16 are both given; expected one of them.")
        cuda_graphs = self.torch_compile_mode in ("reduce-overhead", "max-autotune")
        if cuda_graphs and self.gradient_accumulation_steps > 1:
            raise UserError(
                f"--torch_compile_mode {self.torch_compile_mode} runs CUDA graphs, which overwrite the gradients that "
                "they should add to (torch 2.13). Use --gradient_accumulation_steps 1, or another mode."
            )
        self._check_trackers()
        self._check_deepspeed()

    def _check_trackers(self) -> None:
        from transformers.integrations import get_available_reporting_integrations  # slow to import

        names = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or ["none"])
        installed = get_available_reporting_integrations()
        for name in names:
            expected = f"none, all, or an installed tracker: {', '.join(installed)}"
            _check("report_to", name, name in ("all", "none", *installed), expected)
        if len(names) > 1 and {"all", "none"} & set(names):
            raise UserError(f"--report_to {' '.join(names)}: expected none or all alone, or names of trackers.")

    def _check_deepspeed(self) -> None:
        config = self.deepspeed
        if isinstance(config, str) and not config.lstrip().startswith("{") and not os.path.isfile(config):
            raise UserError(f"--deepspeed {config}: there is no such file; expected DeepSpeed's JSON config.")
        if config and importlib.util.find_spec("deepspeed") is None:
            raise UserError(
                f"--deepspeed {config}: DeepSpeed is not installed. This project is not tested with it; to shard a "
                "model over GPUs: accelerate launch --config_file accelerate_configs/fsdp.yaml"
            )

    def _adopt_launcher_compiler(self) -> None:
        """Adopt `accelerate launch --dynamo_backend`: accelerate compiles, and batches need few shapes then."""
        backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
        if backend != "no" and not (self.torch_compile or self.torch_compile_backend):
            self.torch_compile, self.torch_compile_backend = True, backend

    def _divide_batch(self) -> None:
        """Derive the examples per device from those per update; or the reverse, if the former were given."""
        parts = self.world_size * max(1, self.n_gpu) * self.gradient_accumulation_steps
        shared_out = f"{self.world_size} process(es) x {self.gradient_accumulation_steps} accumulation step(s)"
        per_device, total = self.per_device_train_batch_size, self.global_batch_size
        if per_device is not None:
            if total not in (None, per_device * parts):
                raise UserError(
                    f"--global_batch_size {total} and --per_device_train_batch_size {per_device} contradict: "
                    f"{per_device} x {shared_out} make {per_device * parts}. Give one of them."
                )
            self.global_batch_size = per_device * parts
            return
        self.global_batch_size = GLOBAL_BATCH_SIZE if total is None else total
        if self.global_batch_size % parts:
            raise UserError(
                f"--global_batch_size {self.global_batch_size} does not divide by {shared_out}. Use a multiple of "
                f"{parts}, or set --per_device_train_batch_size."
            )
        self.per_device_train_batch_size = self.global_batch_size // parts

    def default_logging_steps(self, num_examples: int) -> int:
        """Updates between logs, if the user does not say: 50, or a tenth of the run if that is less.

        Args:
            num_examples: that are trained on in an epoch.
        """
        per_epoch = -(-num_examples // self.global_batch_size)
        updates = self.max_steps if self.max_steps > 0 else math.ceil(per_epoch * self.num_train_epochs)
        return min(50, max(1, updates // 10))


def _one_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in names, f"one of {', '.join(names)}"


_POSITIVE = (lambda value: value > 0, "more than 0")
_NOT_NEGATIVE = (lambda value: value >= 0, "0 or more")
_AT_LEAST_ONE = (lambda value: value >= 1, "at least 1")
_BELOW_ONE = (lambda value: 0 <= value < 1, "0 or more and less than 1")
_SEED = (lambda value: 0 <= value < 2**32, "0 to 4294967295")  # what NumPy takes
RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "gamma": (lambda value: 0 < value <= 1, "more than 0 and at most 1"),
    "max_steps": (lambda value: value == -1 or value > 0, "-1 (no limit) or more than 0"),
    "seed": (lambda value: RANDOM_SEED <= value < 2**32, "0 to 4294967295, or -1 to draw one"),
    "max_grad_norm": (lambda value: value >= 0, "0 (no clipping) or more"),
    "data_seed": _SEED,
    "torch_compile_mode": _one_of("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "optim": _one_of(ADAM, *(name.value for name in OptimizerNames)),
    "lr_scheduler_type": _one_of(EXPONENTIAL, *(name.value for name in SchedulerType)),
    "eval_strategy": _one_of(*(name.value for name in IntervalStrategy)),
    "save_strategy": _one_of(*(name.value for name in SaveStrategy)),
    **dict.fromkeys(
        "learning_rate num_train_epochs adam_epsilon logging_steps save_steps eval_steps".split(), _POSITIVE
    ),
    **dict.fromkeys("weight_decay warmup_steps eval_delay dataloader_num_workers".split(), _NOT_NEGATIVE),
    **dict.fromkeys("label_smoothing_factor adam_beta1 adam_beta2".split(), _BELOW_ONE),
    **dict.fromkeys(
        (
            "global_batch_size gradient_accumulation_steps per_device_train_batch_size per_device_eval_batch_size "
            "save_total_limit eval_accumulation_steps dataloader_prefetch_factor neftune_noise_alpha ddp_timeout "
            "torch_empty_cache_steps"
        ).split(),
        _AT_LEAST_ONE,
    ),
}


_ALWAYS_SCORED = "the test examples are scored at the end of every run"
_NEEDS_LOGITS = "metrics are computed from the logits of all examples"
# Options of transformers that would do nothing here: the one value that says what happens anyway, and the reason.
REFUSED: dict[str, tuple[Any, str]] = {
    "do_train": (True, "scripts/train.py always trains. To score a model without training: scripts/evaluate_model.py."),
    "do_eval": (True, f"{_ALWAYS_SCORED}. To train without evaluations in between: --eval_strategy no."),
    "do_predict": (None, f"{_ALWAYS_SCORED}. To label texts: scripts/predict.py."),
    "label_names": (None, "it names columns of a batch. The names of classes are --class_names."),
    "hub_strategy": ("end", "the model is pushed once, when it is finished."),
    "hub_always_push": (None, "the model is pushed once, when it is finished."),
    "prediction_loss_only": (False, f"{_NEEDS_LOGITS}."),
    "batch_eval_metrics": (False, f"{_NEEDS_LOGITS}."),
    "eval_do_concat_batches": (True, f"{_NEEDS_LOGITS}."),
    "include_for_metrics": (None, f"{_NEEDS_LOGITS}, and from nothing else."),
    "remove_unused_columns": (False, "examples have only the columns that are used."),
    "dataloader_drop_last": (False, "an epoch's last batch counts too, however small."),
    "length_column_name": (None, "the length of an example is the number of its tokens."),
}
# Options that do something only where another one has this value.
NEEDED: dict[str, tuple[str, str]] = {
    "gamma": ("lr_scheduler_type", EXPONENTIAL),
    "eval_steps": ("eval_strategy", "steps"),
    "save_steps": ("save_strategy", "steps"),
    "logging_steps": ("logging_strategy", "steps"),
}


def _check(name: str, value: Any, is_valid: bool, expected: str) -> None:
    if not is_valid or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"--{name} is {value}; expected {expected}.")
