"""Examples -> one batch. The only place that knows of padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TOKEN_LISTS = ("input_ids", "token_type_ids")  # of an example, one number a token


@dataclass(frozen=True)
class SequenceRuns:
    """Lengths of the sequences in a packed row, as far as the host must know them.

    Attributes:
        runs: (length in tokens, number of sequences) of each run of sequences of equal length, shortest first.
    """

    runs: tuple[tuple[int, int], ...]

    @property
    def min_length(self) -> int:
        """Length of the shortest sequence in tokens."""
        return self.runs[0][0]

    @property
    def max_length(self) -> int:
        """Length of the longest sequence in tokens."""
        return self.runs[-1][0]


@dataclass
class PaddingCollator:
    """Stack examples as rows, padded at the end.

    Attributes:
        pad_token_id: fills up the shorter rows.
        width: the width of every batch in tokens; None: the length of its longest example.
        additive_mask: give the mask as attention adds it. From a mask of two dimensions models make it after looking
            at its values: none where nothing is padded (transformers 5.23, masking_utils.py). On XLA that look costs a
            transfer to the host at every step, and replicas with and without padding would run different programs.
    """

    pad_token_id: int
    width: int | None = None
    additive_mask: bool = False

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Build one batch.

        Args:
            examples: each with `input_ids` (a sequence of int) and `label` (int, float, or a list of float); pairs with
                `token_type_ids` where the model reads them; long texts in windows with `window_lengths`, of windows
                that lie end to end in the other two.

        Returns:
            `labels` (int64 or float32, [batch, ...]) first, since Trainer and accelerate read the batch size off the
            first tensor; `input_ids` (int64, [batch, width]); `attention_mask` (int64, [batch, width]; or float32,
            [batch, 1, 1, width], if additive); `token_type_ids` (int64, [batch, width]) if the examples have them:
            models default to one segment. With windows the rows are windows, and `windows_of_example` (int64, [batch,
            most windows of an example]) has the rows of each example, then -1.
        """
        sequences = _split_windows(examples)
        width = self.width or max(len(sequence["input_ids"]) for sequence in sequences)
        shape = len(sequences), width
        batch = {name: np.zeros(shape, dtype=np.int64) for name in TOKEN_LISTS if name in sequences[0]}
        batch["input_ids"][:] = self.pad_token_id
        attention_mask = np.zeros(shape, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            length = len(sequence["input_ids"])
            attention_mask[row, :length] = 1
            for name, tokens in batch.items():
                tokens[row, :length] = sequence[name]
        mask = torch.from_numpy(attention_mask)
        if self.additive_mask:
            mask = (1 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        return {
            "labels": _labels(examples),
            **{name: torch.from_numpy(tokens) for name, tokens in batch.items()},
            "attention_mask": mask,
            **_windows_of_example(examples),
        }


@dataclass
class PackingCollator:
    """Concatenate examples into one row, without padding. For a model prepared by `enable_packing`.

    Attributes:
        pad_to_multiple_of: pad the row to a multiple of so many tokens, for programs that are compiled by shape
            (`--torch_compile`, CUDA graphs): few lengths then occur. None: no padding.
    """

    pad_to_multiple_of: int | None = None

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Build one batch.

        Args:
            examples: as for `PaddingCollator`.

        Returns:
            `labels` (int64 or float32, [examples, ...]) first, as in a padded batch and in the order of `examples`;
            `input_ids`, `position_ids` (int64, [1, tokens]; positions restart at 0) and, if the examples have them,
            `token_type_ids`; `cu_seqlens` (int32, [examples + 1]: cumulative lengths); `row_of_label` (int64,
            [examples]: which sequence of the row each label belongs to). Sequences are sorted by length, shortest
            first, so that those of equal length are neighbors. Then `layout` (`SequenceRuns`), which differs from batch
            to batch; or, with `pad_to_multiple_of`, `seq_idx` (int32, [1, tokens]: the sequence that each token belongs
            to; padding gets the number of sequences). With windows a sequence is a window, `row_of_label` has an entry
            for each of them, in the order of `examples`, and `windows_of_example` is that of a padded batch.
        """
        sequences = _split_windows(examples)
        lengths = np.array([len(sequence["input_ids"]) for sequence in sequences])
        order = np.argsort(lengths, kind="stable")
        cu_seqlens = np.concatenate([[0], np.cumsum(lengths[order])])
        tokens = {
            name: np.concatenate([sequences[index][name] for index in order])
            for name in TOKEN_LISTS
            if name in sequences[0]
        }
        position_ids = np.arange(cu_seqlens[-1]) - np.repeat(cu_seqlens[:-1], lengths[order])
        padding = -int(cu_seqlens[-1]) % self.pad_to_multiple_of if self.pad_to_multiple_of else 0
        batch: dict[str, Any] = {
            "labels": _labels(examples),
            **{name: _one_row(numbers, padding) for name, numbers in tokens.items()},
            "position_ids": _one_row(position_ids, padding),
            "cu_seqlens": torch.from_numpy(cu_seqlens.astype(np.int32)),
            "row_of_label": torch.from_numpy(np.argsort(order)),
            **_windows_of_example(examples),
        }
        if self.pad_to_multiple_of:
            seq_idx = np.repeat(np.arange(len(sequences)), lengths[order])
            batch["seq_idx"] = _one_row(seq_idx, padding, len(sequences)).int()
        else:
            distinct, counts = np.unique(lengths, return_counts=True)
            batch["layout"] = SequenceRuns(tuple(zip(distinct.tolist(), counts.tolist(), strict=True)))
        return batch


def _labels(examples: Sequence[dict[str, Any]]) -> torch.Tensor:
    """int64 of integers, float32 of numbers and of lists of numbers."""
    return torch.tensor([example["label"] for example in examples])


def _split_windows(examples: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The token lists of each window; of each example where texts are not read in windows."""
    if "window_lengths" not in examples[0]:
        return examples
    windows = []
    for example in examples:
        ends = np.cumsum(example["window_lengths"])
        lists = {name: np.asarray(example[name]) for name in TOKEN_LISTS if name in example}
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            windows.append({name: tokens[start:end] for name, tokens in lists.items()})
    return windows


def _windows_of_example(examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    if "window_lengths" not in examples[0]:
        return {}
    counts = np.array([len(example["window_lengths"]) for example in examples])
    rows = np.arange(counts.max()) + (np.cumsum(counts) - counts)[:, None]
    rows[np.arange(counts.max()) >= counts[:, None]] = -1
    return {"windows_of_example": torch.from_numpy(rows)}


def _one_row(numbers: np.ndarray, padding: int, value: int = 0) -> torch.Tensor:
    """[tokens] -> int64, [1, tokens + padding]."""
    return torch.from_numpy(np.pad(numbers.astype(np.int64), (0, padding), constant_values=value)).unsqueeze(0)
