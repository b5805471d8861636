"""Batches: every token in its place, padding only where it is asked for."""

import numpy as np
import pytest
import torch

from pipeline.data.collators import PackingCollator, PaddingCollator, SequenceRuns

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


def test_an_additive_mask_hides_padding_and_nothing_else() -> None:
    batch = PaddingCollator(pad_token_id=9, width=6, additive_mask=True)(ROWS)
    mask = batch["attention_mask"]
    assert (mask.shape, mask.dtype) == ((2, 1, 1, 6), torch.float32)
    hidden = torch.finfo(torch.float32).min
    assert mask[0, 0, 0].tolist() == [0, 0, 0, hidden, hidden, hidden]
    assert mask[1, 0, 0].tolist() == [0, 0, 0, 0, 0, hidden]


def test_packing() -> None:
    rows = [*ROWS, {"input_ids": np.array([2, 9, 3], dtype=np.int32), "label": 0}]
    batch = PackingCollator()(rows)
    assert next(iter(batch)) == "labels"
    assert batch["labels"].tolist() == [1, 0, 0]  # in the order of the rows
    assert batch["input_ids"].tolist() == [[2, 5, 3, 2, 9, 3, 2, 5, 6, 7, 3]]  # by length
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]]
    assert batch["cu_seqlens"].tolist() == [0, 3, 6, 11]
    assert batch["cu_seqlens"].dtype == torch.int32  # which the kernels demand
    assert batch["row_of_label"].tolist() == [0, 2, 1]
    assert batch["layout"] == SequenceRuns(runs=((3, 2), (5, 1)))
    assert (batch["layout"].min_length, batch["layout"].max_length) == (3, 5)


def test_packing_to_a_multiple() -> None:
    batch = PackingCollator(pad_to_multiple_of=6)(ROWS)
    assert batch["input_ids"].tolist() == [[2, 5, 3, 2, 5, 6, 7, 3, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 0, 0, 0]]
    assert batch["seq_idx"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]]  # padding belongs to neither
    assert batch["cu_seqlens"].tolist() == [0, 3, 8]
    assert "layout" not in batch  # it would be compiled in
    assert PackingCollator(pad_to_multiple_of=4)(ROWS)["input_ids"].shape == (1, 8)  # which fits


def token_lists(batch: dict, name: str) -> list[list[int]]:
    """The tokens of a padded batch's rows, without padding."""
    return [tokens[mask.bool()].tolist() for tokens, mask in zip(batch[name], batch["attention_mask"], strict=True)]


PAIRS = [
    {"input_ids": [2, 5, 3, 6, 3], "token_type_ids": [0, 0, 0, 1, 1], "label": 1},
    {"input_ids": [2, 7, 3, 3], "token_type_ids": np.array([0, 0, 0, 1], dtype=np.int8), "label": 0},
]


def test_token_types_lie_beside_their_tokens() -> None:
    padded = PaddingCollator(pad_token_id=9)(PAIRS)
    assert padded["token_type_ids"].tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 0]]  # padding is of the first segment
    packed = PackingCollator(pad_to_multiple_of=10)(PAIRS)
    assert packed["input_ids"].tolist() == [[2, 7, 3, 3, 2, 5, 3, 6, 3, 0]]
    assert packed["token_type_ids"].tolist() == [[0, 0, 0, 1, 0, 0, 0, 1, 1, 0]]
    assert packed["token_type_ids"].dtype == padded["token_type_ids"].dtype == torch.int64


WINDOWS = [
    {"input_ids": [2, 5, 6, 3, 2, 7, 3], "window_lengths": [4, 3], "label": 1},
    {"input_ids": np.array([2, 8, 3], dtype=np.int32), "window_lengths": np.array([3], dtype=np.int32), "label": 0},
]


def test_windows_are_rows_of_a_padded_batch() -> None:
    batch = PaddingCollator(pad_token_id=9)(WINDOWS)
    assert next(iter(batch)) == "labels"
    assert batch["labels"].tolist() == [1, 0]  # one for each example
    assert token_lists(batch, "input_ids") == [[2, 5, 6, 3], [2, 7, 3], [2, 8, 3]]
    assert batch["windows_of_example"].tolist() == [[0, 1], [2, -1]]


def test_windows_are_sequences_of_a_packed_batch() -> None:
    batch = PackingCollator()(WINDOWS)
    assert next(iter(batch)) == "labels"
    assert batch["labels"].tolist() == [1, 0]
    assert batch["input_ids"].tolist() == [[2, 7, 3, 2, 8, 3, 2, 5, 6, 3]]
    assert batch["row_of_label"].tolist() == [2, 0, 1]  # back to the order of the examples
    assert batch["windows_of_example"].tolist() == [[0, 1], [2, -1]]
    assert batch["layout"] == SequenceRuns(runs=((3, 2), (4, 1)))


def test_windows_of_pairs_keep_their_token_types() -> None:
    pair = {
        "input_ids": [2, 5, 3, 6, 3, 2, 5, 3, 7, 3],
        "token_type_ids": [0, 0, 0, 1, 1] * 2,
        "window_lengths": [5, 5],
    }
    batch = PaddingCollator(pad_token_id=9)([{**pair, "label": 0}])
    assert token_lists(batch, "token_type_ids") == [[0, 0, 0, 1, 1]] * 2


@pytest.mark.parametrize("collate", [PaddingCollator(pad_token_id=9), PackingCollator()])
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([1, -100], torch.int64),  # a class, and that of a filler
        ([0.5, float("nan")], torch.float32),  # a number
        ([[0.0, 1.0, 1.0], [-100.0] * 3], torch.float32),  # several classes
    ],
)
def test_labels_keep_their_kind(collate: PaddingCollator | PackingCollator, labels: list, dtype: torch.dtype) -> None:
    found = collate([{**row, "label": label} for row, label in zip(ROWS, labels, strict=True)])["labels"]
    torch.testing.assert_close(found, torch.tensor(labels, dtype=dtype), equal_nan=True)
