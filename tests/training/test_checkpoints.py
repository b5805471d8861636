"""Complete checkpoints: which one a resume takes, what makes one incomplete, which ones are removed."""

import hashlib
import json
import logging
import os
from pathlib import Path

import pytest

from pipeline.runtime.errors import UserError
from pipeline.training.checkpoints import (
    checkpoint_to_resume,
    disk_errors_as_user_errors,
    find_corruption,
    prune_checkpoints,
    read_manifest,
    write_manifest,
)

FILES = {
    "model.safetensors": "the model",
    "optimizer.pt": "the optimizer",
    "scheduler.pt": "the schedule",
    "rng_state.pth": "the random state",
    "trainer_state.json": "the trainer state",
}
ORIGIN = {"settings": {}, "processes": 1, "device": "cpu", "precision": "no", "evaluation_due": False}


def checkpoint(run: Path, step: int, origin: dict = ORIGIN, files: tuple[str, ...] = (*FILES, "config.json")) -> Path:
    folder = run / f"checkpoint-{step}"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(64))
    write_manifest(folder, origin)
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
def test_damaged_ones_are_skipped_and_named(
    tmp_path: Path, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    complete = checkpoint(tmp_path, 5)
    damaged = checkpoint(tmp_path, 10)
    DAMAGE[how](damaged / name)
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert checkpoint_to_resume(tmp_path, "auto") == str(complete)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"Skipping {damaged}: ")
    assert name in line
    with pytest.raises(UserError, match=f"not a complete checkpoint: .*{name}"):
        checkpoint_to_resume(tmp_path, str(damaged))


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_is_not_written_without_what_a_resume_needs(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path, 5)
    (folder / "manifest.json").unlink()
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"lacks {FILES[name].removeprefix('the ')} \\({name}\\)"):
        write_manifest(folder, ORIGIN)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_that_lists_less_than_a_resume_needs_is_not_enough(tmp_path: Path, name: str) -> None:
    """Its own digest fits, as after `save_only_model`, say."""
    folder = checkpoint(tmp_path, 5)
    content = read_manifest(folder)
    del content["files"][name]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": digest}))
    (problem,) = find_corruption(folder)
    assert problem == f"the {FILES[name].removeprefix('the ')} ({name}) is missing"


def test_a_manifest_that_was_edited_is_damaged(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5)
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "evaluation_due": True}))
    assert find_corruption(folder) == ["manifest.json is damaged"]


def test_everything_is_on_the_disk_before_the_checkpoint_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older checkpoints are removed next: a power cut must not leave the new one with empty files."""
    sync, synced, folder = os.fsync, [], tmp_path / "checkpoint-5"

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        synced.append((path.relative_to(folder).as_posix(), (folder / "manifest.json").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    checkpoint(tmp_path, 5)
    assert sorted(synced) == sorted((name, False) for name in (*FILES, "config.json", "manifest.json.tmp"))


def test_the_random_state_of_every_process_is_needed(tmp_path: Path) -> None:
    files = [name for name in FILES if name != "rng_state.pth"]
    with pytest.raises(UserError, match=r"rng_state_1.pth(.|\n)*a disk that all of them share"):
        checkpoint(tmp_path, 5, {**ORIGIN, "processes": 2}, (*files, "rng_state_0.pth"))
    checkpoint(tmp_path, 6, {**ORIGIN, "processes": 2}, (*files, "rng_state_0.pth", "rng_state_1.pth"))
    assert find_corruption(tmp_path / "checkpoint-6") == []


def test_shards_count_as_well(tmp_path: Path) -> None:
    """The folders that FSDP writes."""
    files = ("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp")
    rest = ("scheduler.pt", "trainer_state.json", "rng_state_0.pth", "rng_state_1.pth")
    folder = checkpoint(tmp_path, 5, {**ORIGIN, "processes": 2}, files + rest)
    assert find_corruption(folder) == []
    shard = "pytorch_model_fsdp_0/__0_0.distcp"
    flip(folder / shard)
    assert find_corruption(folder) == [f"{shard} is not what was written (its SHA-256 differs)"]


def test_one_that_is_named_has_to_be_complete(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path, str(checkpoint(tmp_path, 5))) == str(tmp_path / "checkpoint-5")
    with pytest.raises(UserError, match="not a complete checkpoint: there is no such folder"):
        checkpoint_to_resume(tmp_path, str(tmp_path / "nowhere"))


def test_without_a_checkpoint_a_run_starts_from_the_beginning(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path / "not there yet", "auto") is None
    checkpoint(tmp_path, 5)
    for requested in (None, "no", "false"):
        assert checkpoint_to_resume(tmp_path, requested) is None


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("keep", "left"), [(None, [2, 4, 6, 8]), (4, [2, 4, 6, 8]), (3, [2, 6, 8]), (2, [2, 8]), (1, [2, 8])]
)
def test_the_oldest_are_removed_but_never_the_newest_or_the_best(
    tmp_path: Path, keep: int | None, left: list[int]
) -> None:
    for step in (2, 4, 6, 8):
        checkpoint(tmp_path, step)
    prune_checkpoints(tmp_path, keep, newest=8, best=2)
    assert steps(tmp_path) == left
    assert all(find_corruption(tmp_path / f"checkpoint-{step}") == [] for step in left)


@pytest.mark.parametrize(("keep", "left"), [(4, [2, 4, 6, 8]), (3, [4, 6, 8])])
def test_incomplete_ones_are_removed_before_complete_ones(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step in (2, 4, 6, 8, 12):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-12" / "manifest.json").unlink()  # was being written when a run was killed
    prune_checkpoints(tmp_path, keep, newest=8, best=None)
    assert steps(tmp_path) == left


def test_a_removal_that_is_killed_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (2, 4):
        checkpoint(tmp_path, step)
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # killed before it removed anything
    prune_checkpoints(tmp_path, 1, newest=4, best=None)
    assert find_corruption(tmp_path / "checkpoint-2") != []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "the disk is full or broken"),
    ],
)
def test_a_full_disk_is_a_users_error(tmp_path: Path, error: Exception, reason: str) -> None:
    with (
        pytest.raises(UserError, match=rf"checkpoint-5 could not be written: {reason} \(\S+ MB are free there\)"),
        disk_errors_as_user_errors(tmp_path / "checkpoint-5", "Free some space."),
    ):
        raise error


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), disk_errors_as_user_errors(tmp_path, "Free some space."):
        raise RuntimeError("a bug")
