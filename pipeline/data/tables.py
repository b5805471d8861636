"""A user's table, block by block in constant memory: csv, tsv, txt, json, jsonl, parquet, xlsx, or a saved dataset."""

import datetime
import glob
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data import csv_rows, json_rows
from pipeline.data.text_files import MAGIC, OLD_EXCEL, inspect_text, unreadable
from pipeline.runtime.errors import UserError

if TYPE_CHECKING:  # slow to import
    from datasets import Dataset

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl")  # also with .gz behind
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx")
BLOCK_ROWS = 4096
BLOCK_CHARACTERS = 1 << 24
MAX_COLUMNS = 1000


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: the line on which it starts (see `Block.lines`), and the reason."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Block:
    """Rows that follow one another.

    Attributes:
        rows: with the table's columns, or those that were asked for.
        lines: for each of `rows`, the line on which it starts, from 1, a header included. In Parquet files and saved
            datasets the number of the row, from 1; in xlsx the sheet's own.
        bad_rows: rows before, between and behind these that cannot be read.
    """

    rows: pa.Table
    lines: list[int]
    bad_rows: list[BadRow] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """A table on the disk.

    Attributes:
        schema: names and types. Columns of csv, tsv and txt are strings. A column of json or xlsx with values of
            several types has them as text; so have objects, as JSON. The labels of a saved dataset are their names.
        num_rows: how many rows there are, bad ones included; an upper bound in csv with line breaks in its fields.
        notes: what the user should know, such as an encoding.
    """

    path: Path
    schema: pa.Schema
    num_rows: int
    notes: tuple[str, ...]
    _read: Callable[[Sequence[str]], Iterator[Block]] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.schema.names)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Block]:
        """Read the table, block by block.

        Args:
            columns: which; default: all.

        Raises:
            UserError: there is no such column, or the file cannot be read further.
        """
        columns = self.columns if columns is None else columns
        for name in columns:
            if name not in self.columns:
                raise UserError(f"{self.path} has no column `{name}`. Its columns are: {', '.join(self.columns)}.")
        return self._read(columns)


def expand_files(patterns: Sequence[str]) -> list[Path]:
    """The files and folders that these names and globs (`data/*.csv`, `**`) stand for. Those of a glob are sorted.

    Raises:
        UserError: a name or glob stands for nothing, or a file is named twice.
    """
    found: dict[Path, str] = {}
    paths = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        is_glob = not path.exists() and glob.has_magic(pattern)
        matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))] if is_glob else [path]
        if not matches:
            raise UserError(f"{pattern}: no file has a name like this.")
        for match in matches:
            if not match.exists():
                raise UserError(f"{match}: there is no such file.")
            if (other := found.setdefault(match.resolve(), pattern)) != pattern or match in paths:
                by = f" (by {other} and {pattern})" if other != pattern else ""
                raise UserError(f"{match} is named twice{by}.")
            paths.append(match)
    return paths


def format_of(path: Path) -> str:
    """The format of a file: its suffix in lower case, without .gz.

    Raises:
        UserError: the suffix is not in `SUFFIXES`.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] and suffixes[-2] in TEXT_SUFFIXES:
        return suffixes[-2]
    if not suffixes or suffixes[-1] not in SUFFIXES:
        known = f"{', '.join(SUFFIXES)} (text formats also with .gz)"
        raise UserError(f"{path}: the name ends in {path.suffix or 'no suffix'}; expected one of {known}.")
    return suffixes[-1]


def list_splits(path: Path) -> tuple[str, ...]:
    """The splits of a `DatasetDict` that `save_to_disk` wrote; empty for anything else.

    Raises:
        UserError: its list of splits cannot be read.
    """
    file = path / "dataset_dict.json"
    return tuple(_read_json(file)["splits"]) if file.is_file() else ()


def open_table(path: Path, split: str | None = None) -> Table:
    """Find a table's encoding, columns and types. Text files and xlsx are read once for that, in constant memory.

    Args:
        path: a file, or a folder that `save_to_disk` of datasets wrote.
        split: which one of a `DatasetDict`; needed if it has several.

    Raises:
        UserError: there is no such file, its format is unknown, it is not what its name says, or it has no rows.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file.")
    if path.is_dir():
        return _open_folder(path, split)
    if split:
        raise UserError(f"{path} is a file: it has no split {split}.")
    kind = format_of(path)
    openers = {".txt": _open_txt, ".json": _open_json, ".jsonl": _open_json, ".parquet": _open_parquet}
    if kind in (".csv", ".tsv"):
        return _open_csv(path, "," if kind == ".csv" else "\t")
    return _open_xlsx(path) if kind == ".xlsx" else openers[kind](path)


