"""Metrics by the `evaluate` library, without a network: `evaluate.load` would download its metrics."""

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np


class ClassificationReport(evaluate.Metric):
    """Accuracy, precision, recall and F1 of each class and their means, and the confusion matrix.

    Args:
        class_names: in the order of the labels' numbers.
    """

    def __init__(self, class_names: Sequence[str], **options: Any) -> None:
        self.class_names = list(class_names)
        super().__init__(keep_in_memory=True, num_process=1, **options)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            features=datasets.Features({name: datasets.Value("int64") for name in ("predictions", "references")}),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        size = len(self.class_names)
        pairs = np.asarray(references) * size + np.asarray(predictions)
        confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)  # row: reference, column: prediction
        correct, support = np.diag(confusion), confusion.sum(axis=1)
        precision = safe_divide(correct, confusion.sum(axis=0))
        recall = safe_divide(correct, support)
        f1 = safe_divide(2 * precision * recall, precision + recall)
        return {
            "accuracy": float(correct.sum() / confusion.sum()),
            "f1_macro": float(f1.mean()),
            "precision_macro": float(precision.mean()),
            "recall_macro": float(recall.mean()),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "num_examples": int(count)}
                for name, p, r, f, count in zip(self.class_names, precision, recall, f1, support, strict=True)
            },
            "confusion_matrix": confusion.tolist(),
        }


def safe_divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0, as in scikit-learn."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)


def wilson_interval(proportion: float, count: int, z: float = 1.959963984540054) -> list[float]:
    """95 % interval of a proportion seen in `count` trials (Wilson 1927), within 0 and 1 unlike the normal one."""
    center = (proportion + z * z / (2 * count)) / (1 + z * z / count)
    variance = proportion * (1 - proportion) / count + z * z / (4 * count * count)
    half_width = z / (1 + z * z / count) * math.sqrt(variance)
    return [max(0.0, center - half_width), min(1.0, center + half_width)]
