"""Opening a run: what it resumes from, and an earlier run in its folder."""

import os
from pathlib import Path

import pytest

from pipeline.config.arguments import TrainingArguments
from pipeline.runtime.errors import UserError
from pipeline.training.checkpoints import write_manifest
from pipeline.training.run import check_nodes, open_run


def write_checkpoint(run: Path, step: int) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        (folder / name).write_text(name)
    write_manifest(folder, {"settings": {}, "processes": 1, "evaluation_due": False})
    return folder


def arguments(run: Path, **options: object) -> TrainingArguments:
    return TrainingArguments(output_dir=str(run), **options)


def test_a_new_run_gets_its_folder(tmp_path: Path) -> None:
    assert open_run(arguments(tmp_path / "a" / "b")) is None
    assert (tmp_path / "a" / "b").is_dir()


def test_an_unfinished_run_is_resumed_or_kept(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 5)
    with pytest.raises(UserError, match=r"unfinished run \(checkpoint-5\)"):
        open_run(arguments(tmp_path))
    assert open_run(arguments(tmp_path, resume_from_checkpoint="auto")) == str(folder)
    assert open_run(arguments(tmp_path, resume_from_checkpoint=str(folder))) == str(folder)


def test_auto_without_a_complete_checkpoint_starts_from_the_beginning(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 5)
    (folder / "manifest.json").unlink()
    assert open_run(arguments(tmp_path, resume_from_checkpoint="auto")) is None
    assert folder.exists()


def test_an_earlier_run_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 5)
    assert open_run(arguments(tmp_path, overwrite_output_dir=True)) is None
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        open_run(arguments(tmp_path / "run"))


def test_one_node_has_no_other_to_agree_with(tmp_path: Path) -> None:
    check_nodes({"data": {}, "model": {}, "training": {}}, tmp_path, None)
