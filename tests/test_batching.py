"""Batches: every token in its place, every row once an epoch."""

from collections import Counter

import pytest
import torch

from pipeline.batching import IGNORED_LABEL, EpochOrder, Filled, PaddingCollator, make_collator

ROWS = [{"input_ids": [2, 5, 3], "label": 1}, {"input_ids": [2, 5, 6, 7, 3], "label": 0}]


@pytest.mark.parametrize(("width", "expected"), [(None, 5), (8, 8)])
def test_padding(width: int | None, expected: int) -> None:
    batch = PaddingCollator(pad_token_id=9, width=width)(ROWS)
    assert next(iter(batch)) == "labels"  # Trainer reads the batch size off the first tensor
    assert batch["labels"].tolist() == [1, 0]
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, expected)
    for row, ids, mask in zip(ROWS, batch["input_ids"], batch["attention_mask"], strict=True):
        length = len(row["input_ids"])
        assert ids.tolist() == row["input_ids"] + [9] * (expected - length)
        assert mask.tolist() == [1] * length + [0] * (expected - length)
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize(
    ("batching", "device", "width"),
    [
        ("padded", "cpu", None),
        ("fixed", "cpu", 64),
        ("auto", "cpu", None),
        ("auto", "xla", 64),
        ("padded", "xla", None),
    ],
)
def test_batching_by_name(batching: str, device: str, width: int | None) -> None:
    class Tokenizer:
        pad_token_id = 0

    assert make_collator(batching, Tokenizer(), 64, torch.device(device)).width == width


def test_every_row_once_an_epoch() -> None:
    order = EpochOrder(rows=101, total_batch_size=32, seed=7)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
    for indices in epochs:
        assert len(indices) == len(order) == 128
        assert sorted(indices[:101]) == list(range(101))
        assert indices[101:] == list(range(101, 128))  # the fillers are in the last batch and nowhere else
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(("rows", "expected"), [(101, [32, 32, 32, 5]), (64, [32, 32]), (5, [5])])
def test_the_order_knows_the_reviews_of_an_update(rows: int, expected: list[int]) -> None:
    order = EpochOrder(rows, total_batch_size=32, seed=7)
    assert [order.reviews_of(update) for update in range(len(order) // 32)] == expected
    indices = list(order)
    counted = [sum(index < rows for index in indices[start : start + 32]) for start in range(0, len(order), 32)]
    assert counted == expected


def test_order_is_a_function_of_seed_and_epoch() -> None:
    one, two = EpochOrder(100, 32, seed=7), EpochOrder(100, 8, seed=7)
    list(one)  # a pass leaves no trace
    for order in (one, two):
        order.set_epoch(5)
    assert list(one)[:100] == list(two)[:100]
    assert list(one) != list(EpochOrder(100, 32, seed=7))
    assert list(EpochOrder(100, 32, seed=8)) != list(EpochOrder(100, 32, seed=7))
    assert list(EpochOrder(100, 32, seed=7, shuffle=False)) == list(range(128))


def test_filled() -> None:
    class Rows(list):
        def __getitems__(self, indices: list[int]) -> list[dict]:
            return [self[index] for index in indices]

    rows = Filled(Rows(ROWS))
    assert len(rows) == 2
    assert rows[1] == ROWS[1]
    filled = rows.__getitems__([1, 2, 0, 3])
    assert [row["label"] for row in filled] == [0, IGNORED_LABEL, 1, IGNORED_LABEL]
    assert Counter(len(row["input_ids"]) for row in filled) == {5: 1, 3: 1, 1: 2}
    assert [row["label"] for row in rows.__getitems__([7, 8])] == [IGNORED_LABEL] * 2
