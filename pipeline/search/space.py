"""A search space: which options are searched, in which ranges. It is checked like flags before anything is loaded."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config.parser import (
    BATCH_SIZES,
    given_options,
    parse_arguments,
    peek_arguments,
    read_yaml,
    suggestion,
    yaml_names,
)
from pipeline.runtime.errors import UserError
from pipeline.training.resume_settings import RESULT_OPTIONS

if TYPE_CHECKING:  # slow to import
    from optuna.distributions import BaseDistribution

RANGE_KEYS = ("low", "high", "log", "step")
NUMBERS = (int, float)
# Options that decide a result and cannot be searched, since trials would not compare.
NOT_COMPARABLE = {
    **dict.fromkeys(
        ("corpus_name", "validation_fraction", "test_fraction", "validation_seed"),
        "trials would be scored on other examples",
    ),
    **dict.fromkeys(
        ("model_name_or_path", "model_revision", "from_scratch"),
        "each model needs settings of its own. Search once a model, with an --output_dir each",
    ),
    **dict.fromkeys(("seed", "data_seed"), "the best of several seeds is luck. Compare seeds after the search"),
    **dict.fromkeys(
        ("metric_for_best_model", "eval_strategy", "eval_steps", "load_best_model_at_end"),
        "it decides what a trial is scored by",
    ),
    "class_weights": "its values are lists",
}
# Of these one decides, so a flag that gives one keeps the other from being searched.
EXCLUSIVE = (BATCH_SIZES, {"max_steps", "num_train_epochs"})
MAX_COMBINATIONS = 256  # of ends of ranges that are checked together


@dataclass(frozen=True)
class Parameter:
    """An option that is searched: numbers from `low` to `high`, both included, or one of `choices`.

    Attributes:
        low, high: of the option's type; integers have a step of 1.
        log: numbers are drawn with uniform logarithms.
        step: numbers are `low` and multiples of it above.
        choices: of the option's type; empty for a range.
    """

    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before the search: all choices, or both ends."""
        return self.choices or (self.low, self.high)

    def distribution(self) -> "BaseDistribution":
        """As Optuna calls it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Any) -> bool:
        """Whether a trial may have this value."""
        if self.choices:
            return value in self.choices
        if not isinstance(value, NUMBERS) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        how = ", logarithmic" if self.log else f", steps of {self.step}" if self.step else ""
        return f"{self.low} to {self.high}{how}"


@dataclass(frozen=True)
class Space:
    """What is searched, beside the options that all trials have.

    Attributes:
        name: as the user gives it.
        searched: by option.
        fixed: options that the space gives to all trials, by name; flags take precedence.
        flags: the user's own words on the command line, --recipe included.
    """

    name: str
    searched: dict[str, Parameter]
    fixed: dict[str, Any]
    flags: list[str]

    def words(self, params: dict[str, Any]) -> list[str]:
        """The command line of a trial: for `parse_arguments`, and for `scripts/train.py` as well."""
        return [*_words(self.fixed), *self.flags, *_words(params)]

    def given(self, params: dict[str, Any]) -> dict[str, Any]:
        """All options that a trial is given, those of its recipe too, by name: what makes a recipe of it."""
        words = self.words(params)
        given = given_options(words)
        return {name: value for name, value in vars(peek_arguments(words)).items() if name in given}

    def describe(self) -> dict[str, str]:
        """What is searched, in words that a person reads and that differ if the space does."""
        return {name: str(parameter) for name, parameter in self.searched.items()}

    def defaults(self) -> dict[str, Any] | None:
        """The settings without a search as a trial of the space, if they lie in it."""
        data, model, training = parse_arguments(self.words({}))
        values = {name: _value_of(name, data, model, training) for name in self.searched}
        return values if all(each.contains(values[name]) for name, each in self.searched.items()) else None


def read_space(name: str, flags: list[str]) -> Space:
    """Read a space and check it: its names, its values, and combinations of the ends of its ranges.

    Args:
        name: one of this project's spaces, or a YAML file.
        flags: the options of the command line that are no search options.

    Raises:
        UserError: there is no such file, an option is unknown or cannot be searched, or a value is not one of its.
    """
    entries = _read_yaml(name)
    _check_names(name, entries)
    fixed = {option: entry for option, entry in entries.items() if not isinstance(entry, (dict, list))}
    own = given_options(_without_recipe(flags))
    taken = own.union(*(group for group in EXCLUSIVE if group & own))
    searched = {
        option: _parameter(f"--space {name}: {option}", option, entry)
        for option, entry in entries.items()
        if option not in fixed and option not in taken
    }
    if not searched:
        raise UserError(f"--space {name} leaves nothing to search: each of its options is given or has one value.")
    fixed = {option: _convert(f"--space {name}: {option}", option, value) for option, value in fixed.items()}
    space = Space(name, searched, fixed, flags)
    _check_combinations(space)
    return space


def space_names() -> list[str]:
    """The spaces of this project."""
    return yaml_names("spaces")


def searchable_options() -> list[str]:
    """The options that a space may have ranges of: those that decide a run's result, and leave trials comparable."""
    options = {*itertools.chain(*RESULT_OPTIONS.values())} & vars(peek_arguments([])).keys()
    return sorted(options - NOT_COMPARABLE.keys())


