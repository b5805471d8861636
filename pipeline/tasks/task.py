"""`Task`: what is to be learnt. Everything that differs by the kind of task is a member here, and nowhere else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.runtime.errors import UserError

if TYPE_CHECKING:  # slow to import; the options need a task's metrics before anything slow
    import numpy as np
    import torch

IGNORE_INDEX = -100  # the label of an example that counts for nothing, as in torch's cross_entropy
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


@dataclass(frozen=True)
class Decision:
    """What a model says of one text.

    Attributes:
        label: the name of what was decided; of several labels the names joined by "|", "" if there is none; in a
            regression the number.
        probability: of `label`, 0 to 1; None in a regression.
        probabilities: of every class, by name; in a regression the number itself.
    """

    label: str
    probability: float | None
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Task(ABC):
    """A text classification task, or a regression.

    Attributes:
        class_names: in the order of the labels' numbers; in a regression the name of the number.
        text_columns: the columns of a dataset that hold the text, one or two; its labels are in `label`.
    """

    problem_type: ClassVar[ProblemType]  # by transformers' own names
    smooths_labels: ClassVar[bool] = False  # whether `loss` takes a `label_smoothing`
    merges_strata: ClassVar[bool] = True  # whether strata too small to be split may be merged

    class_names: tuple[str, ...]
    text_columns: tuple[str, ...] = ("text",)

    @property
    def num_labels(self) -> int:
        """The number of logits."""
        return len(self.class_names)

    @property
    def labels_per_example(self) -> int:
        """The number of numbers in a label of the dataset."""
        return 1

    def describe(self) -> dict[str, Any]:
        """What `create_task` makes an equal task of, as JSON."""
        described: dict[str, Any] = {"problem_type": self.problem_type}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default or field.name == "text_columns":
                described[field.name] = list(value) if isinstance(value, tuple) else value
        return described

    # Data.

    @property
    @abstractmethod
    def label_feature(self) -> Any:
        """The `datasets` feature of the column `label`."""

    @property
    @abstractmethod
    def ignored_label(self) -> Any:
        """The label of an example that counts for nothing."""

    @abstractmethod
    def label_name(self, label: Any) -> str:
        """What a label of the dataset is called."""

    @abstractmethod
    def label_counts(self, labels: Any) -> dict[str, int]:
        """How many examples have each class, by name, all classes included; in a regression each range of numbers.

        Args:
            labels: [examples, ...], as in the dataset.
        """

    @abstractmethod
    def balanced_weights(self, labels: Any) -> tuple[float, ...]:
        """The weights by which frequent and rare classes count alike (`--class_weights balanced`).

        Args:
            labels: of the training examples, [examples, ...].

        Raises:
            UserError: the task has no classes.
        """

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

        Raises:
            UserError: as `check_label_smoothing`.
        """

    def check_label_smoothing(self, label_smoothing: float) -> None:
        """Raise `UserError` if the loss of this kind of task has no label smoothing and some is asked for."""
        if label_smoothing and not self.smooths_labels:
            raise UserError(
                f"--label_smoothing_factor is {label_smoothing}; {self.problem_type} has none, since it spreads one "
                "label over the other classes. Leave it out."
            )

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

    @abstractmethod
    def diagnose(self, logits: np.ndarray, references: np.ndarray) -> str | None:
        """One line if the model has learnt nothing, with what usually helps; None if it has, or if few examples tell.

        Args:
            logits, references: as for `evaluate`.
        """

    def tune(self, logits: np.ndarray, references: np.ndarray) -> Task:
        """The task with what is chosen on validation examples after training.

        Args:
            logits, references: as for `evaluate`.
        """
        return self

    @property
    @abstractmethod
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        """What a model card names first: (key in `evaluate`, the Hub's metric type, title)."""

    @abstractmethod
    def table_rows(self, numbers: dict[str, Any], ranked_by: dict[str, Any] | None = None) -> list[tuple[str, str]]:
        """The numbers of `evaluate` that a person reads at the end, as (name, value).

        Args:
            numbers: of one split.
            ranked_by: of the split whose worst classes are shown where there are many, so that two splits have the
                same rows; None: of this split.
        """

    def confusion_matrix(self, numbers: dict[str, Any]) -> tuple[list[str], list[list[int]]] | None:
        """Class names and counts (row: reference, column: prediction), where a terminal has room for them."""
        return None

    # Prediction.

    @abstractmethod
    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """[..., num_labels] -> [..., num_labels], float64; in a regression the numbers themselves."""

    @abstractmethod
    def decide(self, probabilities: np.ndarray) -> Decision:
        """The decision by the probabilities of one text, [num_labels]."""
