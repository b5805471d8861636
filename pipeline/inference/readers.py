"""Texts from txt, csv, tsv, jsonl and parquet files, row by row in constant memory."""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime.errors import UserError

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
PARQUET_ROWS = 4096  # read and written at a time
MAX_CSV_FIELD = 1_000_000  # characters; no more than this is read to find that a quotation mark is never closed
NOT_UTF8 = "is not UTF-8 (if it is CP949: iconv -f cp949 -t utf-8 FILE > NEW)"


@dataclass(frozen=True)
class Row:
    """One row of a file: its text, or the reason why it has none.

    Attributes:
        number: from 1. In a txt, csv, tsv or jsonl file the line on which the row starts, a header included.
        text: what to label, or None.
        problem: why there is no text, or None.
    """

    number: int
    text: str | None = None
    problem: str | None = None


def format_of(path: Path) -> str:
    """The file's format, which is its suffix in lower case.

    Raises:
        UserError: the suffix is none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: the name ends in {path.suffix or 'nothing'}; expected one of {', '.join(FORMATS)}.")
    return path.suffix.lower()


def read_rows(path: Path, column: str) -> Iterator[Row]:
    """Read a file row by row. A row that cannot be read comes with its reason; the rows after it follow.

    Args:
        path: a txt file has one text a line, the other formats have columns.
        column: the column of the texts.

    Raises:
        UserError: the file cannot be opened or has no such column.
    """
    kind = format_of(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    try:
        if kind == ".txt":
            yield from _read_txt(path)
        elif kind == ".jsonl":
            yield from _read_jsonl(path, column)
        elif kind == ".parquet":
            yield from _read_parquet(path, column)
        else:
            yield from _read_csv(path, column, "," if kind == ".csv" else "\t")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def decode_lines(lines: Iterable[bytes]) -> Iterator[Row]:
    """One text a line. A line that is not UTF-8 costs that line only."""
    for number, line in enumerate(lines, start=1):
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield Row(number, content.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield Row(number, problem=NOT_UTF8)


def row_from_text(number: int, text: str) -> Row:
    """A row of a `str`, which can have lone surrogates: JSON's `\\ud800`, or a command line that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return Row(number, problem=f"has {text[error.start]!r} at position {error.start + 1}, which is not a character")
    return Row(number, text)


def _row_from_value(number: int, value: Any, column: str) -> Row:
    if isinstance(value, str):
        return row_from_text(number, value)
    return Row(number, problem=f"has {'nothing' if value is None else type(value).__name__} in `{column}`, not text")


def _read_txt(path: Path) -> Iterator[Row]:
    with open(path, "rb") as file:
        yield from decode_lines(file)


def _read_jsonl(path: Path, column: str) -> Iterator[Row]:
    for row in _read_txt(path):
        if row.text is None:
            yield row
            continue
        try:
            value = json.loads(row.text)[column]
        except ValueError as error:
            yield Row(row.number, problem=f"is not JSON ({error})")
        except (KeyError, TypeError):
            yield Row(row.number, problem=f"has no `{column}`")
        else:
            yield _row_from_value(row.number, value, column)


def _read_parquet(path: Path, column: str) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a Parquet file: {error}") from error
    with file:
        if column not in file.schema_arrow.names:
            raise UserError(_no_column(path, column, file.schema_arrow.names))
        number = 0
        for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield _row_from_value(number, value, column)


def _read_csv(path: Path, column: str, delimiter: str) -> Iterator[Row]:
    """Tab-separated files have no quoting: a quotation mark in them is a character like any other."""
    csv.field_size_limit(MAX_CSV_FIELD)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(file)
        reader = csv.reader(
            lines,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
            strict=True,
        )
        header = _read_header(path, reader)
        if column not in header:
            raise UserError(_no_column(path, column, header))
        index = header.index(column)
        while True:
            number = lines.start_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.rewind()
                yield Row(number, problem=f"is not valid CSV ({error})")
                continue
            if len(cells) != len(header):
                yield Row(number, problem=f"has {len(cells)} column(s), the header {len(header)}")
            elif _has_undecoded(cells[index]):
                yield Row(number, problem=NOT_UTF8)
            else:
                yield Row(number, cells[index])


def _read_header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UserError(f"{path}: the first line is not valid CSV ({error}).") from error
    if any(map(_has_undecoded, header)):
        raise UserError(f"{path}: the first line {NOT_UTF8}.")
    return header


class _Lines:
    """Lines of a file that can be read again: an unclosed quotation mark must not swallow the rows after it.

    Attributes:
        number: the line on which the current row starts, from 1.
    """

    def __init__(self, file: TextIO) -> None:
        self.number = 1
        self._file = file
        self._pending: deque[str] = deque()  # to be read again before the file goes on
        self._row: list[str] = []  # the lines of the current row

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._pending.popleft() if self._pending else next(self._file)
        self._row.append(line)
        return line

    def start_row(self) -> int:
        """Start a row at the next line, and return that line's number."""
        self.number += len(self._row)
        self._row.clear()
        return self.number

    def rewind(self) -> None:
        """Go back to the second line of the current row: the first one is given up."""
        self._pending.extendleft(reversed(self._row[1:]))
        del self._row[1:]


def _has_undecoded(text: str) -> bool:
    """Whether `surrogateescape` has replaced bytes that are not UTF-8."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _no_column(path: Path, column: str, names: list[str]) -> str:
    return (
        f"{path} has no column `{column}`. Its columns are: {', '.join(names) or 'none'}. Name one with --text_column."
    )
