"""Labelled tables to every format. A file appears complete or not at all."""

import datetime
import json
import logging
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.tables import open_table
from pipeline.inference import writers
from pipeline.inference.writers import SUFFIXES, check_output, open_writer
from pipeline.runtime.errors import UserError

ROWS = [
    {"text": text, "label": "긍정", "probability": 0.5, "truncated": False} for text in ("재밌다", "한\n줄", 'a "b", c')
]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize("kind", [kind for kind in SUFFIXES if kind != ".txt"])
def test_every_format_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new folder" / f"out{kind}"
    with open_writer(path, TABLE.schema) as write:
        write(TABLE.slice(0, 2))
        write(TABLE.slice(2))
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    if kind == ".parquet":
        assert pq.read_table(path).to_pylist() == ROWS
    elif kind == ".jsonl":
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == ROWS
    elif kind == ".xlsx":
        names, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        assert [dict(zip(names, row, strict=True)) for row in rows] == ROWS
    else:
        assert pd.read_csv(path, sep="\t" if kind == ".tsv" else ",").to_dict("records") == ROWS
    (block,) = open_table(path).blocks()  # what this project writes it can read
    assert [row["text"] for row in block.rows.to_pylist()] == [row["text"] for row in ROWS]


def test_txt_keeps_a_text_on_its_line(tmp_path: Path) -> None:
    table = pa.table({"label": ["긍정", None], "probability": [0.5, None], "text": ["한\n줄\t뿐\r", "끝"]})
    with open_writer(tmp_path / "a.txt", table.schema) as write:
        write(table)
    assert (tmp_path / "a.txt").read_bytes().decode() == "긍정\t0.5000\t한 줄 뿐 \n\t\t끝\n"


def test_excel_knows_the_encoding_by_its_mark(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.csv", TABLE.schema, "utf-8-sig") as write:
        write(TABLE)
    assert (tmp_path / "a.csv").read_bytes().startswith("\ufefftext,label".encode())


def test_values_that_a_format_does_not_have(tmp_path: Path) -> None:
    odd = {
        "list": ["가", "나"],
        "time": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "formula": "=1+1",
        "error": "#N/A",
        "control": "가\x08나",
        "nan": float("nan"),
        "none": None,
    }
    table = pa.Table.from_pylist([odd])
    for kind in (".csv", ".jsonl", ".xlsx"):
        with open_writer(tmp_path / f"a{kind}", table.schema) as write:
            write(table)
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    names, values = list(sheet.iter_rows(values_only=True))
    assert dict(zip(names, values, strict=True)) == {
        **{"list": '["가", "나"]', "time": "2026-01-02 00:00:00+00:00", "formula": "=1+1", "error": "#N/A"},
        **{"control": "가 나", "nan": None, "none": None},
    }
    assert {cell.data_type for cell in sheet[2][:5]} == {"s"}
    assert '"[""가"", ""나""]",2026-01-02 00:00:00+00:00,=1+1' in (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert '"time": "2026-01-02 00:00:00+00:00"' in (tmp_path / "a.jsonl").read_text(encoding="utf-8")


def test_a_sheet_of_excel_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    long = pa.table({"text": ["가" * 40_000, "나"]})
    with open_writer(tmp_path / "a.xlsx", long.schema) as write:
        write(long)
    assert "1 text(s) were cut to the 32767 characters of a cell" in caplog.text
    monkeypatch.setattr(writers, "EXCEL_ROWS", 2)
    with (
        pytest.raises(UserError, match=r"b\.xlsx: a sheet of Excel ends at row 2\. Write \.csv or \.parquet"),
        open_writer(tmp_path / "b.xlsx", long.schema) as write,
    ):
        write(long)
    assert [path.name for path in tmp_path.iterdir()] == ["a.xlsx"]


@pytest.mark.parametrize("kind", SUFFIXES)
def test_an_error_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out{kind}"
    path.write_text("old")

    def fail() -> None:
        with open_writer(path, TABLE.schema) as write:
            write(TABLE)
            raise KeyError("an error of the caller")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/out\.csv cannot be written: "),
        open_writer(tmp_path / "file" / "out.csv", TABLE.schema),
    ):
        pass


def test_neither_a_file_nor_the_input_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    check_output(path, source=path)  # which a reader will miss
    path.write_text("mine")
    (tmp_path / "link.csv").symlink_to(path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"a\.csv exists\. Name another file, or replace it with --overwrite"):
        check_output(path)
    check_output(path, overwrite=True, source=tmp_path / "other.csv")
    for output, source in ((path, path), (tmp_path / "link.csv", path), (tmp_path / "saved" / "a.csv", path.parent)):
        with pytest.raises(UserError, match=r"is the input itself"):
            check_output(output, overwrite=True, source=source)
    with pytest.raises(UserError, match=r"folder\.csv is a folder"):
        check_output(tmp_path / "folder.csv", overwrite=True)
    with pytest.raises(UserError, match=r"a\.doc: the name ends in \.doc; expected \.csv, \.tsv"):
        check_output(tmp_path / "a.doc")
