"""Validation: held out by seed, stratified, and never lost or seen twice."""

import re
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TASK

from pipeline.data.splits import model_inputs, select_splits, stratified_split
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification


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


@pytest.mark.parametrize(("fraction", "count", "held_out"), [(0.001, 150, 0), (0.8, 6, 2)])
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
    assert {name: len(split) for name, split in splits.items()} == {"train": 120, "validation": 30, "test": 9}
    for split in splits.values():
        assert set(split.column_names) == {"text", "label", "input_ids"}
        assert model_inputs(split).column_names == ["input_ids", "label"]
        assert [ids[1] for ids in split["input_ids"]] == [int(text.split()[1]) for text in split["text"]]


def test_duplicates_are_dropped_from_train_alone() -> None:
    features = DatasetDict(train=concatenate_datasets([rows(), rows(30)]), test=rows(9))
    kept = select_splits(features, TASK, 0.2, 7)
    splits = select_splits(features, TASK, 0.2, 7, drop_duplicates=True)
    held_out = set(splits["validation"]["text"]) | set(splits["test"]["text"])
    assert sorted(splits["train"]["text"]) == sorted(set(kept["train"]["text"]) - held_out)
    for name in ("validation", "test"):
        assert splits[name]["text"] == kept[name]["text"]


def test_splits_without_validation() -> None:
    assert set(select_splits(DatasetDict(train=rows(), test=rows(9)), TASK, 0, 7)) == {"train", "test"}


def test_splits_are_limited() -> None:
    splits = select_splits(DatasetDict(train=rows(), test=rows(9)), TASK, 0.2, 7, limit=10)
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 10, "test": 9}


# Fractions that do not fit the data.


def of_labels(labels: list, task) -> Dataset:
    features = Features({"text": Value("string"), "label": task.label_feature})
    return Dataset.from_dict({"text": [str(n) for n in range(len(labels))], "label": labels}, features=features)


THREE = SingleLabelClassification(("분노", "슬픔", "기쁨"))


def test_a_fraction_too_small_is_answered_with_one_that_works() -> None:
    data = of_labels([0] * 100 + [1] * 100 + [2] * 7, THREE)
    with pytest.raises(UserError, match=r"holds out 0 of the 7 .* labelled 기쁨; .* Use at least 0\.08\.") as caught:
        stratified_split(data, THREE, 0.05, seed=7)
    suggested = float(str(caught.value).rsplit(" ", 1)[1].rstrip("."))
    train, validation = stratified_split(data, THREE, suggested, seed=7)
    assert (len(train), len(validation)) == (190, 17)
    with pytest.raises(UserError, match=r"Use at most 0\.92\."):
        stratified_split(data, THREE, 0.95, seed=7)


@given(st.lists(st.integers(2, 60), min_size=2, max_size=5), st.floats(0.001, 0.999))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_the_fraction_that_is_named_works(counts: list[int], fraction: float) -> None:
    task = SingleLabelClassification(tuple(f"class {number}" for number in range(len(counts))))
    data = of_labels([label for label, count in enumerate(counts) for _ in range(count)], task)
    try:
        train, validation = stratified_split(data, task, fraction, seed=7)
    except UserError as error:
        bound, named = re.search(r"Use at (least|most) ([\d.]+)\.$", str(error)).groups()
        worse = float(named) < fraction if bound == "least" else float(named) > fraction
        train, validation = (None, None) if worse else stratified_split(data, task, float(named), seed=7)
    assert set(train["label"]) == set(validation["label"]) == set(range(len(counts)))
    assert sorted(train["text"][:] + validation["text"][:]) == sorted(data["text"])


def test_a_class_of_a_single_example_is_named() -> None:
    data = of_labels([0] * 100 + [1] + [2], THREE)
    message = r"--test_fraction 0\.1: a single training example is labelled 슬픔, 기쁨; expected at least two of each"
    with pytest.raises(UserError, match=message) as caught:
        stratified_split(data, THREE, 0.1, seed=7, option="test_fraction")
    assert "--validation_fraction 0" not in str(caught.value)
    with pytest.raises(UserError, match=r"or hold none out by --validation_fraction 0\."):
        stratified_split(data, THREE, 0.1, seed=7)


def test_many_classes_of_a_single_example_are_counted() -> None:
    task = SingleLabelClassification(tuple(f"text {number}" for number in range(30)))
    with pytest.raises(UserError, match=r"text 0, .*text 9 \(and 20 more\); expected"):
        stratified_split(of_labels(list(range(30)), task), task, 0.1, seed=7)


def test_numbers_are_held_out_from_every_decile() -> None:
    task = Regression(("score",))
    labels = np.random.default_rng(0).exponential(size=400).astype(np.float32).tolist()
    train, validation = stratified_split(of_labels(labels, task), task, 0.1, seed=7)
    assert (len(train), len(validation)) == (360, 40)
    deciles = np.searchsorted(np.quantile(labels, np.arange(1, 10) / 10), validation["label"][:], side="right")
    assert np.bincount(deciles).tolist() == [4] * 10
    assert not set(train["text"]) & set(validation["text"])


@pytest.mark.parametrize(("count", "fraction", "held_out"), [(30, 0.05, 2), (11, 0.1, 1), (3, 0.5, 2), (500, 0.002, 1)])
def test_strata_of_a_few_numbers_are_merged(count: int, fraction: float, held_out: int) -> None:
    task = Regression(("score",))
    data = of_labels([float(number) for number in range(count)], task)
    train, validation = stratified_split(data, task, fraction, seed=7)
    assert (len(train), len(validation)) == (count - held_out, held_out)
    assert stratified_split(data, task, fraction, seed=7)[1]["text"][:] == validation["text"][:]


def test_numbers_of_which_none_would_be_held_out() -> None:
    task = Regression(("score",))
    with pytest.raises(UserError, match=r"holds out 0 of the 6 training examples; .* Use at least 0\.09\."):
        stratified_split(of_labels([float(number) for number in range(6)], task), task, 0.05, seed=7)


def test_rare_combinations_of_labels_are_merged() -> None:
    """슬픔 has two examples, 기쁨 one: together with those without a label they are enough to hold one out."""
    task = MultiLabelClassification(("분노", "슬픔", "기쁨"))
    labels = [[1.0, 0.0, 0.0]] * 100 + [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]] + [[0.0, 0.0, 0.0]] * 4
    train, validation = stratified_split(of_labels(labels, task), task, 0.1, seed=7)
    assert (len(train), len(validation)) == (96, 11)
    assert sum(int(text) >= 100 for text in validation["text"]) == 1


def test_a_label_of_a_single_example_joins_the_others() -> None:
    task = MultiLabelClassification(("a", "b"))
    train, validation = stratified_split(of_labels([[1.0, 0.0]] * 100 + [[1.0, 1.0]], task), task, 0.1, seed=7)
    assert (len(train), len(validation)) == (91, 10)


def test_a_rare_label_is_held_out_by_its_share() -> None:
    task = MultiLabelClassification(("a", "b"))
    labels = [[1.0, 0.0]] * 180 + [[1.0, 1.0]] * 20
    _, validation = stratified_split(of_labels(labels, task), task, 0.1, seed=7)
    assert np.asarray(validation["label"][:]).sum(axis=0).tolist() == [20, 2]


def test_the_rows_of_single_labels_are_the_same_as_ever() -> None:
    """A change would give every model trained so far another validation set."""
    _, validation = stratified_split(rows(60), TASK, 0.1, seed=7)
    assert validation["text"][:] == ["리뷰 9", "리뷰 16", "리뷰 19", "리뷰 24", "리뷰 29", "리뷰 58"]
