"""Metrics by the `evaluate` library, without a network: `evaluate.load` would download its metrics."""

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

PER_CLASS = ("precision", "recall", "f1")


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
            "f1_weighted": float(np.average(f1, weights=support)),
            "precision_macro": float(precision.mean()),
            "recall_macro": float(recall.mean()),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "num_examples": int(count)}
                for name, p, r, f, count in zip(self.class_names, precision, recall, f1, support, strict=True)
            },
            "confusion_matrix": confusion.tolist(),
        }


class MultiLabelReport(evaluate.Metric):
    """Precision, recall and F1 of each class and their means, and the share of examples with all labels right.

    By scikit-learn, with 0 where a quotient has no denominator. Predictions and references are 0 or 1,
    [examples, classes].

    Args:
        class_names: in the order of the labels' numbers.
    """

    def __init__(self, class_names: Sequence[str], **options: Any) -> None:
        self.class_names = list(class_names)
        super().__init__(keep_in_memory=True, num_process=1, **options)

    def _info(self) -> evaluate.MetricInfo:
        multi_hot = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            features=datasets.Features(dict.fromkeys(("predictions", "references"), multi_hot)),
        )

    def _compute(self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> dict[str, Any]:
        from sklearn.metrics import precision_recall_fscore_support

        found, expected = np.asarray(predictions), np.asarray(references)
        numbers: dict[str, Any] = {"accuracy": float((found == expected).all(axis=1).mean())}
        options: dict[str, Any] = {"zero_division": 0}
        if len(self.class_names) == 1:  # scikit-learn takes a single column for two classes, 0 and 1
            found, expected, options["labels"] = found[:, 0], expected[:, 0], [1]
        for mean in ("micro", "macro", "weighted"):
            scores = precision_recall_fscore_support(expected, found, average=mean, **options)[:3]
            numbers |= {f"{name}_{mean}": float(score) for name, score in zip(PER_CLASS, scores, strict=True)}
        columns = precision_recall_fscore_support(expected, found, average=None, **options)
        rows = zip(self.class_names, *(column.tolist() for column in columns), strict=True)
        keys = (*PER_CLASS, "num_examples")
        return numbers | {"per_class": {name: dict(zip(keys, row, strict=True)) for name, *row in rows}}


class RegressionReport(evaluate.Metric):
    """Pearson's correlation with its 95 % interval, Spearman's, and errors: mean squared, its root, mean absolute.

    By SciPy; the interval is Fisher's, by his z. A correlation with a constant, or of less than two examples, is
    undefined and reported as 0 with the interval -1 to 1. Six digits are kept: further ones differ with the number of
    threads and processes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(keep_in_memory=True, num_process=1, **options)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="",
            features=datasets.Features({name: datasets.Value("float64") for name in ("predictions", "references")}),
        )

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, Any]:
        from scipy.stats import pearsonr, spearmanr

        found, expected = np.asarray(predictions), np.asarray(references)
        errors = found - expected
        pearson, spearman, interval = 0.0, 0.0, (-1.0, 1.0)
        if len(errors) > 1 and np.isfinite(errors).all() and np.ptp(found) > 0 and np.ptp(expected) > 0:
            correlation = pearsonr(found, expected)
            pearson, interval = correlation.statistic, correlation.confidence_interval()
            spearman = spearmanr(found, expected).statistic
        squared = float(np.square(errors).mean())
        return {
            "loss": six_digits(squared),
            "pearson": round(float(pearson), 6),
            "pearson_interval": [round(float(bound), 6) for bound in interval],
            "spearman": round(float(spearman), 6),
            "rmse": six_digits(math.sqrt(squared)),
            "mae": six_digits(float(np.abs(errors).mean())),
        }


def six_digits(value: float) -> float:
    """Six significant digits, for numbers of any scale."""
    return float(f"{value:.6g}")


def safe_divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0, as in scikit-learn."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator != 0)


def wilson_interval(proportion: float, count: int, z: float = 1.959963984540054) -> list[float]:
    """95 % interval of a proportion seen in `count` trials (Wilson 1927), within 0 and 1 unlike the normal one."""
    center = (proportion + z * z / (2 * count)) / (1 + z * z / count)
    variance = proportion * (1 - proportion) / count + z * z / (4 * count * count)
    half_width = z / (1 + z * z / count) * math.sqrt(variance)
    return [max(0.0, center - half_width), min(1.0, center + half_width)]
