"""What this project takes from libraries beyond their promised API, and what to do when a release changes it.

`hook` marks a method that replaces one of a library, `DEPENDENCIES` lists functions whose bodies our code relies on.
Each has a reason, the condition under which it can go, and digests of the sources that were read.
tests/training/test_hf_hooks.py compares these with the installed libraries, and fails with one message that names every
hook whose source has changed.
"""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable)


@dataclass(frozen=True)
class Hook:
    """A function or class of a library that this project replaces or relies on.

    Attributes:
        target: its full name.
        used_in: our module and function.
        reason: why it is replaced, or what is relied on.
        remove_when: the condition under which the hook can go.
        digests: of its source (`source_digest`), by the versions of the library that were read.
    """

    target: str
    used_in: str
    reason: str
    remove_when: str
    digests: dict[str, str]


HOOKS: list[Hook] = []


def hook(target: str, *, reason: str, remove_when: str, digests: dict[str, str]) -> Callable[[Function], Function]:
    """Record that the decorated function replaces `target`."""

    def record(function: Function) -> Function:
        HOOKS.append(Hook(target, f"{function.__module__}.{function.__qualname__}", reason, remove_when, digests))
        return function

    return record


def find_source(target: str) -> Any:
    """The function or class of this name.

    Raises:
        AttributeError, ModuleNotFoundError: there is none any more.
    """
    names = target.split(".")
    for length in range(len(names) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            if length == 1:
                raise
            continue
        for name in names[length:]:
            found = getattr(found, name)
        return inspect.unwrap(found) if callable(found) else found
    raise ModuleNotFoundError(target)


def source_digest(target: str) -> str:
    """The first 12 hex digits of the SHA-256 of a function's or class's source.

    Raises:
        AttributeError, ModuleNotFoundError: there is none any more.
    """
    return hashlib.sha256(inspect.getsource(find_source(target)).encode()).hexdigest()[:12]


def describe_changes(hooks: Iterable[Hook]) -> str:
    """What has changed in the installed libraries, hook by hook, and what to do; empty if nothing has.

    A source counts as known if its digest is that of any version that was read.
    """
    changes = []
    for each in hooks:
        library = each.target.split(".")[0]
        installed, read = version(library), ", ".join(each.digests)
        try:
            digest, file = source_digest(each.target), inspect.getsourcefile(find_source(each.target))
        except (AttributeError, ModuleNotFoundError):
            what = f"is gone in {library} {installed}"
            to_do = f"find what took its place since {library} {read}, and change or remove the hook."
        else:
            if digest in each.digests.values():
                continue
            what = f"has changed in {library} {installed} ({file})"
            to_do = (
                f"compare it with {library} {read}, mend the hook if need be, "
                f'and add "{installed}": "{digest}" to its digests.'
            )
        changes.append(
            f"{each.target} {what}\n"
            f"  used in:     {each.used_in}\n"
            f"  reason:      {each.reason}\n"
            f"  can go when: {each.remove_when}\n"
            f"  to do:       {to_do}"
        )
    return "\n\n".join(changes)
