"""The book's schedule: ExponentialLR, once per epoch."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR


class EpochwiseExponentialLR(ExponentialLR):
    """ExponentialLR for a caller that steps it after every update, as Trainer does.

    The learning rate after `n` updates is `base * gamma ** (n // updates_per_epoch)`, a function of the step count
    alone, so that a resume loses nothing. A plain ExponentialLR stepped per update is at 9e-8 after 60 updates; stepped
    in an epoch-end callback, it loses a decay on a resume there.

    Args:
        optimizer: its learning rates are set.
        gamma: the factor per epoch.
        updates_per_epoch: optimizer steps in an epoch, the last one of fewer batches included.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, updates_per_epoch: int) -> None:
        self.updates_per_epoch = updates_per_epoch
        super().__init__(optimizer, gamma)

    def get_lr(self) -> list[Any]:
        """Learning rate of each parameter group at the current step."""
        return [base * self.gamma ** (self.last_epoch // self.updates_per_epoch) for base in self.base_lrs]

    get_last_lr = get_lr

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step count alone: a resume may have another learning rate, gamma or number of updates per epoch.

        Call it after the optimizer's own, whose learning rates it sets.
        """
        given = ("base_lrs", "gamma", "updates_per_epoch")
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in given})
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
