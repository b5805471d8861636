"""Options and recipes -> arguments. One parser reads both, so that a recipe's values are checked like flags."""

import argparse
import difflib
import json
import re
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, asdict, fields
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from pipeline.config import help_page
from pipeline.config.arguments import NEEDED, REFUSED, DataArguments, ModelArguments, TrainingArguments
from pipeline.data.corpora import get_corpus
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

GROUPS: Any = (DataArguments, ModelArguments, TrainingArguments)
BATCH_SIZES = {"global_batch_size", "per_device_train_batch_size"}  # one follows from the other


# HfArgumentParser writes into the dataclasses' own fields while it reads them (`field.type`, transformers 5.24), which
# replicas in threads of one process share.
_parser_lock = threading.Lock()


class _Parser(HfArgumentParser):
    """Reports a mistake in one line, where argparse would print the usage of two hundred options first."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n  All options: python {sys.argv[0]} --help_all")


def parse_arguments(
    argv: list[str] | None = None,
    defaults: dict[str, Any] | None = None,
    *,
    about: str | None = None,
    shown: Mapping[str, Collection[str]] = help_page.TRAINING,
) -> tuple[DataArguments, ModelArguments, TrainingArguments]:
    """Read the three groups of options from the command line, over those of `--recipe`, over `defaults`.

    `--help` and `--help_all` end the process.

    Args:
        argv: the arguments of the command; those of this process by default.
        defaults: values that replace the options' own defaults.
        about: what `--help` says of the script: its docstring.
        shown: the options that `--help` shows, by title.

    Raises:
        UserError: an unknown option or recipe, a value of the wrong type or out of range, values that contradict, or an
            option that would do nothing.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = _make_parser()
    if requested := help_page.FLAGS & set(argv):
        sys.stdout.write(_help_page(parser, about or "", shown, everything="--help_all" in requested) + "\n")
        sys.exit()
    words = _words(defaults or {}) + _with_recipe(parser, argv)
    given = _parse_known(parser, words)
    _check_given({name: vars(given)[name] for name in given_options(argv) - {"recipe"}})
    try:
        data, model, training, _ = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except UserError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        # How transformers reports options that contradict one another, or that name what is not installed.
        raise UserError(_with_options(str(error), parser, given)) from error
    _check_needed(training, _names_in(argv))
    if "corpus_root_dir" in _names_in(argv):
        _check_reads_root_dir(data)
    if not data.is_own_data:  # whose task is known once it is read
        corpus = get_corpus(data.corpus_name)
        task = corpus.select(" ".join(data.label_column)).task if data.label_column else corpus.task
        check_metric(training, task, given.greater_is_better is not None)
    if not training.output_dir:
        training.output_dir = _default_output_dir(data, model, training)
        training.overwrite_output_dir = training.overwrite_output_dir or training.fast_dev_run
    return data, model, training


def check_metric(training: TrainingArguments, task: Task, given_greater_is_better: bool) -> None:
    """Check that the task has the metric that selects the checkpoint, and let it say whether more of it is better.

    Args:
        training: its `greater_is_better` is set.
        task: what is learnt.
        given_greater_is_better: whether the user has set --greater_is_better, and so decides.

    Raises:
        UserError: it has no such metric.
    """
    metric = (training.metric_for_best_model or "loss").removeprefix("eval_")
    known = task.greater_is_better
    if metric not in known:
        names = list(known)
        more = f", ... ({len(names) - 20} more)" if len(names) > 20 else ""
        raise UserError(
            f"--metric_for_best_model is {metric}; expected one of {', '.join(names[:20])}{more}."
            + suggestion(metric, names)
        )
    if not given_greater_is_better:
        training.greater_is_better = known[metric]


