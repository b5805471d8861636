"""Labels to txt, csv, tsv, jsonl and parquet files, row by row in constant memory."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inference.readers import PARQUET_ROWS, format_of
from pipeline.runtime.errors import UserError

WriteRow = Callable[[dict[str, Any]], object]


@contextmanager
def open_writer(path: Path, names: list[str]) -> Iterator[WriteRow]:
    """Open a file for dicts with these keys. The file appears complete when the block ends, or not at all.

    Raises:
        UserError: the format is unknown, or the file cannot be written.
    """
    kind = format_of(path)
    tmp_path = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_parquet(tmp_path) if kind == ".parquet" else _open_text(tmp_path, kind, names) as write:
            yield write
        tmp_path.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            tmp_path.unlink()


def text_writer(file: TextIO, kind: str, names: list[str]) -> WriteRow:
    """A function that writes one dict as a line of csv, tsv or jsonl; of txt: label, probability and text, by tabs."""
    if kind == ".jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
    if kind == ".txt":
        to_spaces = dict.fromkeys(map(ord, "\t\r\n"), " ")  # a text stays on its line
        return lambda row: print(
            f"{row['label']}\t{row['probability']:.4f}\t{row['text'].translate(to_spaces)}", file=file
        )
    table = csv.DictWriter(file, names, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
    table.writeheader()
    return table.writerow


@contextmanager
def _open_text(path: Path, kind: str, names: list[str]) -> Iterator[WriteRow]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        yield text_writer(file, kind, names)


@contextmanager
def _open_parquet(path: Path) -> Iterator[WriteRow]:
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
    if writer:
        writer.close()
