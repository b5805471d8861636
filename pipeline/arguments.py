"""What a user can set, described once. The defaults are the book's recipe for NSMC; nothing is touched here.

Three groups of options: DATA (which corpus, how it becomes token ids), MODEL, and TRAINING, which has every option of
`transformers.TrainingArguments` with the book's values as defaults, and a few of our own.
"""

import argparse
import difflib
import json
import math
import os
import secrets
import sys
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import transformers
import yaml
from transformers import HfArgumentParser
from transformers.integrations import get_available_reporting_integrations

from pipeline import xla
from pipeline.errors import UserError
from pipeline.launch import processes_meet_on_the_cpu

QUICKSTART = "quickstart"  # the corpus and the model that this project makes itself
ADAM = "adam"  # torch.optim.Adam; transformers knows AdamW only
EXPONENTIAL = "exponential"  # ExponentialLR once per epoch; transformers has no such schedule
DRAW_SEED = -1
METRICS = ("loss", "accuracy", "f1_macro", "precision_macro", "recall_macro", "f1_부정", "f1_긍정")  # of an evaluation


@dataclass
class DataArguments:
    """Which corpus, and how it becomes token ids."""

    _argument_group_name = "data"

    corpus_name: Literal["nsmc", "quickstart"] = field(
        default="nsmc",
        metadata={"help": "nsmc: the Naver movie reviews; quickstart: a small corpus that this project generates."},
    )
    corpus_root_dir: str = field(
        default="~/Korpora",
        metadata={
            "help": "Korpora's folder: the reviews are in its nsmc/ratings_train.txt and nsmc/ratings_test.txt."
        },
    )
    force_download: bool = field(default=False, metadata={"help": "Download the corpus even if its files are there."})
    allow_modified_corpus: bool = field(
        default=False,
        metadata={"help": "Accept files in NSMC's layout that are not the official ones: your own data, say."},
    )
    validation_fraction: float = field(
        default=0.05,
        metadata={
            "help": "Share of the training reviews held out, stratified by label, to choose the checkpoint. "
            "0: choose it on the test set, as the book does; the test score is then no honest estimate."
        },
    )
    validation_seed: int = field(
        default=7, metadata={"help": "Fixes which reviews are held out; independent of --seed, so that seeds compare."}
    )
    max_seq_length: int = field(default=128, metadata={"help": "Longest review in tokens, [CLS] and [SEP] included."})
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Where the tokenized corpus is kept. Default: in the cache folder of Hugging Face datasets."
        },
    )
    overwrite_cache: bool = field(default=False, metadata={"help": "Tokenize again even if the cache has the result."})
    batching: Literal["auto", "packed", "padded", "fixed"] = field(
        default="auto",
        metadata={
            "help": "packed: the batch's reviews end to end in one row, no padding; padded: pad each batch to its "
            "longest review; fixed: pad to max_seq_length, so that every batch has one shape; auto: fixed on XLA "
            "devices (TPU), elsewhere packed, or padded where the model cannot be packed."
        },
    )

    def __post_init__(self) -> None:
        _require("validation_fraction", self.validation_fraction, 0 <= self.validation_fraction <= 0.5, "0 to 0.5")
        _require("validation_seed", self.validation_seed, *(_SEED[0](self.validation_seed), _SEED[1]))
        _require("max_seq_length", self.max_seq_length, self.max_seq_length >= 3, "at least 3: [CLS], a token, [SEP]")


