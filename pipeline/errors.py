"""The one error that a user can cause; every other exception is a fault of ours and keeps its traceback."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(ValueError):
    """Something the user can mend. Its text says what was found, what was expected and what to do."""


def call_all(*calls: Callable[[], Any]) -> list[Any]:
    """Call each in turn and return the results; if any raise `UserError`, raise one that has all their texts.

    A machine without a network lacks the corpus and the model: it should say so once, not on two runs.
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
def blamed_on(options: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into a `UserError` that names the options they come from."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{options}: {error}") from error


def disk_trouble(error: Exception) -> str | None:
    """What a writer of files found wrong with the disk, or None if the error is of another kind.

    torch, safetensors and tokenizers hide the system's error in exceptions of their own (torch 2.13, tokenizers 0.23).
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return os.strerror(int(found[1]))
    if any(word in str(error) for word in ("PytorchStreamWriter", "file write failed", "inline_container")):
        return "the disk is full or broken"
    return None
