"""A number instead of a class: mean squared error, Pearson and Spearman correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pipeline.runtime.errors import UserError
from pipeline.tasks.task import Decision, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

NUM_BINS = 10  # strata of equal size
NUM_RANGES = 5  # of equal width, for a person to read
MAX_VALUES = 10  # distinct numbers that are counted one by one
SCORES = {"loss": False, "pearson": True, "spearman": True, "rmse": False, "mae": False}  # is greater better?
CONSTANT = 1e-3  # spread of the predictions by that of the references, below which they are one number


@dataclass(frozen=True)
class Regression(Task):
    """Each example has a number, float32. `class_names` is its name, `num_labels` 1."""

    problem_type = "regression"

    def __post_init__(self) -> None:
        if self.num_labels != 1:
            raise UserError(f"a regression predicts one number; found {', '.join(self.class_names)}.")

    @property
    def label_feature(self) -> Any:
        from datasets import Value

        return Value("float32")

    @property
    def ignored_label(self) -> float:
        return math.nan

    def label_name(self, label: float) -> str:
        return f"{label:.6g}"

    def label_counts(self, labels: Any) -> dict[str, int]:
        """By number where there are few, else by ranges of equal width."""
        import numpy as np

        labels = np.asarray(labels, dtype=np.float32)
        values, counts = np.unique(labels, return_counts=True)
        if len(values) <= MAX_VALUES:
            return dict(zip(map(self.label_name, values), counts.tolist(), strict=True))
        counts, edges = np.histogram(labels.astype(np.float64), NUM_RANGES)
        ranges = pairwise(map(self.label_name, edges))
        names = [f"{low} to {high}" for low, high in ranges]
        return dict(zip(names, counts.tolist(), strict=True))

    def balanced_weights(self, labels: Any) -> tuple[float, ...]:
        raise UserError("--class_weights is given; a regression has no classes. Leave it out.")

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The numbers themselves where there are few; else bins of about equal size, by the deciles of the labels."""
        import numpy as np

        if len(np.unique(labels)) <= NUM_BINS:
            return labels
        deciles = np.quantile(labels, np.arange(1, NUM_BINS) / NUM_BINS)
        return np.searchsorted(np.unique(deciles), labels, side="right")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        import torch

        self.check_label_smoothing(label_smoothing)
        predictions = logits.float().squeeze(-1)
        # A difference of 0 before it is squared: the gradient of a NaN that is left out after would be NaN.
        labels = torch.where(labels.isnan(), predictions.detach(), labels.float())
        return (predictions - labels).square().sum()

    @property
    def greater_is_better(self) -> Mapping[str, bool]:
        return SCORES

    def evaluate(self, logits: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """`RegressionReport`'s numbers, the number of examples and the range of their labels, and the loss.

        The loss is the mean squared error, in float64.
        """
        from pipeline.tasks.metrics import RegressionReport

        return {
            "num_examples": len(references),
            "label_range": [float(references.min()), float(references.max())],
            **RegressionReport().compute(predictions=self.probabilities(logits)[:, 0], references=references),
        }

    def compute_metrics(self, prediction: Any) -> dict[str, float]:
        numbers = self.evaluate(prediction.predictions, prediction.label_ids)
        return {name: numbers[name] for name in SCORES}

    def diagnose(self, logits: np.ndarray, references: np.ndarray) -> str | None:
        import numpy as np

        import pipeline.tasks.diagnosis as diagnosis

        if not np.isfinite(logits).all():
            return diagnosis.DIVERGED
        predictions, total, spread = self.probabilities(logits)[:, 0], len(references), float(np.std(references))
        if not np.ptp(references):
            return None
        if np.std(predictions) < CONSTANT * spread:
            answer = f"about {self.label_name(predictions.mean())}"
            missed = int((np.abs(references - predictions) > CONSTANT * spread).sum())
            if line := diagnosis.constant_answer(answer, total, missed):
                return line
        numbers = self.evaluate(logits, references)
        return diagnosis.loss_of_guessing(total, numbers["loss"], spread**2, numbers["pearson_interval"][0] > 0)

    @property
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        return (
            ("pearson", "pearsonr", "Pearson correlation"),
            ("spearman", "spearmanr", "Spearman correlation"),
            ("loss", "mse", "Mean squared error"),
        )

    def table_rows(self, numbers: dict[str, Any], ranked_by: dict[str, Any] | None = None) -> list[tuple[str, str]]:
        low, high = numbers["pearson_interval"]
        return [
            ("examples", f"{numbers['num_examples']:,}"),
            ("Pearson", f"{numbers['pearson']:.4f}"),
            ("  95 % interval", f"{low:.4f} to {high:.4f}"),
            ("Spearman", f"{numbers['spearman']:.4f}"),
            ("RMSE", f"{numbers['rmse']:.4f}"),
            ("mean absolute error", f"{numbers['mae']:.4f}"),
            ("loss", f"{numbers['loss']:.4f}"),
        ]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        import numpy as np

        return logits.astype(np.float64)

    def decide(self, probabilities: np.ndarray) -> Decision:
        (value,) = probabilities.tolist()
        return Decision(self.label_name(value), None, {self.class_names[0]: value})
