"""A run's test examples, and which of them are right."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.evaluation.stored_predictions import read_predictions
from pipeline.tasks import Task


@dataclass(frozen=True)
class Examples:
    """Test examples, in the order of the test split.

    Attributes:
        task: of the model, with its temperature and thresholds.
        texts: one string each, or two of a pair.
        labels: int64, [examples]; of several labels bool, [examples, num_labels]; of a regression float64, [examples].
        probabilities: float64, [examples, num_labels]; in a regression the numbers.
        right: whether the decision is the label, bool, [examples]; None in a regression.
        seen: whether the text stands in the training or validation examples, bool, [examples]; None: not known.
    """

    task: Task
    texts: list[tuple[str, ...]]
    labels: np.ndarray
    probabilities: np.ndarray
    right: np.ndarray | None
    seen: np.ndarray | None

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of each decision, [examples]; in a regression the negative distance from the label."""
        if self.task.problem_type == "regression":
            return -np.abs(self.probabilities[:, 0] - self.labels)
        return np.array([self.task.decide(each).probability for each in self.probabilities])


def read_examples(run: Path) -> Examples:
    """The stored predictions of a run for its test split.

    Raises:
        UserError: as `read_predictions`.
    """
    stored = read_predictions(run)
    task = stored.task
    right = None if task.problem_type == "regression" else np.array(stored.labels) == np.array(stored.predicted)
    return Examples(task, stored.texts, stored.references, stored.probabilities, right, stored.in_training)
