"""The schedule's values, by count and not by what happened before."""

import pytest
import torch

from pipeline.training.schedule import EpochwiseExponentialLR


def schedule(updates_per_epoch: int = 5, gamma: float = 0.9) -> EpochwiseExponentialLR:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 1.0}]
    return EpochwiseExponentialLR(torch.optim.Adam(groups, lr=5e-5), gamma, updates_per_epoch)


def test_the_rate_decays_once_per_epoch() -> None:
    lr = schedule()
    seen = []
    for _ in range(16):
        seen.append(lr.get_last_lr()[0])
        assert lr.optimizer.param_groups[0]["lr"] == seen[-1]  # what is logged is what is used
        lr.optimizer.step()
        lr.step()
    expected = [5e-5] * 5 + [4.5e-5] * 5 + [4.05e-5] * 5 + [3.645e-5]
    assert seen == pytest.approx(expected, rel=1e-12)


def test_each_group_decays_from_its_own_rate() -> None:
    lr = schedule(updates_per_epoch=1)
    lr.optimizer.step()
    lr.step()
    assert lr.get_last_lr() == pytest.approx([4.5e-5, 0.9])


def test_it_is_an_exponential_lr_stepped_per_epoch() -> None:
    lr, book = schedule(), torch.optim.lr_scheduler.ExponentialLR(torch.optim.Adam([torch.zeros(1)], lr=5e-5), 0.9)
    for _ in range(4):
        assert lr.get_last_lr()[0] == pytest.approx(book.get_last_lr()[0], rel=1e-12)
        for _ in range(5):
            lr.optimizer.step()
            lr.step()
        book.optimizer.step()
        book.step()


@pytest.mark.parametrize("stopped_at", [4, 5, 7, 10])
def test_resuming_anywhere_loses_nothing(stopped_at: int) -> None:
    straight, first, second = schedule(), schedule(), schedule()
    for _ in range(stopped_at):
        for lr in (straight, first):
            lr.optimizer.step()
            lr.step()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(8):
        assert second.get_last_lr() == straight.get_last_lr()
        assert second.optimizer.param_groups[0]["lr"] == straight.get_last_lr()[0]
        for lr in (straight, second):
            lr.optimizer.step()
            lr.step()


def test_a_resume_may_have_other_rates_and_epochs() -> None:
    """A checkpoint brings the step count; learning rate, gamma and updates per epoch are those of the new run."""
    first, second = schedule(), schedule(updates_per_epoch=3, gamma=0.5)
    second.base_lrs = [1e-3, 2.0]
    for _ in range(7):
        first.optimizer.step()
        first.step()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == [1e-3 * 0.25, 0.5]
    assert [group["lr"] for group in second.optimizer.param_groups] == second.get_last_lr()
