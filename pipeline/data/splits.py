"""Train, validation and test: which rows each has."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset, DatasetDict

from pipeline.runtime.errors import UserError
from pipeline.tasks import Task


def stratified_split(train: Dataset, task: Task, fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Hold out a validation set, stratified by label; the same rows for the same seed.

    Returns:
        The rows to train on and the rows to validate on; all rows and None if `fraction` is 0.

    Raises:
        UserError: the fraction leaves a stratum without a row on one side.
    """
    if fraction == 0:
        return train, None
    # `Dataset.train_test_split` would write its indices into the cache folder (datasets 5.2), which others read.
    labels = np.asarray(train.with_format("numpy")["label"][:])
    strata = task.strata(labels)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        count = round(len(rows) * fraction)
        if not 0 < count < len(rows):
            raise UserError(
                f"--validation_fraction {fraction} holds out {count} of the {len(rows)} training examples labelled "
                f"{task.label_name(labels[rows[0]])}; expected at least one, and one left to train on."
            )
        held_out[generator.permutation(rows)[:count]] = True
    return train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))


def select_splits(
    features: DatasetDict,
    task: Task,
    fraction: float,
    seed: int,
    *,
    columns: Sequence[str] = ("input_ids",),
    limit: int | None = None,
) -> dict[str, Dataset]:
    """The rows of `train`, `validation` (unless `fraction` is 0) and `test`.

    Args:
        features: from `load_features`.
        task: its strata have the same share of validation as of train.
        fraction: share of the training examples held out for validation.
        seed: decides which.
        columns: selected, besides `label`.
        limit: at most so many rows of each split.

    Raises:
        UserError: as `stratified_split`.
    """
    train, validation = stratified_split(features["train"], task, fraction, seed)
    splits = {"train": train, "validation": validation, "test": features["test"]}
    return {
        name: rows.select_columns([*columns, "label"]).select(range(min(len(rows), limit or len(rows))))
        for name, rows in splits.items()
        if rows is not None
    }
