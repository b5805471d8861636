"""The book's schedule: ExponentialLR, once per epoch. Knows torch only."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR


class EpochwiseExponentialLR(ExponentialLR):
    """ExponentialLR for a caller that steps it after every update, as Trainer does.

    The learning rate after `n` updates is `base * gamma ** (n // updates_per_epoch)`: a closed form over a count, so
    that nothing accumulates and nothing is lost whenever a run is stopped and resumed. Stepped as it is, ExponentialLR
    would be at 9e-8 after 60 updates; stepped in an epoch-end callback, it loses a decay on resuming there.

    Args:
        optimizer: whose learning rates are set.
        gamma: the factor per epoch.
        updates_per_epoch: optimizer steps in an epoch, the last one of fewer batches included.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, updates_per_epoch: int) -> None:
        self.updates_per_epoch = updates_per_epoch
        super().__init__(optimizer, gamma)

    def get_lr(self) -> list[float]:
        """Learning rate of each parameter group at the present count of updates."""
        return self._get_closed_form_lr()

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.updates_per_epoch) for base in self.base_lrs]
