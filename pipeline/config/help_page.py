"""`--help`: what a script does, and the options that its users set, in groups. `--help_all`: the other options too."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from pipeline.config.arguments import REFUSED, DataArguments, ModelArguments, TrainingArguments

FLAGS = {"-h", "--help", "--help_all"}
COLUMN = 34  # where the texts begin
MAX_WIDTH = 120
OURS = {name for group in (DataArguments, ModelArguments, TrainingArguments) for name in group.__annotations__}


def _names(group: Any, *left_out: str) -> tuple[str, ...]:
    return tuple(option.name for option in fields(group) if option.init and option.name not in left_out)


# What each script shows: names of options by title.
TRAINING: Mapping[str, Collection[str]] = {
    "data": _names(DataArguments),
    "model": _names(ModelArguments),
    "training": (
        *("global_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"),
        *("max_steps", "learning_rate", "optim", "lr_scheduler_type", "gamma", "warmup_steps", "weight_decay"),
        *("max_grad_norm", "label_smoothing_factor", "seed", "bf16", "fp16", "fast_dev_run"),
    ),
    "evaluation and checkpoints": (
        *("per_device_eval_batch_size", "eval_strategy", "eval_steps", "metric_for_best_model", "save_strategy"),
        *("save_steps", "save_total_limit", "load_best_model_at_end", "resume_from_checkpoint"),
        "allow_changed_settings",
    ),
    "output": (
        *("output_dir", "overwrite_output_dir", "logging_steps", "report_to", "no_report", "push_to_hub"),
        *("hub_model_id", "hub_private_repo"),
    ),
}
EVALUATION: Mapping[str, Collection[str]] = {
    "data": _names(DataArguments, "class_weights"),
    "model": ("model_name_or_path", "model_revision"),
    "evaluation": ("output_dir", "per_device_eval_batch_size", "bf16", "fp16"),
}
PREPARATION: Mapping[str, Collection[str]] = {
    "data": _names(
        DataArguments,
        *("class_weights", "validation_fraction", "validation_seed", "test_fraction", "drop_duplicates", "batching"),
    ),
    "model": ("model_name_or_path", "model_revision"),
}


def help_page(
    about: str,
    shown: Mapping[str, Collection[str]],
    options: Iterable[Field],
    recipe: argparse.Action,
    *,
    everything: bool,
) -> str:
    """The page as text.

    Args:
        about: what the script does and examples, as its docstring has them.
        shown: names of options by title.
        options: all options.
        recipe: the option that no group has.
        everything: show the options that are not in `shown` as well.
    """
    by_name = {option.name: option for option in options}
    titled = {title: [by_name[name] for name in names] for title, names in shown.items()}
    if everything:
        others = by_name.keys() - REFUSED.keys() - {name for names in shown.values() for name in names}
        titled["others, most of them of transformers.TrainingArguments"] = [by_name[name] for name in sorted(others)]
    lines = [about.strip(), "", *_entry(f"--recipe {recipe.metavar}", recipe.help or "")]
    for title, group in titled.items():
        lines += ["", title]
        for option in group:
            lines += _entry(_signature(option), _text(option))
    lines += ["", f"  {'--help_all':<{COLUMN - 4}}  Every option, those of transformers too."]
    return "\n".join(lines)


def _signature(option: Field) -> str:
    """The option's name and what to write after it: the last word of the name, or its choices."""
    flags = ", ".join([f"--{option.name}", *option.metadata.get("aliases", [])])
    kind = str(option.type)
    if "bool" in kind:
        return flags
    if choices := re.search(r"Literal\[(.*?)\]", kind):
        value = "|".join(re.findall(r"'([^']*)'", choices[1]))
    else:
        value = option.metadata.get("metavar") or option.name.rpartition("_")[2].upper()
    return f"{flags} {value}{' ...' if 'list[' in kind else ''}"


def _text(option: Field) -> str:
    text = " ".join((option.metadata.get("help") or "").replace("%%", "%").split())
    if option.name not in OURS:
        text = re.split(r"(?<=[^.][.])\s", text)[0]  # of transformers' paragraphs the first sentence
    default = option.default
    if default is None or default is False or default is MISSING or default == "" or "efault" in text:
        return text
    return f"{text} Default: {getattr(default, 'value', default)}."


def _entry(signature: str, text: str) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH) - 1
    lines = textwrap.wrap(text, max(30, width - COLUMN), break_on_hyphens=False, break_long_words=False)
    if len(signature) > COLUMN - 4:
        yield f"  {signature}"
    else:
        yield f"  {signature:<{COLUMN - 4}}  {lines.pop(0) if lines else ''}".rstrip()
    yield from (" " * COLUMN + line for line in lines)
