"""Rows of comma-, semicolon- and tab-separated files, by the standard library's `csv`.

DuckDB (`store_rejects`) and pyarrow are faster, but lose rows after a quotation mark that is never closed: see
benchmarks/reading.py.
"""

import csv
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TextIO

from pipeline.data.text_files import TextFile, unreadable
from pipeline.runtime.errors import UserError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
MAX_FIELD = 1_000_000  # characters; no more than this is read to find that a quotation mark is never closed
MUST_BE_QUOTED = frozenset("\t\r\n")
SAMPLE_ROWS = 100_000  # read to see whether a tab-separated file quotes its fields


@dataclass(frozen=True)
class Dialect:
    """How a file separates its columns, and whether quotation marks enclose fields or are characters like others."""

    delimiter: str
    is_quoted: bool


class CsvRow(NamedTuple):
    """One row.

    Attributes:
        line: the line on which the row starts, from 1, the header included.
        cells: as many as the header has, or empty if there is a problem.
        raw: the row as it stands in the file.
        problem: why the row cannot be read, or None.
    """

    line: int
    cells: list[str]
    raw: str
    problem: str | None = None


def find_dialect(file: TextFile, preferred: str) -> Dialect:
    """The delimiter that divides the header; `preferred`, if none or it does.

    A file with tabs has quoted fields only if it shows: pandas and Excel quote, most corpora do not, and in those a
    quotation mark is a character like any other.
    """
    with file.open(newline="") as stream:
        header = next((line for line in stream if line.strip()), "")
    candidates = [preferred, *(delimiter for delimiter in DELIMITERS if delimiter != preferred)]
    delimiter = next((one for one in candidates if len(next(csv.reader([header], delimiter=one), [])) > 1), preferred)
    return Dialect(delimiter, delimiter != "\t" or _quotes_tabs(file))


def _quotes_tabs(file: TextFile) -> bool:
    votes = 0
    with file.open(newline="") as stream:
        rows = _parse(stream, Dialect("\t", is_quoted=True))
        header = next(rows, None)
        if header and header.raw.startswith('"') and not header.problem:
            return True
        for row in islice(rows, SAMPLE_ROWS):
            if '"' not in row.raw:
                continue
            if row.problem:
                votes -= 1
            elif row.cells != row.raw.rstrip("\r\n").split("\t"):
                # Quoted for a reason: who quotes without one would quote the header too.
                votes += '""' in row.raw or any(not MUST_BE_QUOTED.isdisjoint(cell) for cell in row.cells)
    return votes > 0


def read_header(file: TextFile, dialect: Dialect) -> list[str]:
    """The names in the first row.

    Raises:
        UserError: the first row cannot be read, is JSON, or no row follows it.
    """
    with file.open(newline="") as stream:
        rows = _parse(stream, dialect)
        header = next(rows, None)
        if header is None:
            raise UserError(f"{file.path} is empty.")
        problem = header.problem or (not file.clean and unreadable(header.raw))
        if problem:
            raise UserError(f"{file.path}, line {header.line}: {problem}.")
        if _is_json(header.raw):
            raise UserError(
                f"{file.path} is JSON, no table with {DELIMITERS[dialect.delimiter]}: name it .jsonl or .json."
            )
        if next(rows, None) is None:
            raise UserError(f"{file.path} has a header ({', '.join(header.cells)[:200]}) and no rows.")
    return header.cells


def read_rows(file: TextFile, dialect: Dialect) -> Iterator[CsvRow]:
    """The rows below the header, in order. Blank lines are skipped.

    A quotation mark that is never closed costs the line on which it stands: the lines after it are read again.
    """
    with file.open(newline="") as stream:
        rows = _parse(stream, dialect)
        width = len(next(rows).cells)
        for row in rows:
            problem = row.problem
            if not problem and len(row.cells) != width:
                problem = f"has {len(row.cells)} column(s), the header {width}"
            if not file.clean:
                problem = problem or unreadable(row.raw)
            if problem:
                num_lines = _count_lines(row.raw)
                problem += f" (to line {row.line + num_lines - 1})" if num_lines > 1 else ""
                row = CsvRow(row.line, [], row.raw, problem)
            yield row


def _parse(stream: TextIO, dialect: Dialect) -> Iterator[CsvRow]:
    csv.field_size_limit(MAX_FIELD)
    lines = _Lines(stream)
    options: dict[str, Any] = {} if dialect.is_quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True, **options)
    while True:
        number = lines.start_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.rewind()
            yield CsvRow(number, [], lines.raw, f"is not valid CSV ({_explain(error)})")
            continue
        if not cells:
            continue
        raw = lines.raw
        if dialect.is_quoted and _is_unpaired(raw, cells, number <= lines.read_before):
            yield CsvRow(number, [], raw, "is not valid CSV (a quotation mark without its pair)")
        else:
            yield CsvRow(number, cells, raw)


def _is_unpaired(raw: str, cells: list[str], was_read_before: bool) -> bool:
    """Whether a row is the end of one that lost its opening quotation mark: the closing one stands at a field's end.

    Elsewhere a mark without its pair may be a character like others (ㅡ"ㅡ), unless the row follows a broken one.
    """
    if '"' not in raw or raw.count('"') % 2 == 0:
        return False
    return was_read_before or any(cell.endswith('"') for cell in cells)


def _explain(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quotation mark is never closed"
    if "field larger than field limit" in str(error):
        return f"a field has more than {MAX_FIELD:,} characters, or a quotation mark is never closed"
    return str(error)


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except ValueError:
        return False


def _count_lines(raw: str) -> int:
    """Lines of a row. It may end in `\\n`, `\\r\\n` or `\\r`, or with the file."""
    return len(raw.removesuffix("\n").removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n"))


class _Lines:
    """Lines of a file that can be read again: an unclosed quotation mark must not swallow the rows after it.

    Attributes:
        number: the line on which the current row starts, from 1.
        read_before: the last line that belonged to a row that was given up.
    """

    def __init__(self, file: TextIO) -> None:
        self.number = 1
        self.read_before = 0
        self._file = file
        self._pending: deque[str] = deque()  # to be read again before the file goes on
        self._row: list[str] = []  # the lines of the current row

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._pending.popleft() if self._pending else next(self._file)
        self._row.append(line)
        return line

    @property
    def raw(self) -> str:
        """The current row."""
        return self._row[0] if len(self._row) == 1 else "".join(self._row)

    def start_row(self) -> int:
        """Start a row at the next line, and return that line's number."""
        self.number += len(self._row)
        self._row.clear()
        return self.number

    def rewind(self) -> None:
        """Go back to the second line of the current row: the first one is given up."""
        self.read_before = max(self.read_before, self.number + len(self._row) - 1)
        self._pending.extendleft(reversed(self._row[1:]))
        del self._row[1:]
