"""The one error that a user can cause; every other exception is a fault of ours and keeps its traceback."""

from collections.abc import Callable
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
