"""Values of a label column -> labels: which kind of task they are, and which number each class has."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.columns import counted, shown
from pipeline.runtime.errors import UserError
from pipeline.tasks import ProblemType

AUTO = "auto"
SEPARATOR = "|"  # between the labels of a text, where one column has several
MAX_CLASSES = 1000  # more distinct values than this are not classes
MANY_CLASSES = 50  # more than this, for every second row another one, are not either
TRUE, FALSE = {"1", "true"}, {"0", "false"}


def canonical(value: Any) -> str:
    """A value as text, equal for what means the same: 1, "1", " 1" and 1.0 (which a missing value makes of integers).

    An empty string: there is no label.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    number = as_number(text)
    return str(int(number)) if number is not None and number.is_integer() and "." in text else text


def as_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def split_labels(value: Any) -> list[str]:
    """The labels of one text: of a list, or of a string with separators."""
    items = value if isinstance(value, (list, tuple)) else canonical(value).split(SEPARATOR)
    return [text for item in items if (text := canonical(item))]


def may_be_flags(value: Any) -> bool:
    """Whether a label is a list of 0 and 1 that may stand for a class each, as transformers trains on."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 1
        and all(isinstance(item, (bool, int, float)) and item in (0, 1) for item in value)
    )


def are_flags(value: Any) -> bool:
    """Whether they can be no numbers of classes, since those are whole and different."""
    return may_be_flags(value) and (len(set(value)) < len(value) or any(type(item) is not int for item in value))


@dataclass
class LabelSurvey:
    """What one split's label values are, counted row by row. Memory does not grow with the rows.

    Attributes:
        counts: of each value; no more than `MAX_CLASSES` + 1 are kept, here and in `parts`.
        parts: of each label, where a row may have several.
        num_rows: those that have a label.
        num_lists, num_separated: rows whose value is a list, or has a separator.
        num_numbers, num_fractions: rows whose value is a number, or one with a fraction.
        not_a_number: an example.
        num_flags, flag_counts: rows that may have 0 or 1 for each class, and for how many classes.
        has_flags: whether a row does.
    """

    counts: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    num_rows: int = 0
    num_lists: int = 0
    num_separated: int = 0
    num_numbers: int = 0
    num_fractions: int = 0
    not_a_number: str | None = None
    num_flags: int = 0
    flag_counts: set[int] = field(default_factory=set)
    has_flags: bool = False

    def add(self, value: Any) -> None:
        """Count the value of a row that has one."""
        self.num_rows += 1
        is_list = isinstance(value, (list, tuple))
        text = "" if is_list else canonical(value)
        self.num_lists += is_list
        if may_be_flags(value):
            self.num_flags += 1
            self.flag_counts.add(len(value))
            self.has_flags |= are_flags(value)
        self.num_separated += SEPARATOR in text
        number = as_number(text)
        self.num_numbers += number is not None
        self.num_fractions += number is not None and not number.is_integer()
        if number is None and self.not_a_number is None:
            self.not_a_number = shown(value)
        for counter, labels in ((self.counts, [text]), (self.parts, split_labels(value))):
            for label in labels:
                if label in counter or len(counter) <= MAX_CLASSES:
                    counter[label] += 1


@dataclass(frozen=True)
class LabelEncoder:
    """Values of a label column -> the labels of a task.

    Attributes:
        problem_type: of the task.
        values: the value of each class, in the order of the labels' numbers; empty for a regression.
        class_names: what they are called.
        columns: of labels that are 0 or 1 for each class, what holds them; otherwise empty.
    """

    problem_type: ProblemType
    values: tuple[str, ...]
    class_names: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def encode(self, value: Any) -> int | list[float] | float:
        """The label of a row; `value` is a list of the columns' values where there are several columns.

        Raises:
            ValueError: it has none; the text says what was found, as the end of a sentence about the row.
        """
        if self.problem_type == "regression":
            number = as_number(canonical(value))
            if number is None:
                raise ValueError(f"has the label {shown(value)!r}, which is not a number")
            return number
        if self.columns:
            if len(value) != len(self.columns):
                raise ValueError(f"has {len(value)} labels, not {len(self.columns)}")
            return [self._flag(item, column) for item, column in zip(value, self.columns, strict=True)]
        if self.problem_type == "multi_label_classification" and are_flags(value) and len(value) == len(self.values):
            return [float(flag) for flag in value]
        if self.problem_type == "multi_label_classification":
            chosen = {self._number(text) for text in split_labels(value)}
            return [float(label in chosen) for label in range(len(self.values))]
        if not (text := canonical(value)):
            raise ValueError("has no label")
        return self._number(text)

    def _number(self, text: str) -> int:
        try:
            return self.values.index(text) if text in self.values else self.class_names.index(text)
        except ValueError:
            numbers = f", or 0 to {len(self.values) - 1}" if self.values != self.class_names else ""
            known = ", ".join(self.class_names[:20])
            raise ValueError(f"has the label {shown(text)!r}; known are {known}{numbers}") from None

    @staticmethod
    def _flag(value: Any, column: str) -> float:
        text = canonical(value)
        if text not in TRUE | FALSE:
            raise ValueError(f"has {shown(text)!r} in `{column}`, not 0 or 1")
        return float(text in TRUE)


def make_encoder(
    surveys: Mapping[str, LabelSurvey],
    columns: Sequence[str],
    problem_type: str = AUTO,
    class_names: Sequence[str] | None = None,
) -> LabelEncoder:
    """Decide by the values of all splits what kind of task they are, and number the classes.

    Classes are those of the training rows, in an order that does not depend on the rows': numbers by value, other
    values sorted, several columns as they are given.

    Args:
        surveys: by split; of several label columns, which hold 0 and 1, no values are counted.
        columns: the label columns.
        problem_type: one of transformers' three, or auto.
        class_names: renames the classes in their order; or orders them, if these are the values themselves.

    Raises:
        UserError: the values are no classes, or the splits do not have the same.
    """
    where = f"--label_column {' '.join(columns)}"
    if len(columns) > 1:
        if problem_type not in (AUTO, "multi_label_classification"):
            raise UserError(
                f"{where} are {len(columns)} columns, which is multi_label_classification, not {problem_type}."
            )
        return LabelEncoder(
            "multi_label_classification", tuple(columns), _renamed(columns, class_names), tuple(columns)
        )
    train = surveys.get("train") or next(iter(surveys.values()))
    kind = _problem_type(surveys, problem_type, where)
    if kind == "regression":
        return LabelEncoder(kind, (), _renamed([columns[0]], class_names))
    if kind == "multi_label_classification" and any(survey.has_flags for survey in surveys.values()):
        counts = set().union(*(survey.flag_counts for survey in surveys.values()))
        if len(counts) > 1 or any(survey.num_flags < survey.num_rows for survey in surveys.values()):
            raise UserError(
                f"{where} has lists of 0 and 1, one for each class, but not in every row, or not equally long ones. "
                "Expected as many in each row, or lists of the names of classes."
            )
        numbers = [str(number) for number in range(*counts)]
        flags = tuple(f"{columns[0]}[{number}]" for number in numbers)
        return LabelEncoder(kind, tuple(numbers), _renamed(numbers, class_names), flags)
    counted_as = "counts" if kind == "single_label_classification" else "parts"
    values = _ordered(getattr(train, counted_as).keys() - {""})
    if class_names and set(class_names) == set(values) and len(class_names) == len(values):
        values = list(class_names)
    _check_classes(values, train, where, kind)
    for split, survey in surveys.items():
        found = getattr(survey, counted_as)
        if unknown := sorted(set(found) - set(values) - {""}):
            raise UserError(
                f"{where}: {split} has labels that train does not have, and which no model can learn from it:\n"
                f"{counted([f'{shown(label)} ({found[label]:,} rows)' for label in unknown], len(unknown))}\n"
                "  Put examples of them into train, or leave those rows out."
            )
    return LabelEncoder(kind, tuple(values), _renamed(values, class_names))


def encoder_of(problem_type: ProblemType, class_names: Sequence[str], columns: Sequence[str]) -> LabelEncoder:
    """The encoder for a model's labels, for data that it is evaluated on: by class names, or by their numbers."""
    names = tuple(class_names)
    if problem_type == "regression":
        return LabelEncoder(problem_type, (), names)
    if len(columns) > 1:
        if set(columns) != set(names) and len(columns) != len(names):
            raise UserError(
                f"--label_column names {len(columns)} columns; the model has {len(names)} labels: {', '.join(names)}."
            )
        return LabelEncoder(problem_type, tuple(columns), names, tuple(columns))
    numbers = tuple(map(str, range(len(names))))
    values = names if set(names) & set(numbers) else numbers  # numbers that are names mean the names
    return LabelEncoder(problem_type, values, names)


