"""`UserError`, the one exception a user can cause. Any other exception is a bug and keeps its traceback."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(ValueError):
    """A mistake the user can fix. The text says what was found, what was expected and what to do."""


def collect_errors(*calls: Callable[[], Any]) -> list[Any]:
    """Call each function and return the results. Raises one `UserError` with the texts of all that were raised.

    A machine without a network lacks both the corpus and the model: one run should say so for both.
    """
    results, errors = [], []
    for call in calls:
        try:
            results.append(call())
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n\n".join(errors))
    return results


@contextmanager
def as_user_error(prefix: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn exceptions of these kinds into a `UserError` that starts with `prefix`, such as the option's name."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{prefix}: {error}") from error


def disk_error_reason(error: Exception) -> str | None:
    """Why writing a file failed, or None if the error is not about the disk.

    torch, safetensors and tokenizers wrap the system's error in exceptions of their own (torch 2.13, tokenizers 0.23).
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return os.strerror(int(found[1]))
    if any(word in str(error) for word in ("PytorchStreamWriter", "file write failed", "inline_container")):
        return "the disk is full or broken"
    return None