@dataclass
class ModelArguments:
    """Which model is fine-tuned."""

    _argument_group_name = "model"

    model_name_or_path: str = field(
        default="beomi/kcbert-base",
        metadata={
            "help": "A model on the Hugging Face Hub or a folder; quickstart: a small BERT made from scratch.",
            "aliases": ["--model"],
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


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """`transformers.TrainingArguments` with the book's values as defaults, and what the book has besides."""

    _argument_group_name = "training"

    # The book's settings, where they differ from transformers' own.
    output_dir: str | None = field(
        default=None, metadata={"help": "Where model, checkpoints and results go. Default: outputs/<model>-<corpus>."}
    )
    per_device_train_batch_size: int | None = field(
        default=None,
        metadata={"help": "Reviews per device and step. Default: total_batch_size shared out over devices and steps."},
    )
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Reviews per device in evaluation."})
    optim: str = field(
        default=ADAM,
        metadata={"help": "adam: torch's Adam, fused where the device has it; or any name that transformers knows."},
    )
    lr_scheduler_type: str = field(
        default=EXPONENTIAL,
        metadata={"help": "exponential: ExponentialLR, once per epoch (see gamma); or any name transformers knows."},
    )
    max_grad_norm: float = field(
        default=0.0, metadata={"help": "Clip gradients to this norm; 0: no clipping, as in the book."}
    )
    seed: int = field(default=7, metadata={"help": "Random seed; -1 draws one and logs it."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints kept: 2 are the best one, and the last one for resuming."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the checkpoint of the lowest validation loss, not with the last."}
    )
    metric_for_best_model: str | None = field(
        default="loss", metadata={"help": f"What chooses the best checkpoint: {', '.join(METRICS)}."}
    )
    remove_unused_columns: bool = field(
        default=False,
        metadata={"help": "Not needed: the rows given to Trainer have the columns that the batches take."},
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Several processes: look at every step for weights that it does not use."}
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Log the mean of the other losses instead of one that is not finite; a GPU waits for it."},
    )
    logging_steps: float = field(default=50, metadata={"help": "Log every so many updates."})
    report_to: str = field(default="tensorboard", metadata={"help": "Where curves go: tensorboard, wandb, none, ..."})
    push_to_hub: bool = field(default=False, metadata={"help": "Push the finished model; needs hub_model_id."})
    hub_model_id: str | None = field(default=None, metadata={"help": "USER/NAME on the Hugging Face Hub."})
    hub_private_repo: bool = field(default=False, metadata={"help": "Create the repository private."})

    # Ours.
    total_batch_size: int = field(
        default=32,
        metadata={"help": "Reviews per update, over all devices and accumulation steps: 4 each on 8 TPU cores."},
    )
    gamma: float = field(
        default=0.9, metadata={"help": "exponential: the learning rate is multiplied by it per epoch."}
    )
    fast_dev_run: bool = field(
        default=False, metadata={"help": "One step of everything, to see that it runs; its numbers mean nothing."}
    )
    allow_changed_settings: bool = field(
        default=False,
        metadata={"help": "Resume although settings that decide the result differ from the checkpoint's."},
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start anew in an output_dir that holds an earlier run, whose files are removed."},
    )

    def __post_init__(self) -> None:
        self._check_values()
        if self.fast_dev_run:
            self.max_steps, self.logging_steps = 1, 1
            self.eval_strategy = self.save_strategy = "steps"
            self.eval_steps = self.save_steps = 1
        # transformers accepts the names that it knows only; ours are put back once it has checked the rest.
        ours = {"optim": (ADAM, "adamw_torch"), "lr_scheduler_type": (EXPONENTIAL, "constant")}
        chosen = {name: mine for name, (mine, _) in ours.items() if getattr(self, name) == mine}
        for name in chosen:
            setattr(self, name, ours[name][1])
        self._heed_the_launchers_compiler()
        self.use_cpu = self.use_cpu or processes_meet_on_the_cpu()
        said_how_to_load = self.accelerator_config is not None
        super().__post_init__()
        for name, mine in chosen.items():
            setattr(self, name, mine)
        # Pinned memory serves copies to a GPU; without one torch warns of it on every loader.
        self.dataloader_pin_memory = self.dataloader_pin_memory and self.device.type == "cuda"
        if not said_how_to_load:
            self.accelerator_config.non_blocking = self.dataloader_pin_memory  # copies that the host need not wait for
        xla.settle(self)
        self._share_out_the_batch()
        self._settle_the_seed()

    def _check_values(self) -> None:
        for name, (holds, expected) in RANGES.items():
            value = getattr(self, name)
            _require(name, value, value is None or holds(value), expected)
        if self.hub_token:
            raise UserError(
                "--hub_token would be written into the run's files. Set the environment variable HF_TOKEN, or run "
                "`hf auth login` once, and leave the option out."
            )
        if self.save_only_model or self.enable_jit_checkpoint:
            raise UserError(
                "--save_only_model and --enable_jit_checkpoint are not supported: no run could go on bit for bit from "
                "what they save. Ctrl-C and SIGTERM write a whole checkpoint as it is."
            )
        for option, name, ours in (
            ("optim_args", "optim", ADAM),
            ("lr_scheduler_kwargs", "lr_scheduler_type", EXPONENTIAL),
        ):
            if getattr(self, option) and getattr(self, name) == ours:
                raise UserError(f"--{option} is for transformers' own; --{name} {ours} takes no such values.")
        graphs = self.torch_compile_mode in ("reduce-overhead", "max-autotune")
        if graphs and self.gradient_accumulation_steps > 1:
            raise UserError(
                f"--torch_compile_mode {self.torch_compile_mode} runs CUDA graphs, which write gradients over those "
                "that they are to be added to (torch 2.13). Use --gradient_accumulation_steps 1, or another mode."
            )
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        _require("metric_for_best_model", metric, metric in METRICS, f"one of {', '.join(METRICS)}")
        reporters = get_available_reporting_integrations()
        for name in [self.report_to] if isinstance(self.report_to, str) else self.report_to:
            here = name in ("all", "none", *reporters)
            _require("report_to", name, here, f"none, all, or what is installed: {', '.join(reporters)}")

    def _heed_the_launchers_compiler(self) -> None:
        """Know of `accelerate launch --dynamo_backend`: accelerate compiles, and batches must be made for that."""
        backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
        if backend != "no" and not (self.torch_compile or self.torch_compile_backend):
            self.torch_compile, self.torch_compile_backend = True, backend

    def _share_out_the_batch(self) -> None:
        """Derive the reviews per device from those per update, or, where the user gave the former, the latter."""
        shares = self.world_size * max(1, self.n_gpu) * self.gradient_accumulation_steps
        if self.per_device_train_batch_size is not None:
            self.total_batch_size = self.per_device_train_batch_size * shares
        elif self.total_batch_size % shares:
            raise UserError(
                f"--total_batch_size {self.total_batch_size} does not divide over {self.world_size} process(es) x "
                f"{self.gradient_accumulation_steps} accumulation step(s). Use a multiple of {shares}, or set "
                "--per_device_train_batch_size."
            )
        else:
            self.per_device_train_batch_size = self.total_batch_size // shares

    def _settle_the_seed(self) -> None:
        if self.seed != DRAW_SEED:
            return
        import torch
        from accelerate.utils import broadcast

        drawn = torch.tensor([secrets.randbelow(2**31)], device=self.device)
        self.seed = int(broadcast(drawn).item())  # every process draws; all take rank 0's


_POSITIVE = (lambda value: value > 0, "more than 0")
_NOT_NEGATIVE = (lambda value: value >= 0, "0 or more")
_AT_LEAST_ONE = (lambda value: value >= 1, "at least 1")
_BELOW_ONE = (lambda value: 0 <= value < 1, "0 or more and less than 1")
_SEED = (lambda value: 0 <= value < 2**32, "0 to 4294967295")  # what NumPy takes
RANGES = {
    "gamma": (lambda value: 0 < value <= 1, "more than 0 and at most 1"),
    "max_steps": (lambda value: value == -1 or value > 0, "-1 (no limit) or more than 0"),
    "seed": (lambda value: DRAW_SEED <= value < 2**32, "0 to 4294967295, or -1 to draw one"),
    "max_grad_norm": (lambda value: value >= 0, "0 (no clipping) or more"),
    "data_seed": _SEED,
    "torch_compile_mode": (
        lambda value: value in ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
        "default, reduce-overhead, max-autotune or max-autotune-no-cudagraphs",
    ),
    **dict.fromkeys(
        "learning_rate num_train_epochs adam_epsilon logging_steps save_steps eval_steps".split(), _POSITIVE
    ),
    **dict.fromkeys("weight_decay warmup_steps eval_delay dataloader_num_workers".split(), _NOT_NEGATIVE),
    **dict.fromkeys("label_smoothing_factor adam_beta1 adam_beta2".split(), _BELOW_ONE),
    **dict.fromkeys(
        (
            "total_batch_size gradient_accumulation_steps per_device_train_batch_size per_device_eval_batch_size "
            "save_total_limit eval_accumulation_steps dataloader_prefetch_factor neftune_noise_alpha ddp_timeout"
        ).split(),
        _AT_LEAST_ONE,
    ),
}


def _require(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds or (isinstance(value, float) and not math.isfinite(value)):
        raise UserError(f"--{name} is {value}; expected {expected}.")


class _Parser(HfArgumentParser):
    """Says what is wrong in one line, where argparse would print the usage of two hundred options first."""

    def error(self, message: str) -> None:
        raise UserError(f"{message}\n  All options: python {sys.argv[0]} --help")


def parse_arguments(
    argv: list[str] | None = None, defaults: dict[str, Any] | None = None
) -> tuple[DataArguments, ModelArguments, TrainingArguments]:
    """Read the three groups of options from the command line, and before it from the YAML of `--recipe`.

    Args:
        argv: the words after the command's name; those of this process by default.
        defaults: values that stand in for the options' own, and that recipe and command line win over.

    Raises:
        UserError: an unknown option or recipe, a value of the wrong kind or out of range, or values that do not fit.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _Parser((DataArguments, ModelArguments, TrainingArguments), allow_abbrev=False)
    parser.usage = "%(prog)s [--recipe NAME_OR_YAML] [--option VALUE ...]"
    parser.add_argument(
        "--recipe",
        metavar="NAME_OR_YAML",
        help=f"Options from a YAML file, which flags beside it win over. Ours: {', '.join(recipe_names())}.",
    )
    recipe = parser.parse_known_args(argv)[0].recipe
    known = {action.dest for action in parser._actions}
    words = _words(defaults or {}) + (_words(_read_recipe(recipe, known)) if recipe else []) + argv
    given = _parse_known(parser, words)
    try:
        data, model, training, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except UserError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        # How transformers reports options that do not fit one another, or that name what is not there.
        raise UserError(str(error)) from error
    if given.output_dir is None:
        training.output_dir = _default_output_dir(data, model, training)
        training.overwrite_output_dir = training.overwrite_output_dir or training.fast_dev_run
    return data, model, training


def recipe_names() -> list[str]:
    """The recipes that come with this project."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("pipeline.recipes").iterdir()
        if path.name.endswith(".yaml")
    )


def _words(options: dict[str, Any]) -> list[str]:
    """Turn a mapping of options into the words one would have typed, so that one parser checks both."""
    words = []
    for name, value in options.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += [f"--{name}", *map(str, values)]
    return words


def _read_recipe(recipe: str, known: set[str]) -> dict[str, Any]:
    if recipe in recipe_names():
        text = resources.files("pipeline.recipes").joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
    elif Path(recipe).is_file():
        try:
            text = Path(recipe).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"--recipe {recipe} is not UTF-8 ({error.reason}). Save it as UTF-8.") from error
    else:
        raise UserError(
            f"--recipe {recipe}: neither a YAML file nor one of our recipes: {', '.join(recipe_names())}."
            + _suggestion(recipe, recipe_names())
        )
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"--recipe {recipe} is not valid YAML: {error}") from error
    if not isinstance(options, dict):
        raise UserError(
            f"--recipe {recipe} holds a {type(options).__name__}; expected lines like `max_seq_length: 128`."
        )
    for name in options:
        if name not in known or name == "recipe":
            raise UserError(
                f"--recipe {recipe}: unknown option `{name}`." + _suggestion(str(name), known - {"recipe"})
            )
    return options


