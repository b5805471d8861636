"""Rows -> one batch. The only place that knows of padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

IGNORED_LABEL = -100  # what cross-entropy leaves out (torch.nn.functional.cross_entropy, ignore_index)


@dataclass
class PaddingCollator:
    """Lay rows of token ids side by side, padded at the end.

    Attributes:
        pad_token_id: what fills up the shorter reviews.
        width: every batch this many tokens wide; None: as wide as its longest review.
    """

    pad_token_id: int
    width: int | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make one batch.

        Args:
            rows: each with `input_ids` (a sequence of int) and `label` (int).

        Returns:
            `labels` (int64, [batch]) first, since Trainer and accelerate read the batch size off the first tensor;
            `input_ids` and `attention_mask` (int64, [batch, width]). No `token_type_ids`: one segment is what models
            take for granted, and RoBERTa has only the one.
        """
        width = self.width or max(len(row["input_ids"]) for row in rows)
        input_ids = np.full((len(rows), width), self.pad_token_id, dtype=np.int64)
        attention_mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            length = len(row["input_ids"])
            input_ids[index, :length] = row["input_ids"]
            attention_mask[index, :length] = 1
        return {
            "labels": torch.tensor([row["label"] for row in rows], dtype=torch.int64),
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask),
        }


class EpochOrder(Sampler[int]):
    """The order of the training rows: a pure function of seed and epoch, whatever the number of processes.

    The last batch of an epoch is filled up with indices past the end, which `Filled` turns into rows that count for
    nothing. accelerate would fill it with rows from the epoch's beginning, seen twice (1.15, `BatchSamplerShard`).
    """

    def __init__(self, rows: int, total_batch_size: int, seed: int, shuffle: bool = True) -> None:
        self.rows, self.seed, self.shuffle, self.epoch = rows, seed, shuffle, 0
        self.total_batch_size = total_batch_size
        self.filled = -(-rows // total_batch_size) * total_batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch's order the next pass gives."""
        self.epoch = epoch

    def reviews_of(self, update: int) -> int:
        """How many rows of an epoch's update, counted from 0, are no fillers."""
        return min(self.total_batch_size, self.rows - update * self.total_batch_size)

    def __len__(self) -> int:
        return self.filled

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.filled)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order[: self.rows])
        return iter(order.tolist())


class Filled(Dataset):
    """Rows with `input_ids` and `label`, and past their end rows that count for nothing.

    Those have one token, so that attention has something to look at, and the label that the loss leaves out.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        real = [index for index in indices if index < len(self.rows)]
        read = iter(self.rows.__getitems__(real) if real else [])
        filler = {"input_ids": [0], "label": IGNORED_LABEL}
        return [next(read) if index < len(self.rows) else filler for index in indices]


def make_collator(batching: str, tokenizer: Any, max_seq_length: int, device: torch.device) -> PaddingCollator:
    """The collator that `--batching` names.

    Args:
        batching: padded, fixed, or auto: fixed where every new shape is compiled anew (XLA), padded elsewhere.
        tokenizer: whose padding token fills up.
        max_seq_length: the width of fixed batches, in tokens.
        device: what auto looks at.
    """
    fixed = batching == "fixed" or (batching == "auto" and device.type == "xla")
    return PaddingCollator(tokenizer.pad_token_id, max_seq_length if fixed else None)
