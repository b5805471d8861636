"""`--class_weights`: how much the examples of each class weigh in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.runtime.errors import UserError
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np

BALANCED = "balanced"


def with_class_weights(task: Task, given: Sequence[str] | None, labels: np.ndarray) -> Task:
    """The task with the weights that the option gives.

    Args:
        task: of classes.
        given: `balanced`, or `NAME=WEIGHT` for each class; None: the task as it is.
        labels: of the training examples, which decide what is balanced.

    Raises:
        UserError: the task has no classes, or a weight is missing, unknown or not a positive number.
    """
    if not given:
        return task
    if task.problem_type == "regression":
        raise UserError("--class_weights is for classes; this task is a regression.")
    if list(given) == [BALANCED]:
        return replace(task, class_weights=task.balanced_weights(labels))  # type: ignore[call-arg]
    weights = {}
    for word in given:
        name, separator, weight = word.rpartition("=")
        if not separator or name not in task.class_names:
            raise UserError(
                f"--class_weights {word}: expected {BALANCED}, or NAME=WEIGHT with a name of "
                f"{', '.join(task.class_names)}."
            )
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise UserError(f"--class_weights {word}: the weight is not a number above 0.")
    if missing := [name for name in task.class_names if name not in weights]:
        raise UserError(f"--class_weights gives no weight for {', '.join(missing)}; expected one for each class.")
    return replace(task, class_weights=tuple(weights[name] for name in task.class_names))  # type: ignore[call-arg]