# Formats that are read row by row.

Row = tuple[int, Sequence[Any], int]  # its line, its values in the order of the columns, its size in characters


def _table_of_rows(
    path: Path, schema: pa.Schema, num_rows: int, notes: Iterable[str], read: Callable[[], Iterator[Row | BadRow]]
) -> Table:
    def read_blocks(columns: Sequence[str]) -> Iterator[Block]:
        indices = [schema.get_field_index(name) for name in columns]
        chosen = pa.schema([schema.field(index) for index in indices])
        rest = read()
        is_last = False
        while not is_last:
            # Lists of cells, not of rows: many small lists would keep the garbage collector busy.
            cells: list[list[Any]] = [[] for _ in indices]
            lines: list[int] = []
            bad_rows: list[BadRow] = []
            size, is_last = 0, True
            for row in rest:
                if isinstance(row, BadRow):
                    bad_rows.append(row)
                    size += len(row.reason)
                else:
                    line, values, row_size = row
                    lines.append(line)
                    size += row_size
                    for column, index in zip(cells, indices, strict=True):
                        column.append(values[index])
                if len(lines) + len(bad_rows) == BLOCK_ROWS or size > BLOCK_CHARACTERS:
                    is_last = False
                    break
            arrays = [pa.array(column, kind) for column, kind in zip(cells, chosen.types, strict=True)]
            if lines or bad_rows:
                yield Block(pa.Table.from_arrays(arrays, schema=chosen), lines, bad_rows)

    return Table(path, schema, num_rows, tuple(notes), read_blocks)


