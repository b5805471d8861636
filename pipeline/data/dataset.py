"""Rows of token ids as torch datasets, and their order in training."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset, Sampler

from pipeline.tasks import IGNORE_INDEX


class EpochSampler(Sampler[int]):
    """The order of the training rows: a pure function of seed and epoch, whatever the number of processes.

    The last batch of an epoch is filled up with indices past the end, which `TokenizedDataset` turns into examples that
    count for nothing. accelerate would fill it with rows from the epoch's start, seen twice (1.15,
    `BatchSamplerShard`).
    """

    def __init__(self, num_examples: int, global_batch_size: int, seed: int, shuffle: bool = True) -> None:
        self.num_examples, self.seed, self.shuffle, self.epoch = num_examples, seed, shuffle, 0
        self.global_batch_size = global_batch_size
        self.padded_length = -(-num_examples // global_batch_size) * global_batch_size

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch whose order the next pass yields."""
        self.epoch = epoch

    def num_examples_in_update(self, update: int) -> int:
        """The number of real examples in an epoch's update, counted from 0."""
        return min(self.global_batch_size, self.num_examples - update * self.global_batch_size)

    def __len__(self) -> int:
        return self.padded_length

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.padded_length)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order[: self.num_examples])
        return iter(order.tolist())


class TokenizedDataset(Dataset):
    """Rows of token ids as NumPy views of the memory-mapped Arrow table; no Python list of integers is built.

    An index past their end is a filler that counts for nothing (see `EpochSampler`): one token, so that attention has a
    key, and a label that the loss ignores.

    Args:
        rows: with the columns `input_ids` and `label`; with or without `token_type_ids` and `window_lengths`.
        ignored_label: the label of a filler.
    """

    def __init__(self, rows: datasets.Dataset, ignored_label: Any = IGNORE_INDEX) -> None:
        self.rows, self.ignored_label = rows.with_format("arrow"), ignored_label
        filler = {
            "input_ids": np.zeros(1, dtype=np.int32),
            "token_type_ids": np.zeros(1, dtype=np.int8),
            "window_lengths": np.ones(1, dtype=np.int32),
        }
        self.filler = {name: value for name, value in filler.items() if name in rows.column_names}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), 1000):
            yield from self.__getitems__(list(range(start, min(start + 1000, len(self)))))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """One example each: `input_ids` (int32, [tokens]), `label`, and those of the other two that the rows have."""
        examples = iter(self._read([index for index in indices if index < len(self.rows)]))
        filler = {**self.filler, "label": self.ignored_label}
        return [next(examples) if index < len(self.rows) else filler for index in indices]

    def _read(self, indices: list[int]) -> list[dict[str, Any]]:
        if not indices:
            return []
        table = self.rows[indices]
        columns = [_views(table[name]) for name in self.filler]
        labels = table["label"].to_pylist()
        names = (*self.filler, "label")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, labels, strict=True)]


def _views(column: pa.ChunkedArray) -> list[np.ndarray]:
    """A column of lists as one array for each."""
    lists = column.combine_chunks()
    numbers, offsets = lists.values.to_numpy(), lists.offsets.to_numpy().tolist()
    return [numbers[start:end] for start, end in pairwise(offsets)]
