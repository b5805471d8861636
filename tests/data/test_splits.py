"""Validation: held out by seed, stratified, and never lost or seen twice."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_from_disk
from support import TASK

from pipeline.data.splits import select_splits, stratified_split
from pipeline.runtime.errors import UserError


def rows(count: int = 150) -> Dataset:
    """Every third one is negative."""
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=list(TASK.class_names)), "input_ids": [Value("int32")]}
    )
    columns = {
        "text": [f"리뷰 {number}" for number in range(count)],
        "label": [int(number % 3 > 0) for number in range(count)],
        "input_ids": [[2, number, 3] for number in range(count)],
    }
    return Dataset.from_dict(columns, features=features)


def test_hold_out_is_stratified_disjoint_and_fixed_by_its_seed() -> None:
    train, validation = stratified_split(rows(), TASK, 0.2, seed=7)
    assert (len(train), len(validation)) == (120, 30)
    assert (sum(train["label"]), sum(validation["label"])) == (80, 20)
    assert sorted(train["text"][:] + validation["text"][:]) == sorted(rows()["text"])
    assert stratified_split(rows(), TASK, 0.2, seed=7)[1]["text"][:] == validation["text"][:]
    assert stratified_split(rows(), TASK, 0.2, seed=8)[1]["text"][:] != validation["text"][:]


def test_hold_out_writes_nothing_into_the_folder(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    stratified_split(load_from_disk(tmp_path), TASK, 0.2, seed=7)[0][:]
    assert sorted(tmp_path.rglob("*")) == before


def test_hold_out_of_nothing() -> None:
    train = rows()
    assert stratified_split(train, TASK, 0, seed=7) == (train, None)


@pytest.mark.parametrize(("fraction", "count", "held_out"), [(0.001, 150, 0), (0.5, 2, 0), (0.9, 3, 1)])
def test_hold_out_that_would_be_empty_or_all(fraction: float, count: int, held_out: int) -> None:
    with pytest.raises(UserError) as caught:
        stratified_split(rows(count), TASK, fraction, seed=7)
    expected = (
        f"--validation_fraction {fraction} holds out {held_out} of the {-(-count // 3)} training examples labelled 부정"
    )
    assert expected in str(caught.value)


def test_splits_have_the_columns_that_are_wanted() -> None:
    features = DatasetDict(train=rows(), test=rows(9))
    splits = select_splits(features, TASK, 0.2, 7)
    assert {name: (len(split), split.column_names) for name, split in splits.items()} == {
        "train": (120, ["input_ids", "label"]),
        "validation": (30, ["input_ids", "label"]),
        "test": (9, ["input_ids", "label"]),
    }
    texts = select_splits(features, TASK, 0.2, 7, columns=TASK.text_columns)
    for name, split in splits.items():  # the same rows in the same order
        assert [ids[1] for ids in split["input_ids"]] == [int(text.split()[1]) for text in texts[name]["text"]]


def test_splits_without_validation() -> None:
    assert set(select_splits(DatasetDict(train=rows(), test=rows(9)), TASK, 0, 7)) == {"train", "test"}


def test_splits_are_limited() -> None:
    splits = select_splits(DatasetDict(train=rows(), test=rows(9)), TASK, 0.2, 7, limit=10)
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 10, "test": 9}
