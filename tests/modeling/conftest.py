"""A small model in a folder, for tests of its files and of what is loaded from them."""

import shutil
from pathlib import Path

import pytest
import torch
from support import TASK

from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model


@pytest.fixture(scope="module")
def saved(quickstart: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with weights in a folder."""
    folder = shutil.copytree(quickstart[1], tmp_path_factory.mktemp("saved") / "model")
    torch.manual_seed(0)
    load_model(fetch_model(str(folder), weights=False), TASK).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test that changes it."""
    return shutil.copytree(saved, tmp_path / "model")
