"""Rows -> one batch. The only place that knows of padding."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel

from pipeline.packing import Layout, accept_packed, can_pack

logger = logging.getLogger(__name__)

MULTIPLE = 64  # tokens that packed rows of compiled models are filled up to; 32 reviews of NSMC have 627 on average
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


@dataclass
class PackingCollator:
    """Lay rows of token ids end to end in one row: no padding. For a model that went through `accept_packed`.

    Attributes:
        multiple: fill the row up to a multiple of so many tokens, for programs that are compiled for their shapes
            (`--torch_compile`, CUDA graphs): few lengths then occur. None: no fillers.
    """

    multiple: int | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make one batch.

        Args:
            rows: each with `input_ids` (a sequence of int) and `label` (int).

        Returns:
            `labels` (int64, [reviews]) first, as in a padded batch and in the order of `rows`; `input_ids` and
            `position_ids` (int64, [1, tokens]; positions of each review from 0); `boundaries` (int32, [reviews + 1]:
            where each review begins, and the end); `places` (int64, [reviews]: which of the reviews as they lie is the
            one of each label). Reviews lie by length, shortest first, so that those of equal length are neighbours.
            Then `layout` (`pipeline.packing.Layout`), which differs from batch to batch; or, with `multiple`,
            `segment_ids` (int32, [1, tokens]: which of the reviews as they lie each token is of, fillers of none).
        """
        lengths = np.array([len(row["input_ids"]) for row in rows])
        order = np.argsort(lengths, kind="stable")
        boundaries = np.concatenate([[0], np.cumsum(lengths[order])])
        input_ids = np.concatenate([rows[index]["input_ids"] for index in order])
        position_ids = np.arange(len(input_ids)) - np.repeat(boundaries[:-1], lengths[order])
        fillers = -len(input_ids) % self.multiple if self.multiple else 0
        batch = {
            "labels": torch.tensor([row["label"] for row in rows], dtype=torch.int64),
            "input_ids": _one_row(input_ids, fillers),
            "position_ids": _one_row(position_ids, fillers),
            "boundaries": torch.from_numpy(boundaries.astype(np.int32)),
            "places": torch.from_numpy(np.argsort(order)),
        }
        if self.multiple:
            segment_ids = np.repeat(np.arange(len(rows)), lengths[order])
            batch["segment_ids"] = _one_row(segment_ids, fillers, len(rows)).int()
        else:
            distinct, counts = np.unique(lengths, return_counts=True)
            batch["layout"] = Layout(tuple(zip(distinct.tolist(), counts.tolist(), strict=True)))
        return batch


def _one_row(numbers: np.ndarray, fillers: int, filler: int = 0) -> torch.Tensor:
    """[tokens] -> int64, [1, tokens + fillers]."""
    return torch.from_numpy(np.pad(numbers.astype(np.int64), (0, fillers), constant_values=filler)).unsqueeze(0)


class EpochOrder(Sampler[int]):
    """The order of the training rows: a pure function of seed and epoch, whatever the number of processes.

    The last batch of an epoch is filled up with indices past the end, which `TokenRows` turns into rows that count for
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


class TokenRows(Dataset):
    """Rows of token ids as NumPy views of the memory-mapped Arrow table: no list of Python's integers is ever made.

    Past their end there are rows that count for nothing (see `EpochOrder`). Those have one token, so that attention
    has something to look at, and the label that the loss leaves out.

    Args:
        rows: with the columns `input_ids` and `label`.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows.with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self), 1000):
            yield from self.__getitems__(list(range(start, min(start + 1000, len(self)))))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """One row each: `input_ids` (int32, [tokens]) and `label` (int)."""
        read = iter(self._read([index for index in indices if index < len(self.rows)]))
        filler = {"input_ids": np.zeros(1, dtype=np.int32), "label": IGNORED_LABEL}
        return [next(read) if index < len(self.rows) else filler for index in indices]

    def _read(self, indices: list[int]) -> list[dict[str, Any]]:
        if not indices:
            return []
        table = self.rows[indices]
        column = table["input_ids"].combine_chunks()
        tokens = column.values.to_numpy()
        ends = column.offsets.to_numpy().tolist()
        labels = table["label"].to_pylist()
        return [
            {"input_ids": tokens[start:end], "label": label}
            for start, end, label in zip(ends, ends[1:], labels, strict=False)
        ]


def make_collator(
    batching: str, model: PreTrainedModel, tokenizer: Any, max_seq_length: int, args: transformers.TrainingArguments
) -> PaddingCollator | PackingCollator:
    """The collator that `--batching` names, and a model that reads its batches.

    Args:
        batching: packed, padded, fixed, or auto: fixed where every new shape is compiled anew (XLA), else packed where
            the model can be packed, else padded. What cannot be had is said and replaced in the same way.
        model: is made to read packed batches where they will be.
        tokenizer: whose padding token fills up.
        max_seq_length: the width of fixed batches, in tokens.
        args: what device it is on. One process that feeds several GPUs cuts batches up, which a packed one is not fit
            for: `accelerate launch` starts a process for each.
    """
    xla = args.device.type == "xla"
    obstacles = {
        "an XLA device": xla,
        f"{args.n_gpu} GPUs in one process": args.n_gpu > 1,
        type(model).__name__: not can_pack(model),
        "--neftune_noise_alpha": args.neftune_noise_alpha is not None,  # whose noise goes by the width of a batch
    }
    obstacle = next((name for name, there in obstacles.items() if there), None)
    if batching == "packed" and obstacle:
        logger.warning("--batching packed is not to be had for %s; using %s.", obstacle, "fixed" if xla else "padded")
    if batching in ("auto", "packed") and not obstacle:
        accept_packed(model)
        return PackingCollator(MULTIPLE if args.torch_compile else None)
    fixed = batching == "fixed" or (xla and batching != "padded")
    return PaddingCollator(tokenizer.pad_token_id, max_seq_length if fixed else None)