def _problem_type(surveys: Mapping[str, LabelSurvey], given: str, where: str) -> ProblemType:
    def total(name: str) -> int:
        return sum(getattr(survey, name) for survey in surveys.values())

    num_rows = total("num_rows")
    if given == "regression" and total("num_numbers") < num_rows:
        example = next(s.not_a_number for s in surveys.values() if s.not_a_number is not None)
        raise UserError(f"{where}: --problem_type regression needs numbers; found {example!r}.")
    if given == "single_label_classification" and total("num_lists"):
        raise UserError(f"{where} has lists of labels; expected one label each. Use --problem_type auto.")
    if given != AUTO:
        return given  # type: ignore[return-value]
    if total("num_lists") or total("num_separated"):
        return "multi_label_classification"
    if num_rows and total("num_numbers") == num_rows and total("num_fractions"):
        return "regression"
    return "single_label_classification"


def _check_classes(values: Sequence[str], survey: LabelSurvey, where: str, kind: ProblemType) -> None:
    if not values:
        raise UserError(f"{where}: no row has a label.")
    num_rows = survey.num_rows
    if len(values) > MAX_CLASSES or (len(values) > MANY_CLASSES and 2 * len(values) > num_rows):
        more = "more than " if len(values) > MAX_CLASSES else ""
        numbers = survey.num_numbers == num_rows
        advice = (
            "If these are quantities: --problem_type regression."
            if numbers
            else "They look like texts rather than classes. Is it another column? Name it with --label_column."
        )
        count, examples = min(len(values), MAX_CLASSES), ", ".join(repr(shown(value)) for value in values[:3])
        raise UserError(
            f"{where} has {more}{count:,} distinct values in {num_rows:,} rows, such as {examples}. {advice}"
        )
    if len(values) == 1 and kind == "single_label_classification":
        raise UserError(
            f"{where}: all {num_rows:,} training rows have the label {values[0]!r}; there is nothing to tell apart. "
            "Expected at least two classes."
        )


def _ordered(values: Iterable[str]) -> list[str]:
    numbers = {value: as_number(value) for value in sorted(values)}
    if all(number is not None for number in numbers.values()):
        return sorted(numbers, key=lambda value: numbers[value])  # type: ignore[arg-type,return-value]
    return list(numbers)


def _renamed(values: Sequence[str], class_names: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(class_names or values)
    if len(names) != len(values) or len(set(names)) < len(names):
        raise UserError(
            f"--class_names gives {len(set(names))} different names; expected one for each of {len(values)}, in this "
            f"order: {', '.join(map(shown, values))}."
        )
    return names
