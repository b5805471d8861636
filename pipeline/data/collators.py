"""Examples -> one batch. The only place that knows of padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


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
            examples: each with `input_ids` (a sequence of int) and `label` (int).

        Returns:
            `labels` (int64, [batch]) first, since Trainer and accelerate read the batch size off the first tensor;
            `input_ids` (int64, [batch, width]); `attention_mask` (int64, [batch, width]; or float32,
            [batch, 1, 1, width], if additive). No `token_type_ids`: models default to one segment, and RoBERTa has
            only one.
        """
        width = self.width or max(len(example["input_ids"]) for example in examples)
        input_ids = np.full((len(examples), width), self.pad_token_id, dtype=np.int64)
        attention_mask = np.zeros((len(examples), width), dtype=np.int64)
        for row, example in enumerate(examples):
            length = len(example["input_ids"])
            input_ids[row, :length] = example["input_ids"]
            attention_mask[row, :length] = 1
        mask = torch.from_numpy(attention_mask)
        if self.additive_mask:
            mask = (1 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        return {
            "labels": torch.tensor([example["label"] for example in examples], dtype=torch.int64),
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": mask,
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
            examples: each with `input_ids` (a sequence of int) and `label` (int).

        Returns:
            `labels` (int64, [examples]) first, as in a padded batch and in the order of `examples`; `input_ids` and
            `position_ids` (int64, [1, tokens]; positions restart at 0); `cu_seqlens` (int32, [examples + 1]: cumulative
            lengths); `row_of_label` (int64, [examples]: which sequence of the row each label belongs to). Sequences
            are sorted by length, shortest first, so that those of equal length are neighbors. Then `layout`
            (`SequenceRuns`), which differs from batch to batch; or, with `pad_to_multiple_of`, `seq_idx` (int32,
            [1, tokens]: the sequence that each token belongs to; padding gets the number of sequences).
        """
        lengths = np.array([len(example["input_ids"]) for example in examples])
        order = np.argsort(lengths, kind="stable")
        cu_seqlens = np.concatenate([[0], np.cumsum(lengths[order])])
        input_ids = np.concatenate([examples[index]["input_ids"] for index in order])
        position_ids = np.arange(len(input_ids)) - np.repeat(cu_seqlens[:-1], lengths[order])
        padding = -len(input_ids) % self.pad_to_multiple_of if self.pad_to_multiple_of else 0
        batch: dict[str, Any] = {
            "labels": torch.tensor([example["label"] for example in examples], dtype=torch.int64),
            "input_ids": _one_row(input_ids, padding),
            "position_ids": _one_row(position_ids, padding),
            "cu_seqlens": torch.from_numpy(cu_seqlens.astype(np.int32)),
            "row_of_label": torch.from_numpy(np.argsort(order)),
        }
        if self.pad_to_multiple_of:
            seq_idx = np.repeat(np.arange(len(examples)), lengths[order])
            batch["seq_idx"] = _one_row(seq_idx, padding, len(examples)).int()
        else:
            distinct, counts = np.unique(lengths, return_counts=True)
            batch["layout"] = SequenceRuns(tuple(zip(distinct.tolist(), counts.tolist(), strict=True)))
        return batch


def _one_row(numbers: np.ndarray, padding: int, value: int = 0) -> torch.Tensor:
    """[tokens] -> int64, [1, tokens + padding]."""
    return torch.from_numpy(np.pad(numbers.astype(np.int64), (0, padding), constant_values=value)).unsqueeze(0)
