"""A model that reads long texts in windows: an example's logits are the mean of those of its windows."""

import functools
from typing import Any

import torch
from transformers import PreTrainedModel


def enable_windows(model: PreTrainedModel) -> None:
    """Make a classifier read batches with `windows_of_example`; other batches as before.

    Only `forward` of this instance is replaced, after `enable_packing` if the model is packed. Nothing of it is saved.
    """
    ordinary = model.forward

    @functools.wraps(ordinary)
    def forward(*args: Any, windows_of_example: torch.Tensor | None = None, **kwargs: Any) -> Any:
        outputs = ordinary(*args, **kwargs)
        if windows_of_example is not None:
            outputs.logits = mean_of_windows(outputs.logits, windows_of_example)
        return outputs

    model.forward = forward  # ty: ignore[invalid-assignment]


def mean_of_windows(logits: torch.Tensor, windows_of_example: torch.Tensor) -> torch.Tensor:
    """[windows, num_labels] -> [examples, num_labels], the mean in float32 or wider; one window is its own mean.

    Gathered, not added up by index, whose order on a GPU differs from run to run.

    Args:
        windows_of_example: [examples, most windows of an example]: rows of `logits`, then -1.
    """
    present = (windows_of_example >= 0)[..., None]
    gathered = logits[windows_of_example.clamp(min=0)].to(torch.promote_types(logits.dtype, torch.float32))
    return torch.where(present, gathered, 0).sum(dim=1) / present.sum(dim=1)
