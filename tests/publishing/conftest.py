"""A finished run, and a Hub to push it to."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support import runs
from support.hub import TOKEN, Hub


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`runs.make_run` for a folder whose name has a space."""
    return partial(runs.make_run, tmp_path / "a run")


@pytest.fixture
def run_dir(make_run: Callable[..., Path]) -> Path:
    return make_run()


@pytest.fixture
def hub() -> Iterator[Hub]:
    tokens = {
        TOKEN: {"name": "me", "role": "write", "orgs": ["team"]},
        "hf_reader": {"name": "me", "role": "read"},
        "hf_fine_grained": {"name": "me", "role": "fineGrained"},
    }
    with Hub(tokens) as hub:
        yield hub
        assert hub.unknown == []
