"""Texts from files and labels to files: txt, csv, tsv, jsonl, parquet; row by row, in constant memory."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
PARQUET_ROWS = 4096  # read and written at a time
CSV_FIELD = 1_000_000  # letters; where a quotation mark is never closed, no more than this is read to find out
NOT_UTF8 = "is not UTF-8 (CP949, perhaps: iconv -f cp949 -t utf-8 FILE > NEW)"


@dataclass(frozen=True)
class Row:
    """One row of an input file: its text, or the reason why it has none.

    Attributes:
        number: its place, from 1; for text files the line, the header included.
        text: what is to be labelled, or None.
        problem: why there is no text, or None.
    """

    number: int
    text: str | None = None
    problem: str | None = None


def format_of(path: Path) -> str:
    """The format that a file's name says.

    Raises:
        UserError: it says none that is known.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: the name ends in {path.suffix or 'nothing'}; expected one of {', '.join(FORMATS)}.")
    return path.suffix.lower()


def read_rows(path: Path, column: str) -> Iterator[Row]:
    """Read a file row by row. A row that cannot be read comes with its reason, and the next one follows.

    Args:
        path: txt has one text a line; csv, tsv, jsonl and parquet have columns.
        column: which column has the texts.

    Raises:
        UserError: the file cannot be opened, or has no such column.
    """
    kind = format_of(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    try:
        if kind == ".parquet":
            yield from _read_parquet(path, column)
        else:
            with open(path, "rb") as file:
                lines = (line.removesuffix(b"\n").removesuffix(b"\r") for line in file)
                if kind == ".txt":
                    yield from read_lines(lines)
                elif kind == ".jsonl":
                    yield from _read_jsonl(lines, column)
                else:
                    yield from _read_csv(path, column, "," if kind == ".csv" else "\t")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def read_lines(lines: Iterator[bytes]) -> Iterator[Row]:
    """One text a line, given as bytes, so that a line that is not UTF-8 costs that line only."""
    for number, line in enumerate(lines, start=1):
        try:
            yield Row(number, line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield Row(number, problem=NOT_UTF8)


def _read_jsonl(lines: Iterator[bytes], column: str) -> Iterator[Row]:
    for row in read_lines(lines):
        if row.problem:
            yield row
            continue
        try:
            value = json.loads(row.text)[column]
        except ValueError as error:
            yield Row(row.number, problem=f"is not JSON ({error})")
        except (KeyError, TypeError):
            yield Row(row.number, problem=f"has no `{column}`")
        else:
            yield _checked(row.number, value, column)


def _read_csv(path: Path, column: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(CSV_FIELD)
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise UserError(f"{path}: the first line is not valid CSV ({error}).") from error
        if any(map(_undecoded, header)):
            raise UserError(f"{path}: the first line {NOT_UTF8}.")
        if column not in header:
            raise UserError(_no_column(path, column, header))
        place = header.index(column)
        while True:
            number = lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.go_back()
                yield Row(number, problem=f"is not valid CSV ({error})")
                continue
            if len(cells) != len(header):
                yield Row(number, problem=f"has {len(cells)} column(s), the header {len(header)}")
            elif _undecoded(cells[place]):
                yield Row(number, problem=NOT_UTF8)
            else:
                yield Row(number, cells[place])


class _Lines:
    """The lines of a file, to go back to: a quotation mark that is not closed must not swallow the rows behind it."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.ahead, self.row, self.number = file, deque[str](), list[str](), 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.ahead.popleft() if self.ahead else next(self.file)
        self.row.append(line)
        return line

    def begin_row(self) -> int:
        """The number of the next line, with which a row begins."""
        self.number += len(self.row)
        self.row.clear()
        return self.number

    def go_back(self) -> None:
        """Give the lines behind the row's first one again."""
        self.ahead.extendleft(reversed(self.row[1:]))
        del self.row[1:]


def _undecoded(text: str) -> bool:
    """Whether `surrogateescape` stands in it for bytes that are not UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for letter in text)


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
                yield _checked(number, value, column)


def _checked(number: int, value: Any, column: str) -> Row:
    if isinstance(value, str):
        return row_of(number, value)
    return Row(number, problem=f"has {'nothing' if value is None else type(value).__name__} in `{column}`, not text")


def row_of(number: int, text: str) -> Row:
    """A row of text that did not come as UTF-8: JSON can have half a character (`\\ud800`), a command any byte."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return Row(number, problem=f"has {text[error.start]!r} at letter {error.start + 1}, which is no character")
    return Row(number, text)


def _no_column(path: Path, column: str, names: list[str]) -> str:
    return (
        f"{path} has no column `{column}`. Its columns are: {', '.join(names) or 'none'}. Name one with --text_column."
    )


@contextmanager
def open_writer(path: Path, names: list[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a file for writing dicts with these names; it comes into being whole, when the block ends well.

    Raises:
        UserError: the format is not known, or the file cannot be written.
    """
    kind = format_of(path)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _parquet_writer(beside) if kind == ".parquet" else _text_writer(beside, kind, names) as write:
            yield write
        beside.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _text_writer(path: Path, kind: str, names: list[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        yield text_writer(file, kind, names)


def text_writer(file: TextIO, kind: str, names: list[str]) -> Callable[[dict[str, Any]], None]:
    """A function that writes one dict as a line of csv, tsv, jsonl, or txt (label, probability and text by tabs)."""
    if kind == ".jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
    if kind == ".txt":  # one line a text, whatever is in it
        one_line = dict.fromkeys(map(ord, "\t\r\n"), " ")
        return lambda row: print(
            f"{row['label']}\t{row['probability']:.4f}\t{row['text'].translate(one_line)}", file=file
        )
    table = csv.DictWriter(file, names, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    table.writeheader()
    return table.writerow


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    rows: list[dict[str, Any]] = []
    writer: pq.ParquetWriter | None = None

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist(rows, schema=writer.schema if writer else None)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        rows.clear()

    def write(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) == PARQUET_ROWS:
            flush()

    yield write
    if rows or writer is None:
        flush()
    writer.close()
