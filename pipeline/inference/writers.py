"""Labelled tables to txt, csv, tsv, jsonl, parquet and xlsx files, block by block in constant memory."""

import csv
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".parquet", ".xlsx")
ENCODED = (".csv", ".tsv", ".txt")
ENCODINGS = ("utf-8", "utf-8-sig")  # the latter begins with a mark by which Excel knows it
TO_SPACES = dict.fromkeys(map(ord, "\t\r\n"), " ")
EXCEL_ROWS = 1_048_576
EXCEL_CHARACTERS = 32_767  # in a cell

logger = logging.getLogger("pipeline.writers")

WriteTable = Callable[[pa.Table], object]


def check_output(path: Path, *, overwrite: bool = False, source: Path | None = None) -> None:
    """Check that a file can be written here, before there is anything to write.

    Args:
        path: of the file to write.
        overwrite: it may replace a file.
        source: the file that is read, which is never replaced.

    Raises:
        UserError: the suffix is not in `SUFFIXES`, the file exists, or it is `source`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: the name ends in {path.suffix or 'no suffix'}; expected {', '.join(SUFFIXES)}.")
    if source and source.exists() and path.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--output {path} is the input itself. Name another file.")
    if path.is_dir():
        raise UserError(f"--output {path} is a folder. Name a file.")
    if path.exists() and not overwrite:
        raise UserError(f"--output {path} exists. Name another file, or replace it with --overwrite.")


@contextmanager
def open_writer(path: Path, schema: pa.Schema, encoding: str = "utf-8") -> Iterator[WriteTable]:
    """Open a file for tables of this schema. The file appears complete when the block ends, or not at all.

    Args:
        path: its suffix, one of `SUFFIXES`, decides the format.
        schema: names and types of the columns.
        encoding: one of `ENCODINGS`, for csv, tsv and txt.

    Raises:
        UserError: the file cannot be written, or has too many rows for its format.
    """
    kind = path.suffix.lower()
    tmp_path = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".parquet":
            with pq.ParquetWriter(tmp_path, schema) as writer:
                yield writer.write_table
        elif kind == ".xlsx":
            with _open_xlsx(tmp_path, path, schema.names) as write:
                yield write
        else:
            with open(tmp_path, "w", encoding=encoding, newline="") as file:
                yield text_writer(file, kind, schema.names)
        tmp_path.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            tmp_path.unlink()


def text_writer(file: TextIO, kind: str, names: list[str]) -> WriteTable:
    """A function that writes tables to an open file: as csv or tsv with a header, as jsonl, or as txt without one.

    A line of txt has the columns by tabs; tabs and line breaks in them become spaces, probabilities four digits.
    """
    if kind == ".jsonl":
        return lambda table: file.writelines(
            json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist()
        )
    if kind == ".txt":
        return lambda table: file.writelines("\t".join(map(_on_line, row)) + "\n" for row in _rows(table))
    rows = csv.writer(file, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    rows.writerow(names)
    return lambda table: rows.writerows(map(_cell, row) for row in _rows(table))


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _on_line(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(_cell(value)).translate(TO_SPACES)


@contextmanager
def _open_xlsx(tmp_path: Path, path: Path, names: list[str]) -> Iterator[WriteTable]:
    try:
        import openpyxl
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    except ImportError as error:
        raise UserError(f"{path} needs openpyxl: pip install openpyxl") from error
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    num_rows = num_cut = 0

    def cell(value: Any) -> Any:
        nonlocal num_cut
        value = _cell(value)
        if isinstance(value, float) and not math.isfinite(value):
            return None  # a sheet has no such number
        if value is None or isinstance(value, bool | int | float):
            return value
        text = ILLEGAL_CHARACTERS_RE.sub(" ", str(value))
        num_cut += len(text) > EXCEL_CHARACTERS
        made = WriteOnlyCell(sheet, text[:EXCEL_CHARACTERS])
        made.data_type = "s"  # a text that begins with "=" is no formula
        return made

    def append(row: Any) -> None:
        nonlocal num_rows
        num_rows += 1
        if num_rows > EXCEL_ROWS:
            raise UserError(f"{path}: a sheet of Excel ends at row {EXCEL_ROWS:,}. Write .csv or .parquet instead.")
        sheet.append([cell(value) for value in row])

    def write(table: pa.Table) -> None:
        for row in _rows(table):
            append(row)

    append(names)
    try:
        yield write
    except BaseException:
        sheet.close()  # or openpyxl's generator prints a traceback when it is collected
        raise
    book.save(tmp_path)
    if num_cut:
        logger.warning("%s: %d text(s) were cut to the %d characters of a cell.", path, num_cut, EXCEL_CHARACTERS)
