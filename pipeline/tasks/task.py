"""`Task`: what is to be learnt. Everything that differs by the kind of task is a member here, and nowhere else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:  # slow to import; the options need a task's metrics before anything slow
    import numpy as np
    import torch

IGNORE_INDEX = -100  # the label of an example that counts for nothing, as in torch's cross_entropy
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


@dataclass(frozen=True)
class Decision:
    """What a model says of one text.

    Attributes:
        label: the name of what was decided.
        probability: of `label`, 0 to 1.
        probabilities: of every class, by name.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Task(ABC):
    """A text classification task.

    Attributes:
        class_names: in the order of the labels' numbers.
        text_columns: the columns of a dataset that hold the text; its labels are in `label`.
    """

    problem_type: ClassVar[ProblemType]  # by transformers' own names
    ignored_label: ClassVar[Any] = IGNORE_INDEX  # of an example that counts for nothing

    class_names: tuple[str, ...]
    text_columns: tuple[str, ...] = ("text",)

    @property
    def num_labels(self) -> int:
        """The number of logits."""
        return len(self.class_names)

    # Data.

    @property
    @abstractmethod
    def label_feature(self) -> Any:
        """The `datasets` feature of the column `label`."""

    @abstractmethod
    def label_name(self, label: Any) -> str:
        """What a label of the dataset is called."""

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The stratum of each label, [examples], of any type: a held-out set has the same share of each."""

    # Training.

    @abstractmethod
    def loss(self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """The loss summed over the examples of a batch, `ignored_label`s left out: a float32 scalar.

        Args:
            logits: [examples, num_labels], any float type.
            labels: [examples, ...], as in the dataset.
            label_smoothing: 0 (none) to 1.
        """

    @property
    @abstractmethod
    def greater_is_better(self) -> Mapping[str, bool]:
        """The keys of `compute_metrics`, any of which can select the checkpoint, and whether more of it is better."""

    # Evaluation.

    @abstractmethod
    def evaluate(self, logits: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """All numbers of one evaluation, as they stand in results.json.

        Args:
            logits: [examples, num_labels], any float type.
            references: [examples, ...], the labels.
        """

    @abstractmethod
    def compute_metrics(self, prediction: Any) -> dict[str, float]:
        """The scalars of `evaluate`, for Trainer's log and curves (transformers.EvalPrediction -> dict)."""

    @property
    @abstractmethod
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        """What a model card names first: (key in `evaluate`, the Hub's metric type, title)."""

    @abstractmethod
    def table_rows(self, numbers: dict[str, Any]) -> list[tuple[str, str]]:
        """The numbers of `evaluate` that a person reads at the end, as (name, value)."""

    # Prediction.

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """[..., num_labels] -> [..., num_labels], float64."""

    @abstractmethod
    def decide(self, probabilities: np.ndarray) -> Decision:
        """The decision by the probabilities of one text, [num_labels]."""
