"""Rows to every format. A file appears complete or not at all."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.inference.readers import FORMATS, read_rows
from pipeline.inference.writers import open_writer
from pipeline.runtime.errors import UserError

ROWS = [{"text": text, "label": "긍정", "probability": 0.5} for text in ["재밌다", "한\n줄", 'a "b", c']]


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != ".txt"])
def test_every_format_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new folder" / f"out{kind}"
    with open_writer(path, list(ROWS[0])) as write:
        for row in ROWS:
            write(row)
    if kind == ".parquet":
        assert pq.read_table(path).to_pylist() == ROWS
    elif kind == ".jsonl":
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == ROWS
    else:
        assert pd.read_csv(path, sep="\t" if kind == ".tsv" else ",").to_dict("records") == ROWS
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_txt_keeps_a_text_on_its_line(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.txt", []) as write:
        write({"text": "한\n줄\t뿐\r", "label": "긍정", "probability": 0.5})
    assert (tmp_path / "a.txt").read_bytes().decode() == "긍정\t0.5000\t한 줄 뿐 \n"


def test_parquet_is_written_in_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    with open_writer(path, ["text"]) as write:
        for number in range(10_000):
            write({"text": str(number)})
    assert pq.ParquetFile(path).num_row_groups == 3
    assert [row.text for row in read_rows(path, "text")] == [str(number) for number in range(10_000)]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_no_rows(tmp_path: Path, kind: str) -> None:
    with open_writer(tmp_path / f"a{kind}", ["text"]):
        pass
    assert (tmp_path / f"a{kind}").is_file()


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_an_error_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out{kind}"
    path.write_text("old")

    def fail() -> None:
        with open_writer(path, ["text"]) as write:
            write({"text": "new"})
            raise KeyError("an error of the caller")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/out\.csv cannot be written: "),
        open_writer(tmp_path / "file" / "out.csv", []),
    ):
        pass
