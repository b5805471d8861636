"""Resuming: from a whole checkpoint only, with the settings it was made with; an earlier run is never lost."""

import json
import logging
import os
from pathlib import Path

import pytest

from pipeline.checkpoint import (
    _content_digest,
    check_settings,
    checkpoint_to_resume,
    damage,
    make_room,
    read_manifest,
    rotate,
    seal,
)
from pipeline.errors import UserError

FILES = {
    "model.safetensors": "the model",
    "optimizer.pt": "the optimizer",
    "scheduler.pt": "the schedule",
    "rng_state.pth": "the random state",
    "trainer_state.json": "the trainer state",
}
ABOUT = {"settings": {"total_batch_size": 32, "seed": 7}, "processes": 1, "device": "cpu", "precision": "no"}
ABOUT["evaluation_due"] = False


def checkpoint(run: Path, step: int, about: dict = ABOUT, files: tuple[str, ...] = (*FILES, "config.json")) -> Path:
    folder = run / f"checkpoint-{step}"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(64))
    seal(folder, about)
    return folder


def test_auto_takes_the_newest(tmp_path: Path) -> None:
    checkpoint(tmp_path, 900)
    newest = checkpoint(tmp_path, 1000)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoint_to_resume(tmp_path, "auto") == str(newest)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {"remove": Path.unlink, "cut": cut, "empty": lambda path: path.write_bytes(b""), "flip": flip}
DAMAGE["folder"] = lambda path: (path.unlink(), path.mkdir())


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", [*FILES, "config.json", "manifest.json"])
def test_damaged_ones_are_passed_over_and_named(
    tmp_path: Path, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = checkpoint(tmp_path, 5)
    torn = checkpoint(tmp_path, 10)
    DAMAGE[how](torn / name)
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert checkpoint_to_resume(tmp_path, "auto") == str(whole)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"Passing over {torn}: ")
    assert name in line
    with pytest.raises(UserError, match=f"not a whole checkpoint: .*{name}"):
        checkpoint_to_resume(tmp_path, str(torn))


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_cannot_do_without_what_resuming_needs(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path, 5)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"lacks {FILES[name].removeprefix('the ')} \\({name}\\)"):
        seal(folder, ABOUT)
    # Nor can one that does list less: `save_only_model`, say.
    content = read_manifest(folder)
    del content["files"][name]
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": _content_digest(content)}))
    (problem,) = damage(folder)
    assert FILES[name].removeprefix("the ") in problem


def test_the_random_state_of_every_process_is_needed(tmp_path: Path) -> None:
    files = [name for name in FILES if name != "rng_state.pth"]
    with pytest.raises(UserError, match=r"rng_state_1.pth(.|\n)*a disk that all of them share"):
        checkpoint(tmp_path, 5, {**ABOUT, "processes": 2}, (*files, "rng_state_0.pth"))
    checkpoint(tmp_path, 6, {**ABOUT, "processes": 2}, (*files, "rng_state_0.pth", "rng_state_1.pth"))
    assert damage(tmp_path / "checkpoint-6") == []


def test_shards_count_as_well(tmp_path: Path) -> None:
    """The folders that FSDP writes."""
    files = ("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp")
    rest = ("scheduler.pt", "trainer_state.json", "rng_state_0.pth", "rng_state_1.pth")
    folder = checkpoint(tmp_path, 5, {**ABOUT, "processes": 2}, files + rest)
    assert damage(folder) == []
    flip(folder / "pytorch_model_fsdp_0" / "__0_0.distcp")
    assert damage(folder) == ["pytorch_model_fsdp_0/__0_0.distcp is not what was written (its SHA-256 differs)"]


def test_one_that_is_named_must_be_whole(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path, str(checkpoint(tmp_path, 5))) == str(tmp_path / "checkpoint-5")
    with pytest.raises(UserError, match="not a whole checkpoint: there is no such folder"):
        checkpoint_to_resume(tmp_path, str(tmp_path / "nowhere"))


def test_auto_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path / "not there yet", "auto") is None
    assert checkpoint_to_resume(tmp_path, None) is None


def test_other_settings_are_named_and_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = str(checkpoint(tmp_path, 5))
    check_settings(folder, ABOUT, allow_changed=False)
    changed = {**ABOUT, "settings": {"total_batch_size": 64, "seed": 7, "gamma": 0.9}}
    with pytest.raises(UserError) as error:
        check_settings(folder, changed, allow_changed=False)
    assert "total_batch_size: 32 in the checkpoint, now 64" in str(error.value)
    assert "gamma: null in the checkpoint, now 0.9" in str(error.value)
    assert "seed" not in str(error.value)
    assert "--allow_changed_settings" in str(error.value)
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_settings(folder, changed, allow_changed=True)
        check_settings(folder, {**ABOUT, "processes": 2}, allow_changed=False)
    assert "total_batch_size: 32 in the checkpoint, now 64" in caplog.text
    assert "was written with process(es) 1, now 2" in caplog.text


def test_rotation_never_removes_the_newest_the_best_or_the_whole_for_the_torn(tmp_path: Path) -> None:
    def steps() -> list[int]:
        return sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*"))

    for step in (2, 4, 6, 8, 12):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-12" / "manifest.json").unlink()  # was being written when a run was killed
    rotate(tmp_path, None, newest=8, best=2)
    assert steps() == [2, 4, 6, 8, 12]
    rotate(tmp_path, 4, newest=8, best=2)
    assert steps() == [2, 4, 6, 8]
    rotate(tmp_path, 2, newest=8, best=2)
    assert steps() == [2, 8]
    rotate(tmp_path, 1, newest=8, best=2)
    assert steps() == [2, 8]


def test_an_earlier_run_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5)
    with pytest.raises(UserError, match=r"unfinished run \(checkpoint-5\)(.|\n)*--resume_from_checkpoint auto"):
        make_room(tmp_path, resuming=False, overwrite=False)
    make_room(tmp_path, resuming=False, overwrite=False, auto=True)  # nothing whole to go on from: no dead end
    assert folder.exists()
    (tmp_path / "results.json").write_text("{}")
    for auto in (False, True):
        with pytest.raises(UserError, match="a finished run"):
            make_room(tmp_path, resuming=False, overwrite=False, auto=auto)
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