def peek_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The options as given, before arguments are built of them, for a script whose defaults depend on one.

    Raises:
        UserError: as `parse_arguments`, but for values that are out of range or contradict.
    """
    parser = _make_parser()
    return _parse_known(parser, _with_recipe(parser, argv))


def given_options(argv: list[str] | None = None) -> set[str]:
    """The names of the options that the command line or its recipe gives, whatever their values."""
    return _names_in(_with_recipe(_make_parser(), argv))


def changed_options(argv: list[str] | None = None) -> dict[str, Any]:
    """The options that the command line or its recipe gives another value than the default."""
    parser = _make_parser()
    given, defaults = (_parse_known(parser, words) for words in (_with_recipe(parser, argv), []))
    values = {name: (value, vars(given)[name]) for name, value in vars(defaults).items() if name != "recipe"}
    return {
        name: getattr(value, "value", value)
        for name, (default, value) in values.items()
        if value != default and not name.endswith("_token")
    }


def recipe_names() -> list[str]:
    """The recipes of this project."""
    return yaml_names("recipes")


def yaml_names(folder: str) -> list[str]:
    """What the YAML files of a folder of pipeline/config are called."""
    files = resources.files(f"pipeline.config.{folder}").iterdir()
    return sorted(path.name.removesuffix(".yaml") for path in files if path.name.endswith(".yaml"))


def read_yaml(option: str, name: str, folder: str) -> Any:
    """The content of one of our YAML files by its name, or of any other by its path.

    Args:
        option: that gives `name`, as the user knows it.
        folder: of pipeline/config that has ours.

    Raises:
        UserError: there is neither, or it cannot be read.
    """
    if name in yaml_names(folder):
        text = resources.files(f"pipeline.config.{folder}").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{option} {name} is not UTF-8 ({error.reason}). Save it as UTF-8.") from error
    else:
        raise UserError(
            f"{option} {name}: neither a YAML file nor one of our {folder}: {', '.join(yaml_names(folder))}."
            + suggestion(name, yaml_names(folder))
        )
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{option} {name} is not valid YAML: {error}") from error


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
    with _parser_lock:
        parser = _Parser(GROUPS, allow_abbrev=False, add_help=False)
    parser.add_argument(
        "--recipe",
        metavar="NAME_OR_YAML",
        help=f"Options from a YAML file; flags take precedence. Ours: {', '.join(recipe_names())}.",
    )
    return parser


def _help_page(parser: _Parser, about: str, shown: Mapping[str, Collection[str]], *, everything: bool) -> str:
    (recipe,) = (action for action in parser._actions if action.dest == "recipe")
    return help_page.help_page(about, shown, _options(), recipe, everything=everything)


def _with_recipe(parser: _Parser, argv: list[str] | None) -> list[str]:
    """The command line, after the options of its recipe."""
    argv = sys.argv[1:] if argv is None else argv
    recipe = parser.parse_known_args(argv)[0].recipe
    if not recipe:
        return argv
    options = _read_recipe(recipe)
    if BATCH_SIZES & _names_in(argv):  # a flag takes precedence over the other one in the recipe too
        options = {name: value for name, value in options.items() if name not in BATCH_SIZES}
    return _words(options) + argv


def _names_in(words: list[str]) -> set[str]:
    """The names of the options that are given a value."""
    parser = _make_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return set(vars(parser.parse_known_args(words)[0]))


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
    options = read_yaml("--recipe", recipe, "recipes") or {}
    if not isinstance(options, dict):
        raise UserError(
            f"--recipe {recipe} contains a {type(options).__name__}; expected lines like `max_length: 128`."
        )
    for name in options:
        if name not in _option_names():
            raise UserError(f"--recipe {recipe}: unknown option `{name}`." + suggestion(str(name), _option_names()))
    several = {option.name for option in _options() if "list[" in str(option.type)}
    for name, value in options.items():
        if isinstance(value, list) and name not in several:
            raise UserError(f"--recipe {recipe}: {name} is a list of {len(value)}; expected one value.")
    return options


def _parse_known(parser: _Parser, words: list[str]) -> argparse.Namespace:
    given, rest = parser.parse_known_args(words)
    if unknown := [word for word in rest if word.startswith("--")]:
        name = unknown[0].split("=")[0].lstrip("-").replace("-", "_")
        parser.error(f"unknown option --{name}." + suggestion(name, _option_names() | {"recipe", "help", "help_all"}))
    if rest:
        parser.error(f"`{rest[0]}` belongs to no option; expected --option VALUE.")
    return given


def _option_names() -> set[str]:
    aliases = {alias.lstrip("-") for option in _options() for alias in option.metadata.get("aliases", [])}
    return {option.name for option in _options()} | aliases


def _options() -> list[Field]:
    return [option for group in GROUPS for option in fields(group) if option.init]


def _check_given(given: dict[str, Any]) -> None:
    """Refuse options that are empty, and those of transformers that would do nothing."""
    for name, value in given.items():
        if value in ("", [""]):
            raise UserError(f"--{name} is empty. Give it a value, or leave it out.")
        if name in REFUSED and value != REFUSED[name][0]:
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            raise UserError(f"--{name} {shown} does nothing here: {REFUSED[name][1]}")


def _check_needed(training: TrainingArguments, flags: set[str]) -> None:
    """Refuse flags that do nothing without a certain value of another option."""
    for name in sorted(flags & NEEDED.keys()):
        other, expected = NEEDED[name]
        value = getattr(training, other)
        if getattr(value, "value", value) != expected:
            raise UserError(
                f"--{name} {getattr(training, name)} does nothing with --{other} {getattr(value, 'value', value)}. "
                f"Add --{other} {expected}, or leave it out."
            )


def _check_reads_root_dir(data: DataArguments) -> None:
    """Refuse --corpus_root_dir where no file is read from it."""
    if data.is_own_data or get_corpus(data.corpus_name).is_generated:
        source = "your own files are read" if data.is_own_data else f"{data.corpus_name} is generated, not read"
        raise UserError(
            f"--corpus_root_dir {data.corpus_root_dir} does nothing here: {source}. Leave it out, or name the corpus "
            "that is there with --corpus_name."
        )


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


def suggestion(name: str, known: Iterable[str]) -> str:
    """A sentence with the most similar of the known names; empty if none is similar."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _default_output_dir(data: DataArguments, model: ModelArguments, training: TrainingArguments) -> str:
    name = Path(model.model_name_or_path).name
    name = name if name == data.name else f"{name}-{data.name}"
    return str(Path("outputs", name + "-fast_dev_run" * training.fast_dev_run))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list))
