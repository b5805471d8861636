"""Train, validation and test: which rows each has."""

from collections.abc import Mapping

import numpy as np
from datasets import Dataset

from pipeline.data.duplicates import without_duplicates
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

MODEL_INPUTS = ("input_ids", "token_type_ids", "window_lengths")  # columns of the features that collators read


def stratified_split(
    train: Dataset, task: Task, fraction: float, seed: int, option: str = "validation_fraction"
) -> tuple[Dataset, Dataset | None]:
    """Hold out a validation set, stratified by label; the same rows for the same seed.

    Args:
        task: says what the strata are, and whether those that are too small to be split are merged.
        option: what the user calls `fraction`.

    Returns:
        The rows to train on and the rows to validate on; all rows and None if `fraction` is 0.

    Raises:
        UserError: the fraction leaves a stratum without a row on one side.
    """
    if fraction == 0:
        return train, None
    # `Dataset.train_test_split` would write its indices into the cache folder (datasets 5.2), which others read.
    labels = labels_of(train)
    strata = task.strata(labels)
    if task.merges_strata:
        strata = _merge_small(strata, fraction)
    _check_fraction(labels, strata, task, fraction, option)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        held_out[generator.permutation(rows)[: round(len(rows) * fraction)]] = True
    return train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))


def _can_split(count: int, fraction: float) -> bool:
    return 0 < round(count * fraction) < count


def _merge_small(strata: np.ndarray, fraction: float) -> np.ndarray:
    """Put strata that are too small to be split together, the smallest first, until all can be split."""
    _, strata, counts = np.unique(strata, return_inverse=True, return_counts=True)
    merged: list[int] = []
    for stratum in np.argsort(counts, kind="stable").tolist():
        if _can_split(int(counts[stratum]), fraction) and (
            not merged or _can_split(int(counts[merged].sum()), fraction)
        ):
            break
        merged.append(stratum)
    return np.where(np.isin(strata, merged), len(counts), strata)


def _check_fraction(labels: np.ndarray, strata: np.ndarray, task: Task, fraction: float, option: str) -> None:
    """Raise `UserError` if the fraction leaves a stratum without a row on one side, with a fraction that does not."""
    _, firsts, counts = np.unique(strata, return_index=True, return_counts=True)
    if all(_can_split(count, fraction) for count in counts):
        return
    names = [task.label_name(labels[first]) for first in firsts]
    if singles := [name for name, count in zip(names, counts, strict=True) if count == 1]:
        more = f" (and {len(singles) - 10} more)" if len(singles) > 10 else ""
        unless = ", or hold none out by --validation_fraction 0" if option == "validation_fraction" else ""
        raise UserError(
            f"--{option} {fraction}: a single training example is labelled {', '.join(singles[:10])}{more}; expected "
            f"at least two of each, one to train on and one to hold out. Add examples, or leave these out{unless}."
        )
    name, count = next(
        (name, count) for name, count in zip(names, counts, strict=True) if not _can_split(count, fraction)
    )
    labelled = "" if task.merges_strata else f" labelled {name}"
    percents = [percent / 100 for percent in range(1, 100)]
    works = [each for each in percents if all(_can_split(count, each) for count in counts)]
    use = f"at least {works[0]}" if fraction < works[0] else f"at most {works[-1]}"
    raise UserError(
        f"--{option} {fraction} holds out {round(count * fraction)} of the {count} training examples{labelled}; "
        f"expected at least one, and one left to train on. Use {use}."
    )


def select_splits(
    features: Mapping[str, Dataset],
    task: Task,
    validation_fraction: float,
    seed: int,
    *,
    test_fraction: float = 0.1,
    drop_duplicates: bool = False,
    limit: int | None = None,
) -> dict[str, Dataset]:
    """The rows of `train`, `validation` and `test`: those that the data has, and the others split off train.

    Args:
        features: the splits of `load_features`.
        task: its strata have the same share of each split.
        validation_fraction: share of the training examples held out for validation; 0: none.
        seed: decides which examples are held out.
        test_fraction: share of the examples split off for the test, before validation, if the data has no test split.
        drop_duplicates: leave out training examples whose text stands in validation or test, or before in train.
        limit: at most so many rows of each split.

    Returns:
        The rows with all their columns. `model_inputs` has those that a model reads.

    Raises:
        UserError: as `stratified_split`.
    """
    splits: dict[str, Dataset | None] = dict(features)
    if (train := splits.get("train")) is not None:
        if "test" not in splits:
            train, splits["test"] = stratified_split(train, task, test_fraction, seed, "test_fraction")
        if "validation" not in splits:
            train, splits["validation"] = stratified_split(train, task, validation_fraction, seed)
        if drop_duplicates:
            held_out = [rows for name in ("validation", "test") if (rows := splits[name]) is not None]
            train = without_duplicates(train, held_out, task.text_columns)
        splits["train"] = train
    return {
        name: rows.select(range(min(len(rows), limit or len(rows))))
        for name in ("train", "validation", "test")
        if (rows := splits.get(name)) is not None
    }


def model_inputs(rows: Dataset) -> Dataset:
    """The columns that collators read, and `label`."""
    return rows.select_columns([*(column for column in MODEL_INPUTS if column in rows.column_names), "label"])


def labels_of(rows: Dataset) -> np.ndarray:
    """The labels of all rows: int64, [rows]; float32, [rows] for a regression or [rows, labels] for several labels."""
    return np.asarray(rows.with_format("numpy")["label"][:])
