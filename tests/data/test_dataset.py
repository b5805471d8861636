"""Rows and their order: every row once an epoch, whatever the number of processes."""

import datasets
import numpy as np
import pytest

from pipeline.data.dataset import EpochSampler, TokenizedDataset
from pipeline.tasks import IGNORE_INDEX

ROWS = [{"input_ids": [2, 5, 3], "label": 1}, {"input_ids": [2, 5, 6, 7, 3], "label": 0}]


def order_of(sampler: EpochSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_row_once_an_epoch() -> None:
    sampler = EpochSampler(101, global_batch_size=32, seed=7)
    epochs = [order_of(sampler, epoch) for epoch in range(3)]
    for indices in epochs:
        assert len(indices) == len(sampler) == 128
        assert sorted(indices[:101]) == list(range(101))
        assert indices[101:] == list(range(101, 128))  # fillers, in the last batch and nowhere else
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(("num_examples", "expected"), [(101, [32, 32, 32, 5]), (64, [32, 32]), (5, [5])])
def test_the_number_of_examples_of_an_update(num_examples: int, expected: list[int]) -> None:
    sampler = EpochSampler(num_examples, global_batch_size=32, seed=7)
    assert [sampler.num_examples_in_update(update) for update in range(len(sampler) // 32)] == expected
    indices = list(sampler)
    counted = [
        sum(index < num_examples for index in indices[start : start + 32]) for start in range(0, len(indices), 32)
    ]
    assert counted == expected


def test_order_is_a_function_of_seed_and_epoch() -> None:
    one, two = EpochSampler(100, 32, seed=7), EpochSampler(100, 8, seed=7)
    list(one)  # a pass leaves no trace
    assert order_of(one, 5)[:100] == order_of(two, 5)[:100]
    assert order_of(one, 5) != order_of(one, 0)


def test_no_two_seeds_share_an_order() -> None:
    """As they would if rows were shuffled by `seed + epoch`."""
    orders = {tuple(order_of(EpochSampler(100, 32, seed), epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_the_order_is_a_known_one() -> None:
    """A checkpoint of an earlier version is resumed with the same rows."""
    assert order_of(EpochSampler(8, 4, seed=7), 1) == np.random.default_rng((7, 1)).permutation(8).tolist()


def test_order_without_shuffling() -> None:
    assert order_of(EpochSampler(100, 32, seed=7, shuffle=False), 3) == list(range(128))


def test_rows_are_read_by_index() -> None:
    rows = TokenizedDataset(datasets.Dataset.from_list(ROWS).select([1, 0, 1]))  # through a list of indices
    assert len(rows) == 3
    assert rows[2]["input_ids"].tolist() == [2, 5, 6, 7, 3]
    assert [row["label"] for row in rows] == [0, 1, 0]  # without fillers, as length grouping reads them
    assert [(row["label"], row["input_ids"].tolist()) for row in rows.__getitems__([1, 0])] == [
        (1, [2, 5, 3]),
        (0, [2, 5, 6, 7, 3]),
    ]


def test_an_index_past_the_end_is_a_filler() -> None:
    rows = TokenizedDataset(datasets.Dataset.from_list(ROWS))
    filled = rows.__getitems__([1, 7, 0, 2])
    assert [row["label"] for row in filled] == [0, IGNORE_INDEX, 1, IGNORE_INDEX]
    assert [len(row["input_ids"]) for row in filled] == [5, 1, 3, 1]  # attention needs a key
    assert [row["label"] for row in rows.__getitems__([7, 8])] == [IGNORE_INDEX] * 2
    assert TokenizedDataset(rows.rows, ignored_label=[0.5])[2]["label"] == [0.5]  # another kind of task has others


def test_pairs_and_windows_are_read_with_their_tokens() -> None:
    columns = {
        "input_ids": [[2, 5, 3, 2, 6, 3], [2, 7, 3]],
        "token_type_ids": [[0, 0, 1, 0, 0, 1], [0, 0, 1]],
        "window_lengths": [[3, 3], [3]],
        "label": [[0.0, 1.0], [1.0, 1.0]],
    }
    rows = TokenizedDataset(
        datasets.Dataset.from_dict({**columns, "text": ["가 나", "다"]}), ignored_label=[-100.0] * 2
    )
    second, filler, first = rows.__getitems__([1, 2, 0])
    for index, row in enumerate((first, second)):
        assert {name: np.asarray(value).tolist() for name, value in row.items()} == {
            name: values[index] for name, values in columns.items()
        }
    filler_lists = {name: np.asarray(value).tolist() for name, value in filler.items()}
    assert filler_lists == {
        "input_ids": [0],
        "token_type_ids": [0],
        "window_lengths": [1],
        "label": [-100.0, -100.0],
    }
