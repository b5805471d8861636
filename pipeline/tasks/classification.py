"""One label of several: cross-entropy, accuracy with an interval, precision, recall and F1 of each class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.tasks.classes import MAX_CLASS_ROWS, Classification
from pipeline.tasks.task import IGNORE_INDEX, Decision

if TYPE_CHECKING:
    import numpy as np
    import torch


class SingleLabelClassification(Classification):
    """Each example has exactly one of `class_names`.

    `class_weights` multiply the loss of the examples of each class. The mean over an update still divides by the number
    of its examples, unlike torch's, which divides by the sum of their weights: an update of rare classes then counts
    more, as it should. "balanced" weights have a mean of 1 over the training examples and leave the loss at its scale.
    """

    problem_type = "single_label_classification"
    smooths_labels = True
    merges_strata = False  # every class is to be learnt and validated
    means = ("accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro")

    @property
    def label_feature(self) -> Any:
        from datasets import ClassLabel

        return ClassLabel(names=list(self.class_names))

    @property
    def ignored_label(self) -> int:
        return IGNORE_INDEX

    def label_name(self, label: int) -> str:
        return self.class_names[label]

    def label_counts(self, labels: Any) -> dict[str, int]:
        import numpy as np

        counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=self.num_labels)
        return dict(zip(self.class_names, counts.tolist(), strict=True))

    def balanced_weights(self, labels: Any) -> tuple[float, ...]:
        """n / (k * count), scikit-learn's "balanced"; k: the classes that occur. Those that do not get 1."""
        counts = self.label_counts(labels).values()
        present = sum(count > 0 for count in counts)
        return tuple(sum(counts) / (present * count) if count else 1.0 for count in counts)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        logits = logits.float()
        weight = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        return cross_entropy(
            logits,
            labels,
            weight=weight,
            reduction="sum",
            ignore_index=self.ignored_label,
            label_smoothing=label_smoothing,
        )

    def evaluate(self, logits: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """`ClassificationReport`'s numbers, the number of examples, the mean loss in nats, and an interval.

        The loss is computed in float64 over all examples at once, so that no batch and no process weighs more than its
        examples do. It is without `class_weights`, so that runs compare. `accuracy_interval` is the 95 % Wilson
        interval. `calibration` is of the probability of the predicted class (see `describe_calibration`).
        """
        import numpy as np

        from pipeline.tasks.calibration import describe_calibration
        from pipeline.tasks.metrics import ClassificationReport, wilson_interval

        predicted = logits.argmax(axis=-1)

        numbers = ClassificationReport(self.class_names).compute(predictions=predicted, references=references)
        uncalibrated, calibrated = (
            np.take_along_axis(each, predicted[:, None], axis=-1)[:, 0]
            for each in (softmax(logits), self.probabilities(logits))
        )
        return {
            "num_examples": len(references),
            # further digits differ with the number of threads and processes
            "loss": round(float(self._losses(logits, references).mean()), 6),
            **numbers,
            "accuracy_interval": wilson_interval(numbers["accuracy"], len(references)),
            "calibration": describe_calibration(uncalibrated, calibrated, predicted == references, self.temperature),
        }

    def diagnose(self, logits: np.ndarray, references: np.ndarray) -> str | None:
        import numpy as np

        import pipeline.tasks.diagnosis as diagnosis

        if not np.isfinite(logits).all():
            return diagnosis.DIVERGED
        counts, predicted = np.bincount(references, minlength=self.num_labels), logits.argmax(axis=-1)
        total, only = len(references), int(predicted[0])
        if (predicted == only).all():
            imbalanced = self.class_weights is None and bool(counts.max() > diagnosis.IMBALANCED * total)
            answer = f"only {self.class_names[only]}"
            if line := diagnosis.constant_answer(answer, total, total - counts[only], imbalanced):
                return line
        if total - counts.max() < diagnosis.MIN_MISSED:
            return None
        weights = np.ones(self.num_labels) if self.class_weights is None else np.array(self.class_weights)
        loss = np.average(self._losses(logits, references), weights=weights[references])
        shares = counts * weights / (counts @ weights)
        guessing = -np.sum(shares * np.log(shares, where=shares > 0, out=np.zeros(len(shares))))
        by_chance = np.bincount(predicted, minlength=self.num_labels) @ counts / total**2
        better = diagnosis.agrees_better_than_chance(
            [float((predicted == references).mean())], [float(by_chance)], total
        )
        return diagnosis.loss_of_guessing(total, float(loss), float(guessing), better)

    def tune(self, logits: np.ndarray, references: np.ndarray) -> SingleLabelClassification:
        """Fit the temperature. It changes no decision."""
        import numpy as np

        from pipeline.tasks.calibration import fit_temperature

        logits, wrong = logits.astype(np.float64), logits.argmax(axis=-1) != references
        temperature = fit_temperature(lambda each: self._losses(logits / each, references).sum(), int(wrong.sum()))
        return replace(self, temperature=temperature)

    @property
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        return (("accuracy", "accuracy", "Accuracy"), ("f1_macro", "f1", "Macro F1"))

    def table_rows(self, numbers: dict[str, Any], ranked_by: dict[str, Any] | None = None) -> list[tuple[str, str]]:
        low, high = numbers["accuracy_interval"]
        weighted = [("weighted F1", f"{numbers['f1_weighted']:.4f}")] if self.num_labels > 2 else []
        return [
            ("examples", f"{numbers['num_examples']:,}"),
            ("accuracy", f"{numbers['accuracy']:.4f}"),
            ("  95 % interval", f"{low:.4f}-{high:.4f}"),
            ("macro F1", f"{numbers['f1_macro']:.4f}"),
            *weighted,
            ("loss", f"{numbers['loss']:.4f}"),
            *self.calibration_rows(numbers),
            *self.class_rows(numbers, ranked_by),
        ]

    def confusion_matrix(self, numbers: dict[str, Any]) -> tuple[list[str], list[list[int]]] | None:
        return (list(self.class_names), numbers["confusion_matrix"]) if self.num_labels <= MAX_CLASS_ROWS else None

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        return softmax(logits, self.temperature)

    def decide(self, probabilities: np.ndarray) -> Decision:
        best = int(probabilities.argmax())
        by_name = dict(zip(self.class_names, probabilities.tolist(), strict=True))
        return Decision(self.class_names[best], by_name[self.class_names[best]], by_name)

    @staticmethod
    def _losses(logits: np.ndarray, references: np.ndarray) -> np.ndarray:
        """The loss of each example in nats, [examples], float64."""
        import numpy as np

        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return -log_probabilities[np.arange(len(references)), references]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """[..., num_labels] -> [..., num_labels], float64."""
    import numpy as np

    exponents = np.exp((logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)) / temperature)
    return exponents / exponents.sum(axis=-1, keepdims=True)