def _read_yaml(name: str) -> dict[str, Any]:
    entries = read_yaml("--space", name, "spaces")
    if not isinstance(entries, dict) or not entries:
        raise UserError(
            f"--space {name} contains {type(entries).__name__}; expected lines like "
            "`learning_rate: {low: 1e-5, high: 1e-4, log: true}` or `global_batch_size: [16, 32]`."
        )
    return entries


def _check_names(name: str, entries: dict[str, Any]) -> None:
    known, searchable = vars(peek_arguments([])).keys() - {"recipe"}, searchable_options()
    for option, entry in entries.items():
        if option not in known:
            raise UserError(f"--space {name}: unknown option `{option}`." + suggestion(str(option), known))
        if entry is None:
            raise UserError(f"--space {name}: {option} has no value; expected a range, choices or one value.")
        if not isinstance(entry, (dict, list)) or option in searchable:
            continue
        if option == "per_device_train_batch_size":
            raise UserError(f"--space {name}: {option} follows from global_batch_size; expected a range of that.")
        why = NOT_COMPARABLE.get(option, "it does not decide what a run computes")
        raise UserError(
            f"--space {name}: {option} cannot be searched: {why}.\n  Can be searched: {', '.join(searchable)}"
        )


def _parameter(where: str, option: str, entry: Any) -> Parameter:
    """A range or choices, as the file has it.

    Raises:
        UserError: it is neither, or a value is not one of the option's type.
    """
    if isinstance(entry, list):
        choices = tuple(_convert(where, option, value) for value in entry)
        if len(set(choices)) < 2:
            raise UserError(f"{where} has {len(set(choices))} choice(s); expected at least two different ones.")
        return Parameter(choices=choices)
    if unknown := [key for key in entry if key not in RANGE_KEYS]:
        raise UserError(
            f"{where} has `{unknown[0]}`; expected low, high and perhaps log or step."
            + suggestion(str(unknown[0]), RANGE_KEYS)
        )
    if missing := [key for key in ("low", "high") if entry.get(key) is None]:
        raise UserError(f"{where} has no `{missing[0]}`; expected low and high, or a list of choices.")
    low, high = (_convert(where, option, entry[key]) for key in ("low", "high"))
    log, step = entry.get("log", False), entry.get("step")
    if not all(isinstance(end, NUMBERS) and not isinstance(end, bool) for end in (low, high)):
        raise UserError(f"{where} is no number, so it has no range; expected choices, as [{low}, {high}].")
    if not low < high:
        raise UserError(f"{where} is from {low} to {high}; expected low to be less than high.")
    if not isinstance(log, bool):
        raise UserError(f"{where} has log: {log}; expected true or false.")
    if log and (low <= 0 or step is not None):
        what = "a step" if step is not None else f"low: {low}"
        raise UserError(f"{where} is logarithmic and has {what}; expected low above 0, and no step.")
    if step is not None:
        step = _convert(where, option, step)
        if not 0 < step <= high - low:
            raise UserError(f"{where} has step: {step}; expected more than 0 and at most {high - low:g}.")
    parameter = Parameter(low, high, log, step)
    if not parameter.contains(high):
        raise UserError(f"{where} is from {low} to {high} in steps of {step}; expected high to be one of the steps.")
    return parameter


def _convert(where: str, option: str, value: Any) -> Any:
    """A value of the file as the option has it on the command line: YAML reads 1e-5 as a text."""
    try:
        converted = vars(peek_arguments(_words({option: value})))[option]
    except UserError as error:
        # argparse writes: argument --learning_rate, --learning-rate: invalid float value: 'small'
        raise UserError(f"{where}: {str(error).splitlines()[0].partition(': ')[2]}") from error
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"{where} is {converted}; expected a finite number.")
    return converted


def _check_combinations(space: Space) -> None:
    """Parse combinations of the ends of all ranges: what contradicts is found before an hour of training.

    Raises:
        UserError: the real parser refuses one; the values are named.
    """
    names = list(space.searched)
    ends = [space.searched[name].ends for name in names]
    combinations: Iterable[tuple[Any, ...]] = itertools.product(*ends)
    if math.prod(map(len, ends)) > MAX_COMBINATIONS:  # each end with the others' first
        firsts = tuple(each[0] for each in ends)
        combinations = [(*firsts[:index], end, *firsts[index + 1 :]) for index, each in enumerate(ends) for end in each]
    parse_arguments(space.words({}))  # what is wrong without the space is said without it
    for values in combinations:
        params = dict(zip(names, values, strict=True))
        try:
            _, _, training = parse_arguments(space.words(params))
        except UserError as error:
            shown = ", ".join(f"{name} {value}" for name, value in params.items())
            raise UserError(f"--space {space.name} allows {shown}, which does not work:\n  {error}") from error
        if training.max_steps > 0 and "num_train_epochs" in space.searched:
            raise UserError(
                f"--space {space.name}: num_train_epochs does nothing with --max_steps {training.max_steps}. Leave "
                "one of them out."
            )


def _value_of(name: str, *groups: Any) -> Any:
    value = next(getattr(group, name) for group in groups if hasattr(group, name))
    return getattr(value, "value", value)


def _words(options: dict[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _without_recipe(flags: list[str]) -> list[str]:
    kept, skip = [], False
    for word in flags:
        if not skip and word.split("=")[0] != "--recipe":
            kept.append(word)
        skip = word == "--recipe"
    return kept
