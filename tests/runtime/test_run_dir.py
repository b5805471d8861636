"""Files of a run: written by renames, read with an explanation, and never mixed with those of an earlier run."""

import os
from pathlib import Path

import pytest

from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import create_output_dir, list_checkpoints, prepare_output_dir, read_json, write_json


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"text": "재밌다"})
    assert (tmp_path / "results.json").read_text(encoding="utf-8") == '{\n  "text": "재밌다"\n}\n'
    assert read_json(tmp_path / "results.json") == {"text": "재밌다"}


def test_a_file_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    """Whoever has the old file open reads it to its end."""
    write_json(tmp_path / "results.json", {"accuracy": 0.8})
    with open(tmp_path / "results.json", encoding="utf-8") as reader:
        write_json(tmp_path / "results.json", {"accuracy": 0.9})
        assert reader.read() == '{\n  "accuracy": 0.8\n}\n'
    assert read_json(tmp_path / "results.json") == {"accuracy": 0.9}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"accuracy": 0.8})
    with pytest.raises(TypeError):
        write_json(tmp_path / "results.json", {"accuracy": object()})
    assert read_json(tmp_path / "results.json") == {"accuracy": 0.8}


def test_files_that_are_missing_or_damaged_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no finished run: results\.json is missing"):
        read_json(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json cannot be read"):
        read_json(tmp_path / "results.json")


def test_checkpoints_are_listed_newest_first(tmp_path: Path) -> None:
    for name in ("checkpoint-900", "checkpoint-1000", "checkpoint-best", "discarded-checkpoint-2000"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-3000").write_text("no folder")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1000", "checkpoint-900"]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_an_unfinished_run_is_kept_unless_it_is_resumed_or_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    with pytest.raises(UserError, match=r"unfinished run \(checkpoint-5\)(.|\n)*--resume_from_checkpoint auto"):
        prepare_output_dir(tmp_path, resuming=False, overwrite=False)
    prepare_output_dir(tmp_path, resuming=True, overwrite=False)
    # None of the checkpoints is complete: they are no reason to refuse what was asked for.
    prepare_output_dir(tmp_path, resuming=False, overwrite=False, auto=True)
    assert folder.exists()


@pytest.mark.parametrize("auto", [False, True])
def test_a_finished_run_is_kept_unless_it_is_overwritten(tmp_path: Path, auto: bool) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="a finished run"):
        prepare_output_dir(tmp_path, resuming=False, overwrite=False, auto=auto)
    assert (tmp_path / "results.json").exists()


def test_overwriting_removes_checkpoints_and_results_and_nothing_else(tmp_path: Path) -> None:
    for name in ("checkpoint-5", "discarded-checkpoint-8", "runs"):
        (tmp_path / name).mkdir()
    for name in ("results.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    prepare_output_dir(tmp_path, resuming=False, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "runs"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        prepare_output_dir(tmp_path / "notes.txt", resuming=False, overwrite=False)
    with pytest.raises(UserError, match="cannot be written"):
        create_output_dir(tmp_path / "notes.txt" / "run")


def test_a_folder_is_created_and_left_empty(tmp_path: Path) -> None:
    create_output_dir(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []
