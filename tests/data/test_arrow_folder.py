"""What `pipeline/data/arrow_folder.py` uses of datasets without its promise. A failure says what a release changed."""

import contextlib
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value, load_from_disk

from pipeline.data.arrow_folder import dataset_from_table, progress_bars_disabled, write_arrow_folder

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"]), "input_ids": List(Value("int32"))})
ROWS = [
    {"text": "가", "label": 1, "input_ids": [2, 5, 3]},
    {"text": "", "label": 0, "input_ids": [2, 3]},
    {"text": "나 다", "label": 1, "input_ids": [2, 7, 8, 3]},
]


def block(rows: list[dict]) -> Dataset:
    return dataset_from_table(pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema), FEATURES)


def test_a_dataset_from_a_table_is_an_ordinary_one() -> None:
    """`Dataset(table, info)`, and `Dataset.data.table`."""
    ordinary = Dataset.from_list(ROWS, features=FEATURES)
    ours = block(ROWS)
    assert list(ours) == list(ordinary) == ROWS
    assert ours.features == ordinary.features
    assert ours.data.table.schema == ordinary.data.table.schema
    assert list(ours.select([2, 0])) == [ROWS[2], ROWS[0]]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_laid_out_as_save_to_disk_does(tmp_path: Path) -> None:
    splits = {"train": [ROWS[:1], ROWS[1:]], "test": [ROWS[2:]]}
    write_arrow_folder(tmp_path / "ours", {name: map(block, blocks) for name, blocks in splits.items()}, "digest")
    ordinary = datasets.DatasetDict(train=block(ROWS), test=block(ROWS[2:]))
    ordinary.save_to_disk(tmp_path / "ordinary")
    assert files_below(tmp_path / "ours") == files_below(tmp_path / "ordinary")
    for folder in ("ours", "ordinary"):
        loaded = load_from_disk(tmp_path / folder)
        assert {name: list(rows) for name, rows in loaded.items()} == {"train": ROWS, "test": ROWS[2:]}
        assert loaded["train"].features == FEATURES
        assert loaded["train"].cache_files  # memory-mapped


def test_splits_have_fingerprints_that_follow_the_key(tmp_path: Path) -> None:
    """Or datasets, which names caches of `map` by them, would take one for the other."""
    for key in ("one", "two"):
        write_arrow_folder(tmp_path / key, {name: iter([block(ROWS)]) for name in ("train", "test")}, key)
    found = {
        json.loads((tmp_path / key / split / "state.json").read_text())["_fingerprint"]
        for key in ("one", "two")
        for split in ("train", "test")
    }
    assert len(found) == 4


@pytest.mark.parametrize("disabled", [False, True])
def test_progress_bars_are_as_they_were(disabled: bool) -> None:
    before = datasets.are_progress_bars_disabled()
    try:
        (datasets.disable_progress_bars if disabled else datasets.enable_progress_bars)()
        with contextlib.suppress(KeyError), progress_bars_disabled():
            assert datasets.are_progress_bars_disabled()
            raise KeyError
        assert datasets.are_progress_bars_disabled() == disabled
    finally:
        (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
