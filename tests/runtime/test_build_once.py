"""A folder that several processes want: one builds it, whoever is killed; and no other user's is taken for it.

tests/data/test_tokenization.py starts eight builders at once, and kills one.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.runtime.build_once import build_once, default_cache_dir, trusted_folder
from pipeline.runtime.errors import UserError


def writes(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "content").write_text(text) and None


def is_valid(folder: Path) -> bool:
    return (folder / "content").exists()


def fail(folder: Path) -> None:
    pytest.fail(f"{folder} is built again")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_second_time_nothing_is_built(tmp_path: Path) -> None:
    assert build_once(tmp_path / "a" / "built", writes("first"), is_valid=is_valid)
    assert not build_once(tmp_path / "a" / "built", fail, is_valid=is_valid)
    assert (tmp_path / "a" / "built" / "content").read_text() == "first"
    assert names(tmp_path / "a") == {"built", "built.lock"}


@pytest.mark.parametrize("why", ["force", "not valid"])
def test_a_folder_is_replaced(tmp_path: Path, why: str, caplog: pytest.LogCaptureFixture) -> None:
    build_once(tmp_path / "built", writes("first"), is_valid=is_valid)
    (tmp_path / "built" / "more").write_text("of the first")
    if why == "not valid":
        (tmp_path / "built" / "content").unlink()
    time.sleep(0.01)
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert build_once(tmp_path / "built", writes("second"), is_valid=is_valid, force=why == "force")
    assert names(tmp_path / "built") == {"content"}
    assert (tmp_path / "built" / "content").read_text() == "second"
    assert names(tmp_path) == {"built", "built.lock"}
    assert f"Replacing {tmp_path / 'built'}" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_builder_that_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def build(folder: Path) -> None:
        (folder / "content").write_text("half")
        raise error

    with pytest.raises(type(error)):
        build_once(tmp_path / "built", build, is_valid=is_valid)
    assert names(tmp_path) == {"built.lock"}


def test_a_dead_builders_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "built.tmp-99999").mkdir()
    build_once(tmp_path / "built", writes("first"), is_valid=is_valid)
    assert names(tmp_path) == {"built", "built.lock"}


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: \w.*--cache_dir"):
        build_once(tmp_path / "file" / "built", writes("first"), is_valid=is_valid)
    (tmp_path / "it.lock").mkdir()
    with pytest.raises(UserError, match="--cache_dir"):
        build_once(tmp_path / "it", writes("first"), is_valid=is_valid)


def test_nobody_else_can_write_in_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        build_once(tmp_path / "built", writes("first"), is_valid=is_valid)
    finally:
        os.umask(before)
    assert not [path for path in (tmp_path / "built", tmp_path / "built" / "content") if path.stat().st_mode & 0o022]
    assert trusted_folder(tmp_path / "built") == tmp_path / "built"


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_once(tmp_path / "built", writes("first"), is_valid=is_valid)
    (tmp_path / "built" / "content").chmod(0o666)
    own = tmp_path / f"built-uid{os.getuid()}"
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert trusted_folder(tmp_path / "built") == own
    assert f"Not trusting {tmp_path / 'built'}" in caplog.text
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(UserError, match="--cache_dir"):
        trusted_folder(tmp_path / "built")


def test_the_cache_is_that_of_datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path / "nsmc-pipeline"
    monkeypatch.setenv("HF_DATASETS_CACHE", "~/datasets")
    assert default_cache_dir() == Path.home() / "datasets" / "nsmc-pipeline"
