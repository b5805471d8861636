"""How the labels are distributed, and whether the splits agree on it."""

from typing import Any

import numpy as np

from pipeline.audit.examples import Examples


def label_balance(examples: Examples) -> dict[str, Any]:
    """By split `counts` by class, in a regression by ranges of numbers, and what follows from them.

    Of classes also `missing`, those that no example of the split has, and `ratio`, the largest class by the smallest
    that occurs. With one label each `largest`: the share of the largest class, which a model scores that always names
    it. Of several labels `num_without`: examples that have none. Of numbers `mean`, `std`, `smallest`, `largest`.
    """
    task, found = examples.task, {}
    for split in examples.splits:
        labels = examples.labels[examples.rows_of(split)]
        counts = task.label_counts(labels)
        about: dict[str, Any] = {"num_examples": len(labels), "counts": counts}
        if task.problem_type == "regression":
            numbers = {"mean": labels.mean(), "std": labels.std(), "smallest": labels.min(), "largest": labels.max()}
            about |= {name: float(value) for name, value in numbers.items()}
        else:
            about["missing"] = [name for name, count in counts.items() if not count]
            about["ratio"] = max(counts.values()) / max(1, min(filter(None, counts.values()), default=1))
        if task.problem_type == "single_label_classification":
            about["largest"] = max(counts.values()) / len(labels)
        if task.problem_type == "multi_label_classification":
            about["num_without"] = int((~(labels > 0).any(axis=1)).sum())
        found[split] = about
    return {"splits": found, "difference": _difference(examples, found)}


def _difference(examples: Examples, found: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Where the shares of a class differ most from train to test, by how much, and whether chance explains it.

    `standard_errors`: the difference by its standard error; chance makes more than 3 of it once in 370 classes.
    """
    if not {"train", "test"} <= found.keys() or examples.task.problem_type == "regression":
        return None
    largest: dict[str, Any] = {"points": 0.0, "standard_errors": 0.0}
    sizes = [found[split]["num_examples"] for split in ("train", "test")]
    for name, count in found["train"]["counts"].items():
        counts = (count, found["test"]["counts"][name])
        shares = [each / size for each, size in zip(counts, sizes, strict=True)]
        pooled = sum(counts) / sum(sizes)
        error = float(np.sqrt(pooled * (1 - pooled) * sum(1 / size for size in sizes)))
        points = abs(shares[1] - shares[0])
        if error and points / error > largest["standard_errors"]:
            largest = {"class": name, "points": points, "standard_errors": points / error, "shares": shares}
    return largest
