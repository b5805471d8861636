"""EvalPrediction -> numbers, by the `evaluate` library, with no network: `evaluate.load` would fetch its metrics."""

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from transformers import EvalPrediction


class ClassificationReport(evaluate.Metric):
    """Accuracy, precision, recall and F1 of each class and their means, and the confusion matrix.

    Args:
        labels: the names of the classes, in the order of their numbers.
    """

    def __init__(self, labels: Sequence[str], **options: Any) -> None:
        self.labels = list(labels)
        super().__init__(keep_in_memory=True, num_process=1, **options)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            features=datasets.Features({name: datasets.Value("int64") for name in ("predictions", "references")}),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        size = len(self.labels)
        pairs = np.asarray(references) * size + np.asarray(predictions)
        confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)  # row: reference, column: prediction
        right = np.diag(confusion)
        precision = _share(right, confusion.sum(axis=0))
        recall = _share(right, confusion.sum(axis=1))
        f1 = _share(2 * precision * recall, precision + recall)
        return {
            "accuracy": float(right.sum() / confusion.sum()),
            "f1_macro": float(f1.mean()),
            "precision_macro": float(precision.mean()),
            "recall_macro": float(recall.mean()),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "reviews": int(count)}
                for name, p, r, f, count in zip(self.labels, precision, recall, f1, confusion.sum(axis=1), strict=True)
            },
            "confusion_matrix": confusion.tolist(),
        }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where nothing was predicted or nothing is there, as scikit-learn has it."""
    return np.divide(part, whole, out=np.zeros(len(part), dtype=float), where=whole != 0)


def report(logits: np.ndarray, references: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """All that is said of one evaluation.

    Args:
        logits: [reviews, classes], any float type.
        references: [reviews], the labels' numbers.
        labels: the names of the classes.

    Returns:
        `ClassificationReport`'s numbers; `loss`, the mean cross-entropy in nats, computed here in float64 over all
        reviews at once so that no batch and no process weighs more than its reviews do; `reviews`; and
        `accuracy_interval`, the 95 % Wilson interval of the accuracy.
    """
    numbers = ClassificationReport(labels).compute(predictions=logits.argmax(axis=-1), references=references)
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    loss = -log_probabilities[np.arange(len(references)), references].mean()
    return {
        "reviews": len(references),
        "loss": round(float(loss), 6),  # what is beyond differs with the number of threads and processes
        **numbers,
        "accuracy_interval": wilson_interval(numbers["accuracy"], len(references)),
    }


def scalars(prediction: EvalPrediction, labels: Sequence[str]) -> dict[str, float]:
    """`report` as Trainer wants it while training: single numbers, which go to the log and the curves."""
    numbers = report(prediction.predictions, prediction.label_ids, labels)
    return {name: value for name, value in numbers.items() if isinstance(value, float)} | {
        f"f1_{name}": of_class["f1"] for name, of_class in numbers["per_class"].items()
    }


def wilson_interval(share: float, count: int, z: float = 1.959963984540054) -> list[float]:
    """95 % interval of a share seen in `count` trials (Wilson 1927); unlike the normal one it stays within 0 and 1."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [max(0.0, middle - half), min(1.0, middle + half)]
