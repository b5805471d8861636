"""What differs by the kind of task: labels, loss, metrics, predictions. One kind a file."""

from collections.abc import Sequence

from pipeline.runtime.errors import UserError
from pipeline.tasks.classification import SingleLabelClassification
from pipeline.tasks.task import IGNORE_INDEX, Decision, ProblemType, Task

__all__ = ["IGNORE_INDEX", "Decision", "ProblemType", "SingleLabelClassification", "Task", "create_task"]

KINDS: dict[str, type[Task]] = {kind.problem_type: kind for kind in (SingleLabelClassification,)}


def create_task(problem_type: str | None, class_names: Sequence[str]) -> Task:
    """The task of a model whose config says `problem_type`; configs without one are of a single label.

    Raises:
        UserError: no task here is of this kind.
    """
    kind = KINDS.get(problem_type or "single_label_classification")
    if kind is None:
        raise UserError(f"the model's problem_type is {problem_type}; expected one of {', '.join(KINDS)}.")
    return kind(tuple(class_names))
