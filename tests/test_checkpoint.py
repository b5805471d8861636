"""Resuming: from a whole checkpoint only; and an earlier run is neither mixed in nor lost."""

import logging
from pathlib import Path

import pytest

from pipeline.checkpoint import checkpoint_to_resume, make_room
from pipeline.errors import UserError

FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


def checkpoint(run: Path, step: int, without: str | None = None) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in FILES:
        if name != without:
            (folder / name).write_text("")
    return folder


def test_auto_takes_the_newest(tmp_path: Path) -> None:
    checkpoint(tmp_path, 900)
    newest = checkpoint(tmp_path, 1000)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoint_to_resume(tmp_path, "auto") == str(newest)


@pytest.mark.parametrize("missing", FILES)
def test_incomplete_ones_are_passed_over_and_named(
    tmp_path: Path, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = checkpoint(tmp_path, 5)
    cut = checkpoint(tmp_path, 10, without=missing)
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert checkpoint_to_resume(tmp_path, "auto") == str(whole)
    assert str(cut) in caplog.text
    assert missing in caplog.text


def test_one_that_is_named_must_be_whole(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path, str(checkpoint(tmp_path, 5))) == str(tmp_path / "checkpoint-5")
    with pytest.raises(UserError, match=r"optimizer.pt is missing"):
        checkpoint_to_resume(tmp_path, str(checkpoint(tmp_path, 6, without="optimizer.pt")))
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint_to_resume(tmp_path, str(tmp_path / "nowhere"))


def test_auto_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path / "not there yet", "auto") is None
    assert checkpoint_to_resume(tmp_path, None) is None


def test_an_earlier_run_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5)
    with pytest.raises(UserError, match=r"unfinished run \(checkpoint-5\)(.|\n)*--resume_from_checkpoint auto"):
        make_room(tmp_path, resuming=False, overwrite=False)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="a finished run"):
        make_room(tmp_path, resuming=False, overwrite=False)
    make_room(tmp_path, resuming=True, overwrite=False)
    assert folder.exists()
    make_room(tmp_path, resuming=False, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    make_room(tmp_path, resuming=False, overwrite=True)
    assert (tmp_path / "notes.txt").exists()
    with pytest.raises(UserError, match="is a file"):
        make_room(tmp_path / "notes.txt", resuming=False, overwrite=False)