def _parse_known(parser: _Parser, words: list[str]) -> argparse.Namespace:
    given, left_over = parser.parse_known_args(words)
    unknown = [word for word in left_over if word.startswith("--")]
    if unknown:
        name = unknown[0].split("=")[0].lstrip("-").replace("-", "_")
        parser.error(f"unknown option --{name}." + _suggestion(name, {action.dest for action in parser._actions}))
    if left_over:
        parser.error(f"`{left_over[0]}` belongs to no option; expected --option VALUE.")
    return given


def _suggestion(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _default_output_dir(data: DataArguments, model: ModelArguments, training: TrainingArguments) -> str:
    name = Path(model.model_name_or_path).name
    name = data.corpus_name if name == data.corpus_name else f"{name}-{data.corpus_name}"
    return str(Path("outputs", name + "-fast_dev_run" * training.fast_dev_run))


def public_arguments(*groups: Any) -> dict[str, dict[str, Any]]:
    """All arguments as plain values for logs and files, without the secrets, whose names end in _token."""
    return {
        group._argument_group_name: {
            name: value.value if isinstance(value, Enum) else value if _is_plain(value) else str(value)
            for name, value in asdict(group).items()
            if not name.endswith("_token")
        }
        for group in groups
    }


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list))


assert len({f.name for group in (DataArguments, ModelArguments, TrainingArguments) for f in fields(group)}) == sum(
    len(fields(group)) for group in (DataArguments, ModelArguments, TrainingArguments)
), "an option stands in two groups"
