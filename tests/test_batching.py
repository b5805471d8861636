"""Batches: every token in its place, every row once an epoch."""

import logging
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from conftest import small_classifier as small

from pipeline.batching import (
    IGNORED_LABEL,
    EpochOrder,
    PackingCollator,
    PaddingCollator,
    TokenRows,
    make_collator,
)
from pipeline.packing import Layout

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


def test_packing() -> None:
    rows = [*ROWS, {"input_ids": np.array([2, 9, 3], dtype=np.int32), "label": 0}]
    batch = PackingCollator()(rows)
    assert next(iter(batch)) == "labels"
    assert batch["labels"].tolist() == [1, 0, 0]  # in the order of the rows
    assert batch["input_ids"].tolist() == [[2, 5, 3, 2, 9, 3, 2, 5, 6, 7, 3]]  # by length
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch["boundaries"].tolist() == [0, 3, 6, 11]
    assert batch["places"].tolist() == [0, 2, 1]
    assert batch["layout"] == Layout(runs=((3, 2), (5, 1)))
    assert batch["layout"].longest == 5


def test_packing_to_a_multiple() -> None:
    batch = PackingCollator(multiple=6)(ROWS)
    assert batch["input_ids"].tolist() == [[2, 5, 3, 2, 5, 6, 7, 3, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]]  # the fillers are of neither
    assert batch["boundaries"].tolist() == [0, 3, 8]
    assert "layout" not in batch  # it would be compiled in
    assert PackingCollator(multiple=4)(ROWS)["input_ids"].shape == (1, 8)  # which fits


class Tokenizer:
    pad_token_id = 0


def arguments(device: str = "cpu", n_gpu: int = 0, torch_compile: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        device=torch.device(device), n_gpu=n_gpu, torch_compile=torch_compile, neftune_noise_alpha=None
    )


@pytest.mark.parametrize(
    ("batching", "device", "n_gpu", "expected"),
    [
        ("padded", "cpu", 0, None),
        ("fixed", "cpu", 0, 64),
        ("packed", "cpu", 0, "packed"),
        ("auto", "cpu", 0, "packed"),
        ("auto", "cuda", 1, "packed"),
        ("auto", "cuda", 2, None),  # nn.DataParallel
        ("auto", "xla", 0, 64),
        ("padded", "xla", 0, None),
    ],
)
def test_batching_by_name(batching: str, device: str, n_gpu: int, expected: int | str | None) -> None:
    collator = make_collator(batching, small("Bert"), Tokenizer(), 64, arguments(device, n_gpu))
    assert getattr(collator, "width", "packed") == expected


def test_noise_that_goes_by_the_width_of_a_batch_is_not_packed() -> None:
    args = arguments()
    args.neftune_noise_alpha = 5.0
    assert make_collator("auto", small("Bert"), Tokenizer(), 64, args) == PaddingCollator(pad_token_id=0)


@pytest.mark.parametrize(("compiled", "multiple"), [(False, None), (True, 64)])
def test_only_what_is_compiled_is_filled_up(compiled: bool, multiple: int | None) -> None:
    collator = make_collator("auto", small("Bert"), Tokenizer(), 64, arguments(torch_compile=compiled))
    assert collator == PackingCollator(multiple)


@pytest.mark.parametrize(
    ("kind", "device", "n_gpu", "width", "reason"),
    [
        ("Bert", "xla", 0, 64, "XLA device; using fixed"),
        ("Bert", "cuda", 2, None, "2 GPUs in one process; using padded"),
        ("DistilBert", "cpu", 0, None, "DistilBertForSequenceClassification; using padded"),
    ],
)
def test_what_cannot_be_packed_is_said(
    kind: str, device: str, n_gpu: int, width: int | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pipeline"):
        collator = make_collator("packed", small(kind), Tokenizer(), 64, arguments(device, n_gpu))
    assert collator.width == width
    assert reason in caplog.text


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


def test_token_rows() -> None:
    rows = TokenRows(datasets.Dataset.from_list(ROWS).select([1, 0, 1]))  # through a list of indices
    assert len(rows) == 3
    filled = rows.__getitems__([1, 7, 0, 3])
    assert [row["label"] for row in filled] == [1, IGNORED_LABEL, 0, IGNORED_LABEL]
    assert [row["input_ids"].tolist() for row in filled] == [[2, 5, 3], [0], [2, 5, 6, 7, 3], [0]]
    assert rows[2]["input_ids"].tolist() == [2, 5, 6, 7, 3]
    assert [row["label"] for row in rows] == [0, 1, 0]  # those that are there, as length grouping reads them
    assert [row["label"] for row in rows.__getitems__([7, 8])] == [IGNORED_LABEL] * 2
