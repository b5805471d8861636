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
