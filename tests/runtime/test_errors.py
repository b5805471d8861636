"""`UserError`: what becomes one, and what stays a bug."""

import pytest

from pipeline.runtime.errors import UserError, as_user_error, collect_errors, disk_error_reason


def raises(error: Exception):
    def call():
        raise error

    return call


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert collect_errors(lambda: 1, lambda: 2) == [1, 2]
    with pytest.raises(UserError) as error:
        collect_errors(raises(UserError("no corpus")), lambda: 1, raises(UserError("no model")))
    assert str(error.value) == "no corpus\n\nno model"
    with pytest.raises(KeyError):
        collect_errors(raises(UserError("no corpus")), raises(KeyError("a bug")))


def test_the_named_kinds_become_user_errors() -> None:
    with (
        pytest.raises(UserError, match="--optim adafactor: a bad value"),
        as_user_error("--optim adafactor", TypeError),
    ):
        raise TypeError("a bad value")
    with pytest.raises(KeyError), as_user_error("--optim", TypeError):
        raise KeyError("a bug")


def test_a_user_error_is_not_wrapped_again() -> None:
    with pytest.raises(UserError, match=r"^--seed is -2$"), as_user_error("--optim", ValueError):  # it is a ValueError
        raise UserError("--seed is -2")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError("no number"), "no number"),
        (Exception("No space left on device (os error 28)"), "No space left on device"),  # by safetensors, tokenizers
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), "the disk is full or broken"),
        (RuntimeError("[enforce fail at inline_container.cc:664]"), "the disk is full or broken"),
        (RuntimeError("size mismatch for classifier.weight"), None),
    ],
)
def test_errors_of_the_disk_are_told_from_others(error: Exception, reason: str | None) -> None:
    assert disk_error_reason(error) == reason
