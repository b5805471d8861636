"""Any number of labels of several: binary cross-entropy, F1 by micro, macro and weighted mean, tuned thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.runtime.errors import UserError
from pipeline.tasks.classes import Classification
from pipeline.tasks.task import IGNORE_INDEX, Decision

if TYPE_CHECKING:
    import numpy as np
    import torch

SEPARATOR = "|"
DEFAULT_THRESHOLD = 0.5
MIN_POSITIVES = 5  # validation examples of a class, to choose its threshold by
TOLERANCE = 0.99  # of the best F1, that a threshold closer to the default may have


@dataclass(frozen=True)
class MultiLabelClassification(Classification):
    """Each example has any number of `class_names`, none included. Labels are multi-hot, float32, [num_labels].

    `class_weights` multiply the loss of the examples that have a class (torch's `pos_weight`); those that do not have
    it count once.

    Attributes:
        thresholds: the probability from which on a class is predicted, one each; None: 0.5.
    """

    problem_type = "multi_label_classification"
    means = (
        *("accuracy", "f1_micro", "f1_macro", "f1_weighted"),
        *("precision_micro", "recall_micro", "precision_macro", "recall_macro"),
    )

    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.thresholds is not None and len(self.thresholds) != self.num_labels:
            raise UserError(f"there are {len(self.thresholds)} thresholds for {self.num_labels} classes.")

    @property
    def label_feature(self) -> Any:
        from datasets import List, Value

        return List(Value("float32"), length=self.num_labels)

    @property
    def ignored_label(self) -> list[float]:
        return [float(IGNORE_INDEX)] * self.num_labels

    @property
    def labels_per_example(self) -> int:
        return self.num_labels

    def label_name(self, label: Any) -> str:
        return SEPARATOR.join(name for name, has in zip(self.class_names, label, strict=True) if has > 0)

    def label_counts(self, labels: Any) -> dict[str, int]:
        return dict(zip(self.class_names, self._positives(labels).tolist(), strict=True))

    def balanced_weights(self, labels: Any) -> tuple[float, ...]:
        """Examples without the class / examples with it, so that both count alike; 1 where one of the two is 0."""
        positives, total = self._positives(labels).tolist(), len(labels)
        return tuple((total - count) / count if 0 < count < total else 1.0 for count in positives)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The rarest label of each example; `num_labels` for none."""
        import numpy as np

        counts = np.append(self._positives(labels), len(labels) + 1)
        has = np.column_stack([labels > 0, np.ones(len(labels), dtype=bool)])
        return np.where(has, counts, len(labels) + 2).argmin(axis=-1)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """The mean over the classes, as `BCEWithLogitsLoss` gives, summed over the examples."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        self.check_label_smoothing(label_smoothing)
        logits = logits.float()
        counts = labels.ne(IGNORE_INDEX)  # no indexing: shapes that follow from values recompile on XLA
        losses = binary_cross_entropy_with_logits(
            logits,
            labels.float(),
            pos_weight=None if self.class_weights is None else logits.new_tensor(self.class_weights),
            reduction="none",
        )
        return (losses * counts).sum() / self.num_labels

    def evaluate(self, logits: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """`MultiLabelReport`'s numbers by the thresholds, the number of examples, the mean loss, the thresholds.

        The loss is the mean over examples and classes, in nats and float64, without `class_weights`. `accuracy` is the
        share of examples all of whose labels are right, with its 95 % Wilson interval. `calibration` is of the
        probabilities of all classes (see `describe_calibration`).
        """
        from pipeline.tasks.calibration import describe_calibration
        from pipeline.tasks.metrics import MultiLabelReport, wilson_interval

        probabilities, references = self.probabilities(logits), references > 0
        predicted = self._predicted(probabilities)
        numbers = MultiLabelReport(self.class_names).compute(
            predictions=predicted.astype(int), references=references.astype(int)
        )
        losses = self._losses(logits, references)
        return {
            "num_examples": len(references),
            "loss": round(float(losses.mean()), 6),  # further digits differ with the number of threads and processes
            **numbers,
            "accuracy_interval": wilson_interval(numbers["accuracy"], len(references)),
            "calibration": describe_calibration(
                sigmoid(logits).ravel(), probabilities.ravel(), references.ravel(), self.temperature
            ),
            "thresholds": dict(zip(self.class_names, self._thresholds.tolist(), strict=True)),
        }

    def diagnose(self, logits: np.ndarray, references: np.ndarray) -> str | None:
        import numpy as np

        import pipeline.tasks.diagnosis as diagnosis

        if not np.isfinite(logits).all():
            return diagnosis.DIVERGED
        predicted, references, total = self._predicted(self.probabilities(logits)), references > 0, len(references)
        if (predicted == predicted[0]).all():
            answer = f"only {self.label_name(predicted[0])}" if predicted[0].any() else "no label"
            missed = int((references != predicted[0]).any(axis=-1).sum())
            if line := diagnosis.constant_answer(answer, total, missed, imbalanced=self.class_weights is None):
                return line
        if np.minimum(references.sum(axis=0), (~references).sum(axis=0)).sum() < diagnosis.MIN_MISSED:
            return None
        shares, predicted_shares = references.mean(axis=0), predicted.mean(axis=0)
        constant = self._log_odds(shares)
        loss = self._losses(logits, references, self.class_weights).mean()
        guessing = self._losses(np.tile(constant, (total, 1)), references, self.class_weights).mean()
        better = diagnosis.agrees_better_than_chance(
            (predicted == references).mean(axis=0).tolist(),
            (shares * predicted_shares + (1 - shares) * (1 - predicted_shares)).tolist(),
            total,
        )
        return diagnosis.loss_of_guessing(total, float(loss), float(guessing), better)

    def tune(self, logits: np.ndarray, references: np.ndarray) -> MultiLabelClassification:
        """Fit the temperature, then choose each class' threshold by its F1.

        scikit-learn's precision_recall_curve has every distinct choice.

        The maximum of F1 over few examples is noisy. Of the thresholds whose F1 is within 1 % of the best, the one
        closest to 0.5 is taken; a class with fewer than 5 examples keeps 0.5. Thresholds lie halfway between two
        probabilities that occur.
        """
        from pipeline.tasks.calibration import fit_temperature

        has = references > 0
        temperature = fit_temperature(
            lambda each: self._losses(logits / each, has).sum(), int(((logits > 0) != has).sum())
        )
        probabilities = sigmoid(logits, temperature)
        chosen = (_best_threshold(probabilities[:, index], has[:, index]) for index in range(self.num_labels))
        return replace(self, temperature=temperature, thresholds=tuple(chosen))

    @property
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        return (
            ("f1_macro", "f1", "Macro F1"),
            ("f1_micro", "f1", "Micro F1"),
            ("accuracy", "accuracy", "Subset accuracy"),
        )

    def table_rows(self, numbers: dict[str, Any], ranked_by: dict[str, Any] | None = None) -> list[tuple[str, str]]:
        low, high = numbers["accuracy_interval"]
        return [
            ("examples", f"{numbers['num_examples']:,}"),
            ("micro F1", f"{numbers['f1_micro']:.4f}"),
            ("macro F1", f"{numbers['f1_macro']:.4f}"),
            ("weighted F1", f"{numbers['f1_weighted']:.4f}"),
            ("all labels right", f"{numbers['accuracy']:.4f}"),
            ("  95 % interval", f"{low:.4f}-{high:.4f}"),
            ("loss", f"{numbers['loss']:.4f}"),
            *self.calibration_rows(numbers),
            *self.class_rows(numbers, ranked_by),
        ]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Of each class by itself: they do not sum to 1."""
        return sigmoid(logits, self.temperature)

    def decide(self, probabilities: np.ndarray) -> Decision:
        """The classes at or above their thresholds.

        Its probability is that of the least certain of its yes-or-no decisions, one on each class: all of them being
        right is at most as probable.
        """
        import numpy as np

        predicted = self._predicted(probabilities)
        least = np.where(predicted, probabilities, 1 - probabilities).min()
        by_name = dict(zip(self.class_names, probabilities.tolist(), strict=True))
        return Decision(self.label_name(predicted), float(least), by_name)

    @property
    def _thresholds(self) -> np.ndarray:
        import numpy as np

        return np.array(self.thresholds or [DEFAULT_THRESHOLD] * self.num_labels)

    def _predicted(self, probabilities: np.ndarray) -> np.ndarray:
        return probabilities >= self._thresholds

    @staticmethod
    def _positives(labels: Any) -> np.ndarray:
        import numpy as np

        return (np.asarray(labels) > 0).sum(axis=0)

    def _losses(
        self, logits: np.ndarray, references: np.ndarray, weights: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """The loss of each example and class in nats, [examples, num_labels], float64."""
        import numpy as np

        logits, weight = logits.astype(np.float64), np.ones(self.num_labels) if weights is None else np.array(weights)
        return np.where(references, weight * _softplus(-logits), _softplus(logits))

    def _log_odds(self, shares: np.ndarray) -> np.ndarray:
        """The constant logits of least loss, where the classes have these shares of the examples."""
        import numpy as np

        weight = np.ones(self.num_labels) if self.class_weights is None else np.array(self.class_weights)
        with np.errstate(divide="ignore"):
            return np.clip(np.log(weight * shares) - np.log1p(-shares), -1e3, 1e3)


def sigmoid(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """[...] -> [...], float64."""
    import numpy as np

    return np.exp(-_softplus(-logits.astype(np.float64) / temperature))


def _softplus(values: np.ndarray) -> np.ndarray:
    """log(1 + exp(values)), for any size of them."""
    import numpy as np

    return np.logaddexp(0, values)


def _best_threshold(probabilities: np.ndarray, has: np.ndarray) -> float:
    """See `tune`; probabilities and whether the class is there, [examples] each."""
    import numpy as np

    if has.sum() < MIN_POSITIVES:
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    ranked, correct = probabilities[order], np.cumsum(has[order])
    f1 = 2 * correct / (np.arange(1, len(ranked) + 1) + has.sum())  # of predicting the first 1, 2, ... as positive
    last = np.append(ranked[:-1] > ranked[1:], True)  # examples of equal probability are predicted together
    thresholds = (ranked + np.append(ranked[1:], 0)) / 2
    good = last & (f1 >= TOLERANCE * f1[last].max())
    return float(thresholds[good][np.abs(thresholds[good] - DEFAULT_THRESHOLD).argmin()])
