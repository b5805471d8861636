"""Scores of the test examples by length, by class, and by how rare their words are."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from pipeline.data.features import open_features
from pipeline.data.splits import select_splits
from pipeline.report.examples import Examples
from pipeline.tasks.metrics import wilson_interval
from pipeline.tasks.multi_label import SEPARATOR

NUM_LENGTHS = 5  # groups of about equal size
MAX_CLASSES = 20
RARITY = (0, 1, 10, 100, 1000)  # lowest count of a group
CHUNK_SIZE = 10_000  # rows in memory


def by_length(examples: Examples) -> list[dict[str, Any]]:
    """Groups of texts by their length in characters, of both texts of a pair together."""
    lengths = np.array([sum(map(len, texts)) for texts in examples.texts])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, NUM_LENGTHS + 1)).astype(int))
    if len(edges) == 1:
        return [_score(examples, np.ones(len(lengths), dtype=bool), f"{edges[0]:,}")]
    groups = []
    for index, (low, high) in enumerate(pairwise(edges)):
        last = index == len(edges) - 2
        chosen = (lengths >= low) & ((lengths <= high) if last else (lengths < high))
        end = high if last else high - 1
        groups.append(_score(examples, chosen, f"{low:,}–{end:,}" if end > low else f"{low:,}"))
    return groups


def by_class(examples: Examples) -> list[dict[str, Any]]:
    """How often the examples of each class are right; of several labels, the decision on this class alone.

    Of many classes the worst.
    """
    names = examples.task.class_names
    if examples.task.problem_type == "single_label_classification":
        groups = [_score(examples, examples.labels == index, name) for index, name in enumerate(names)]
    elif examples.task.problem_type == "multi_label_classification":
        decided = np.array([_decided(examples, each) for each in examples.probabilities])
        groups = [_share(decided[:, index] == examples.labels[:, index], name) for index, name in enumerate(names)]
    else:
        return []
    if len(groups) <= MAX_CLASSES:
        return groups
    return sorted((group for group in groups if group["count"]), key=lambda group: group["score"])[:MAX_CLASSES]


def by_rarity(examples: Examples, run: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Groups of texts by their rarest token: how often it stands in the training examples.

    Args:
        run: as in run.json, which says where the tokens are.

    Returns:
        None if the tokens are gone, or are of other examples.
    """
    rows = _rows(run)
    if rows is None or len(rows["test"]) != len(examples.texts):
        return None
    counts = np.zeros(0, dtype=np.int64)
    for ids in _token_ids(rows["train"]):
        found = np.bincount(np.concatenate(ids), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    rarest = [
        int(np.where(inner < len(counts), counts[np.minimum(inner, len(counts) - 1)], 0).min()) if len(inner) else -1
        for ids in _token_ids(rows["test"])
        for inner in (each[1:-1] for each in ids)  # without the special tokens at both ends
    ]
    group = np.searchsorted(RARITY, rarest, side="right") - 1
    ends = [*(f"–{high - 1:,}" if high - 1 > low else "" for low, high in pairwise(RARITY)), " +"]
    return [
        _score(examples, group == index, f"{low:,}{end}")
        for index, (low, end) in enumerate(zip(RARITY, ends, strict=True))
    ]


def _rows(run: dict[str, Any]) -> dict[str, Dataset] | None:
    data = run["arguments"]["data"]
    folder = Path(run["features"]["folder"])
    if not folder.is_dir():
        return None
    features = open_features(folder)
    return select_splits(
        features.splits,
        features.task,
        data["validation_fraction"],
        data["validation_seed"],
        test_fraction=data["test_fraction"],
        drop_duplicates=data.get("drop_duplicates", False),
    )


def _token_ids(rows: Dataset) -> Iterator[list[np.ndarray]]:
    for chunk in rows.select_columns(["input_ids"]).with_format("numpy").iter(CHUNK_SIZE):
        yield list(chunk["input_ids"])


def _decided(examples: Examples, probabilities: np.ndarray) -> list[bool]:
    label = examples.task.decide(probabilities).label.split(SEPARATOR)
    return [name in label for name in examples.task.class_names]


def _score(examples: Examples, chosen: np.ndarray, name: str) -> dict[str, Any]:
    """The accuracy of a group with its 95 % interval; of numbers the mean absolute error."""
    if examples.right is not None:
        return _share(examples.right[chosen], name)
    errors = -examples.confidence[chosen]
    return {"name": name, "count": len(errors), "error": float(errors.mean()) if len(errors) else None}


def _share(right: np.ndarray, name: str) -> dict[str, Any]:
    if not len(right):
        return {"name": name, "count": 0, "score": None}
    score = float(right.mean())
    return {"name": name, "count": len(right), "score": score, "interval": wilson_interval(score, len(right))}