def _open_txt(path: Path) -> Table:
    file = inspect_text(path)

    def read() -> Iterator[Row | BadRow]:
        with file.open(newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                text = line.removesuffix("\n").removesuffix("\r")
                problem = None if file.clean else unreadable(text)
                yield BadRow(path, number, problem) if problem else (number, (text,), len(text))

    return _table_of_rows(path, pa.schema({"text": pa.string()}), file.num_lines, file.notes, read)


def _open_csv(path: Path, preferred: str) -> Table:
    file = inspect_text(path)
    dialect = csv_rows.find_dialect(file, preferred)
    names = csv_rows.read_header(file, dialect)
    notes = list(file.notes)
    if dialect.delimiter != preferred:
        notes.append(f"{path}: is {csv_rows.DELIMITERS[dialect.delimiter]}-separated")
    if not names[0] and len(names) > 1:
        names[0] = "Unnamed: 0"  # as pandas calls it
        notes.append(f"{path}: its first column has no name, as pandas writes an index; called `{names[0]}`")
    _check_names(path, names)

    def read() -> Iterator[Row | BadRow]:
        for line, cells, raw, problem in csv_rows.read_rows(file, dialect):
            yield BadRow(path, line, problem) if problem else (line, cells, len(raw))

    return _table_of_rows(path, pa.schema([(name, pa.string()) for name in names]), file.num_lines - 1, notes, read)


def _open_json(path: Path) -> Table:
    file = inspect_text(path, has_lines=False)
    is_array = json_rows.is_array(file)
    if not is_array:
        file = inspect_text(path)  # checks the lengths of lines

    def read_objects() -> Iterator[json_rows.JsonRow]:
        return json_rows.read_array(file) if is_array else json_rows.read_lines(file)

    types, num_rows, num_bad, first_problem = _Types(), 0, 0, ""
    for row in read_objects():
        num_rows += 1
        num_bad += row.problem is not None
        if row.problem:
            first_problem = first_problem or f"line {row.line} {row.problem}"
        else:
            types.add(row.value.items())
    if num_bad == num_rows:
        found = f"; {first_problem}" if first_problem else ""
        raise UserError(f"{path} has no rows: expected an array of objects, or one object a line{found}.")
    if num_rows == 1 and not is_array and types.are_nested():
        raise UserError(
            f"{path} is one JSON object of lists or objects; expected an array of objects, or one object a line "
            f"(pandas: to_json(orient='records', lines=True))."
        )
    _check_names(path, list(types.found))
    convert = types.converters()

    def read() -> Iterator[Row | BadRow]:
        for row in read_objects():
            if row.problem:
                yield BadRow(path, row.line, row.problem)
            else:
                yield row.line, [function(row.value.get(name)) for name, function in convert.items()], row.size

    return _table_of_rows(path, types.schema(), num_rows, (*file.notes, *types.notes(path)), read)


def _open_xlsx(path: Path) -> Table:
    with _sheet(path) as (rows, notes):
        header_number, header = next(((number, row) for number, row in rows if row), (0, []))
        names = ["" if value is None else str(value).strip() for value in header]
        if not names:
            raise UserError(f"{path} is empty.")
        _check_names(path, names)
        types, num_rows = _Types(names), 0
        for _, values in rows:
            num_rows += bool(values)
            types.add(zip(names, values, strict=False))
        if not num_rows:
            raise UserError(f"{path} has a header ({', '.join(names)[:200]}) and no rows.")
        notes = [*notes, *types.notes(path)]
    functions = list(types.converters().values())

    def read() -> Iterator[Row | BadRow]:
        with _sheet(path) as (rows, _):
            for number, values in rows:
                if number <= header_number or not values:
                    continue
                if len(values) > len(names):
                    yield BadRow(path, number, f"has {len(values)} column(s), the header {len(names)}")
                    continue
                values += [None] * (len(names) - len(values))
                cells = [function(value) for function, value in zip(functions, values, strict=True)]
                yield number, cells, sum(len(cell) for cell in cells if isinstance(cell, str))

    return _table_of_rows(path, types.schema(), num_rows, notes, read)


@contextmanager
def _sheet(path: Path) -> Iterator[tuple[Iterator[tuple[int, list[Any]]], list[str]]]:
    """The rows of a workbook's first sheet that has any, with their numbers and without the empty cells at their end.

    Dates are in ISO's form; formulas are the values that Excel has saved with them.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(f"{path} needs openpyxl: pip install openpyxl") from error
    with open(path, "rb") as file:
        if file.read(len(OLD_EXCEL)) == OLD_EXCEL:
            raise UserError(f"{path} is {MAGIC[OLD_EXCEL]}.")
    with _library_errors(path, "a workbook (.xlsx) that can be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and validations that openpyxl does not know
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = [sheet for sheet in book.worksheets if next(_rows_of_sheet(sheet), None)]
            if not sheets:
                raise UserError(f"{path} is empty.")
            title, count = sheets[0].title, len(sheets)
            notes = [f"{path}: its sheet `{title}` is read, the first of {count}"] if count > 1 else []
            yield _rows_of_sheet(sheets[0]), notes
        finally:
            book.close()


def _rows_of_sheet(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    sheet.reset_dimensions()  # what the file says of its size may be wrong
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        values = [_plain(value) for value in row]
        while values and values[-1] is None:
            values.pop()
        if values:
            yield number, values


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value) if isinstance(value, datetime.date | datetime.time | datetime.timedelta) else value


class _Types:
    """The types of the values of each column, and what they become in Arrow."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.found: dict[str, tuple[set[type], set[type]]] = {name: (set(), set()) for name in names}
        self._last_keys: Any = None

    def add(self, items: Iterable[tuple[str, Any]]) -> None:
        """Add the values of one row."""
        for name, value in items:
            if value is None:
                self.found.setdefault(name, (set(), set()))
                continue
            types, inner = self.found.setdefault(name, (set(), set()))
            types.add(_type_of(value))
            if isinstance(value, list):
                inner.update(_type_of(item) for item in value if item is not None)

    def are_nested(self) -> bool:
        """Whether every value is a list or an object."""
        return all(types <= {list, dict} for types, _ in self.found.values())

    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return pa.schema([(name, _arrow_type(*types)) for name, types in self.found.items()])

    def converters(self) -> dict[str, Callable[[Any], Any]]:
        """For each column a function that makes a value fit its type."""
        return {name: _converter(_arrow_type(*types)) for name, types in self.found.items()}

    def notes(self, path: Path) -> Iterator[str]:
        """The columns whose values become text since their types differ."""
        for name, (types, _) in self.found.items():
            if len(types) > 1 and _arrow_type(types, set()) == pa.string():
                names = ", ".join(sorted(kind.__name__ for kind in types))
                yield f"{path}: `{name}` holds values of several types ({names}); read as text"


def _type_of(value: Any) -> type:
    return object if isinstance(value, int) and not -(2**63) <= value < 2**63 else type(value)  # too large for Arrow


def _arrow_type(types: set[type], inner: set[type]) -> pa.DataType:
    if types == {list}:
        return pa.list_(_arrow_type(inner - {list, dict} if not inner & {list, dict} else {str}, set()))
    if types == {bool}:
        return pa.bool_()
    if types and types <= {int, float}:
        return pa.float64() if float in types else pa.int64()
    return pa.string()


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_list(kind):
        convert = _converter(kind.value_type)
        return lambda value: None if value is None else [convert(item) for item in value]
    if pa.types.is_string(kind):
        return lambda value: value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_floating(kind):
        return lambda value: None if value is None else float(value)
    return lambda value: value


# Arrow formats.


def _open_parquet(path: Path) -> Table:
    def read_batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(BLOCK_ROWS, columns=list(columns))

    with _library_errors(path, "a Parquet file that can be read"), pq.ParquetFile(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    return _table_of_batches(path, schema, num_rows, _class_names(schema), read_batches)


def _open_folder(path: Path, split: str | None) -> Table:
    """A folder that `save_to_disk` of datasets 2 to 5 wrote: Arrow streams, and `state.json` with their names."""
    splits = list_splits(path)
    if splits:
        if split is None and len(splits) > 1:
            raise UserError(f"{path} has the splits {', '.join(splits)}. Name the folder of one: {path / splits[0]}")
        if split is not None and split not in splits:
            raise UserError(f"{path} has no split {split}; it has {', '.join(splits)}.")
        path /= split or splits[0]
    elif split is not None:
        raise UserError(f"{path} has no split {split}.")
    if not (path / "state.json").is_file():
        raise UserError(f"{path} is a folder, but none that `save_to_disk` wrote. Name files: {path / '*.csv'}")
    state = _read_json(path / "state.json")
    files = [path / str(file.get("filename")) for file in state.get("_data_files") or []]

    @contextmanager
    def open_stream(file: Path) -> Iterator[pa.RecordBatchStreamReader]:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            yield stream

    def read_batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for file in files:
            with open_stream(file) as stream:
                for batch in stream:
                    for start in range(0, batch.num_rows, BLOCK_ROWS):
                        yield batch.slice(start, BLOCK_ROWS).select(list(columns))

    num_rows, schema = 0, None
    with _library_errors(path, "a saved dataset that can be read"):
        for file in files:
            with open_stream(file) as stream:
                schema = schema or stream.schema
                num_rows += sum(batch.num_rows for batch in stream)
    if schema is None:
        raise UserError(f"{path} has no rows.")
    return _table_of_batches(path, schema, num_rows, _class_names(schema), read_batches)


def table_of_dataset(path: Path, dataset: "Dataset") -> Table:
    """The table of a loaded dataset; `path` names it in messages."""

    def read_batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for table in dataset.select_columns(list(columns)).with_format("arrow").iter(BLOCK_ROWS):
            yield from table.combine_chunks().to_batches()

    schema = dataset.features.arrow_schema
    return _table_of_batches(path, schema, len(dataset), _class_names(schema), read_batches)


def _table_of_batches(
    path: Path,
    schema: pa.Schema,
    num_rows: int,
    class_names: dict[str, list[str]],
    read: Callable[[Sequence[str]], Iterator[pa.RecordBatch]],
) -> Table:
    _check_names(path, schema.names)
    if not num_rows:
        raise UserError(f"{path} has no rows.")
    schema = pa.schema([field.with_type(_plain_type(field.type, field.name in class_names)) for field in schema])

    def read_blocks(columns: Sequence[str]) -> Iterator[Block]:
        first = 1
        chosen = pa.schema([schema.field(name) for name in columns])
        with _library_errors(path, "a file that can be read to its end"):
            for batch in read(columns):
                bad = _undecodable(batch)
                lines = [number for number in range(first, first + batch.num_rows) if number - first not in bad]
                if bad:
                    batch = batch.filter(pa.array([row not in bad for row in range(batch.num_rows)]))
                bad_rows = [BadRow(path, first + row, reason) for row, reason in sorted(bad.items())]
                first += len(lines) + len(bad)
                arrays = [
                    _with_names(batch.column(name), class_names[name]) if name in class_names else batch.column(name)
                    for name in columns
                ]
                arrays = [array.cast(kind) for array, kind in zip(arrays, chosen.types, strict=True)]
                yield Block(pa.Table.from_arrays(arrays, schema=chosen), lines, bad_rows)

    return Table(path, schema, num_rows, (), read_blocks)


def _plain_type(kind: pa.DataType, is_class: bool) -> pa.DataType:
    """Strings for large strings, dictionaries and classes; other types as they are."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_class and (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return pa.list_(pa.string())
    return pa.string() if is_class or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of each `ClassLabel`, or list of them, as datasets keeps them in the schema."""
    names = {}
    with suppress(KeyError, ValueError, TypeError, AttributeError):  # other metadata of this name
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        for column, feature in features.items():
            feature = feature.get("feature", feature) if isinstance(feature, dict) else {}
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
                names[column] = [str(name) for name in feature["names"]]
    return {column: found for column, found in names.items() if column in schema.names}


def _with_names(array: pa.Array, names: list[str]) -> pa.Array:
    """Names for the numbers of classes; nothing for -1, which datasets gives to what has no label."""

    def name(value: Any) -> Any:
        if isinstance(value, list):
            return [name(item) for item in value]
        return names[value] if value is not None and 0 <= value < len(names) else None

    return pa.array([name(value) for value in array.to_pylist()], _plain_type(array.type, is_class=True))


def _undecodable(batch: pa.RecordBatch) -> dict[int, str]:
    """Rows with strings that are not UTF-8, which Parquet does not check.

    Raises:
        pyarrow.ArrowInvalid: the file is damaged otherwise; pyarrow would read beyond its end (pyarrow 26, IPC).
    """
    bad = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
            for row in range(len(column)):
                try:
                    column[row].as_py()
                except UnicodeDecodeError:
                    bad[row] = f"`{name}` is not UTF-8"
    return bad


# What the formats share.


@contextmanager
def _library_errors(path: Path, expected: str) -> Iterator[None]:
    """A damaged file makes openpyxl and pyarrow raise whatever their parsers meet: none of it is a bug of ours."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise UserError(f"{path} is not {expected}: {reason}") from error


def _read_json(path: Path) -> dict[str, Any]:
    with _library_errors(path, "a JSON file that can be read"):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _check_names(path: Path, names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise UserError(f"{path} has {len(names):,} columns; no more than {MAX_COLUMNS:,} are expected.")
    empty = [str(number) for number, name in enumerate(names, start=1) if not name.strip()]
    if empty:
        raise UserError(f"{path}: column {', '.join(empty)} of {len(names)} has no name. The header names each column.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path} has several columns of the same name: {', '.join(twice)}. Rename them.")
