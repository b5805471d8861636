"""What differs by the kind of task: labels, loss, metrics, predictions. One kind a file."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pipeline.runtime.errors import UserError
from pipeline.tasks.classification import SingleLabelClassification
from pipeline.tasks.multi_label import MultiLabelClassification
from pipeline.tasks.regression import Regression
from pipeline.tasks.task import IGNORE_INDEX, Decision, ProblemType, Task

__all__ = [
    "IGNORE_INDEX",
    "Decision",
    "MultiLabelClassification",
    "ProblemType",
    "Regression",
    "SingleLabelClassification",
    "Task",
    "create_task",
]

KINDS: dict[str, type[Task]] = {
    kind.problem_type: kind for kind in (SingleLabelClassification, MultiLabelClassification, Regression)
}


def create_task(
    problem_type: str | None,
    class_names: Sequence[str],
    text_columns: Sequence[str] = ("text",),
    *,
    class_weights: Sequence[float] | None = None,
    thresholds: Sequence[float] | None = None,
    temperature: float | None = None,
) -> Task:
    """The task of these properties, as `Task.describe` gives them.

    Args:
        problem_type: None, as in the config of many a model, is of a single label.
        class_names, text_columns, class_weights, thresholds, temperature: see the kinds of task.

    Raises:
        UserError: no task here is of this kind, or its kind has no weights, thresholds or temperature.
    """
    kind = KINDS.get(problem_type or "single_label_classification")
    if kind is None:
        raise UserError(f"the problem_type is {problem_type}; expected one of {', '.join(KINDS)}.")
    options = {"class_weights": class_weights, "thresholds": thresholds, "temperature": temperature}
    given: dict[str, Any] = {
        name: float(value) if isinstance(value, float | int) else tuple(value)
        for name, value in options.items()
        if value is not None
    }
    if unknown := given.keys() - {field.name for field in fields(kind)}:
        raise UserError(f"{kind.problem_type} has no {' and no '.join(sorted(unknown))}.")
    return kind(tuple(class_names), tuple(text_columns), **given)
