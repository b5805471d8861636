"""Options and recipes -> arguments. One parser reads both, so that a recipe's values are checked like flags."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from pipeline.config.arguments import DataArguments, ModelArguments, TrainingArguments
from pipeline.data.corpora import get_corpus
from pipeline.runtime.errors import UserError

GROUPS: Any = (DataArguments, ModelArguments, TrainingArguments)


class _Parser(HfArgumentParser):
    """Reports a mistake in one line, where argparse would print the usage of two hundred options first."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n  All options: python {sys.argv[0]} --help")


def parse_arguments(
    argv: list[str] | None = None, defaults: dict[str, Any] | None = None
) -> tuple[DataArguments, ModelArguments, TrainingArguments]:
    """Read the three groups of options from the command line, over those of `--recipe`, over `defaults`.

    Args:
        argv: the arguments of the command; those of this process by default.
        defaults: values that replace the options' own defaults.

    Raises:
        UserError: an unknown option or recipe, a value of the wrong type or out of range, or values that contradict.
    """
    parser = _make_parser()
    words = _words(defaults or {}) + _with_recipe(parser, argv)
    given = _parse_known(parser, words)
    try:
        data, model, training, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except UserError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        # How transformers reports options that contradict one another, or that name what is not installed.
        raise UserError(_with_options(str(error), parser, given)) from error
    _check_metric(data, training, given)
    if not training.output_dir:
        training.output_dir = _default_output_dir(data, model, training)
        training.overwrite_output_dir = training.overwrite_output_dir or training.fast_dev_run
    return data, model, training


def peek_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The options as given, before arguments are built of them, for a script whose defaults depend on one.

    Raises:
        UserError: as `parse_arguments`, but for values that are out of range or contradict.
    """
    parser = _make_parser()
    return _parse_known(parser, _with_recipe(parser, argv))


def recipe_names() -> list[str]:
    """The recipes of this project."""
    recipes = resources.files("pipeline.config.recipes").iterdir()
    return sorted(path.name.removesuffix(".yaml") for path in recipes if path.name.endswith(".yaml"))


def public_arguments(*groups: Any) -> dict[str, dict[str, Any]]:
    """All arguments as plain values for logs and files, without secrets, whose names end in _token."""
    return {
        group._argument_group_name: {
            name: value.value if isinstance(value, Enum) else value if _is_plain(value) else str(value)
            for name, value in asdict(group).items()
            if not name.endswith("_token")
        }
        for group in groups
    }


def _make_parser() -> _Parser:
    parser = _Parser(GROUPS, allow_abbrev=False)
    parser.usage = "%(prog)s [--recipe NAME_OR_YAML] [--option VALUE ...]"
    parser.add_argument(
        "--recipe",
        metavar="NAME_OR_YAML",
        help=f"Options from a YAML file; flags take precedence. Ours: {', '.join(recipe_names())}.",
    )
    return parser


def _with_recipe(parser: _Parser, argv: list[str] | None) -> list[str]:
    """The command line, after the options of its recipe."""
    argv = sys.argv[1:] if argv is None else argv
    recipe = parser.parse_known_args(argv)[0].recipe
    return (_words(_read_recipe(recipe)) if recipe else []) + argv


def _words(options: dict[str, Any]) -> list[str]:
    """Turn a mapping of options into the words one would have typed."""
    words = []
    for name, value in options.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += [f"--{name}", *map(str, values)]
    return words


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe in recipe_names():
        text = resources.files("pipeline.config.recipes").joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
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
            f"--recipe {recipe} contains a {type(options).__name__}; expected lines like `max_length: 128`."
        )
    for name in options:
        if name not in _option_names():
            raise UserError(f"--recipe {recipe}: unknown option `{name}`." + _suggestion(str(name), _option_names()))
    return options


def _parse_known(parser: _Parser, words: list[str]) -> argparse.Namespace:
    given, rest = parser.parse_known_args(words)
    if unknown := [word for word in rest if word.startswith("--")]:
        name = unknown[0].split("=")[0].lstrip("-").replace("-", "_")
        parser.error(f"unknown option --{name}." + _suggestion(name, _option_names() | {"recipe"}))
    if rest:
        parser.error(f"`{rest[0]}` belongs to no option; expected --option VALUE.")
    return given


def _option_names() -> set[str]:
    options = [option for group in GROUPS for option in fields(group) if option.init]
    aliases = {alias.lstrip("-") for option in options for alias in option.metadata.get("aliases", [])}
    return {option.name for option in options} | aliases


def _with_options(text: str, parser: _Parser, given: argparse.Namespace) -> str:
    """An error of transformers, after the options that it is about: it names the field of a class, or only the value.

    An option is left out if it has its default value; all others are named if the text seems to be about none of them.
    """

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name.lower())

    defaults = vars(parser.parse_known_args([])[0])
    options = {
        name: value
        for name, value in vars(given).items()
        if value != defaults[name] and name != "recipe" and not name.endswith("_token")
    }
    values = re.split(r"[\s'\"`,]+", text)
    meant = [name for name, value in options.items() if plain(name) in plain(text) or str(value) in values]
    words = [f"--{name} {options[name]}" for name in meant or options]
    return f"{' '.join(words)}: {text}" if words else text


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _check_metric(data: DataArguments, training: TrainingArguments, given: argparse.Namespace) -> None:
    """Check that the corpus' task has the metric, and let the task say whether more of it is better."""
    greater_is_better = get_corpus(data.corpus_name).task.greater_is_better
    metric = (training.metric_for_best_model or "loss").removeprefix("eval_")
    if metric not in greater_is_better:
        raise UserError(f"--metric_for_best_model is {metric}; expected one of {', '.join(greater_is_better)}.")
    if given.greater_is_better is None:
        training.greater_is_better = greater_is_better[metric]


def _default_output_dir(data: DataArguments, model: ModelArguments, training: TrainingArguments) -> str:
    name = Path(model.model_name_or_path).name
    name = data.corpus_name if name == data.corpus_name else f"{name}-{data.corpus_name}"
    return str(Path("outputs", name + "-fast_dev_run" * training.fast_dev_run))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list))
