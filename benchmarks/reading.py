"""Readers of CSV: which bad rows they name, whether they lose good ones, rows/s and peak memory.

pip install duckdb
python -m benchmarks.reading --rows 1000000

The project reads with the standard library's `csv` (pipeline/data/csv_rows.py): it alone loses no row.
"""

import argparse
import csv
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

HEADER = b"id,text"
# A damaged file of the columns id and text, the ids of its rows that are in order, and the lines of those that are not.
DAMAGE: dict[str, tuple[bytes, list[str], list[int]]] = {
    "a quotation mark never closed": ('1,하나\n2,"둘\n3,셋\n4,넷\n'.encode(), ["1", "3", "4"], [3]),
    "the same, quoted fields follow": ('1,"하나\n2,둘\n3,"셋, 3"\n4,넷\n'.encode(), ["2", "3", "4"], [2]),
    "text behind a closing mark": ('1,"하나" 더\n2,둘\n'.encode(), ["2"], [2]),
    "rows of another length": ('1\n2,둘\n3,셋,3\n4,"넷\n넷"\n5\n'.encode(), ["2", "4"], [2, 4, 7]),
    "the same, lines end in \\r\\n": ('1\r\n2,"둘\r\n둘"\r\n3,셋,3\r\n'.encode(), ["2"], [2, 5]),
    "a byte that is not UTF-8": (b"1,\xff\n2,2\n3,3\n4,\xeb\x91\x98\n5,\xeb\x91\x98\n", ["2", "3", "4", "5"], [2]),
    "a NUL character": (b"1,a\0b\n2,2\n", ["2"], [2]),
    "empty fields": (b"1,\n2,\"\"\n", ["1", "2"], []),
    "a field of 900,000 characters": (b"1," + b"x" * 900_000 + b"\n2,2\n", ["1", "2"], []),
    "CP949": ("1,하나\n2,둘\n".encode("cp949"), ["1", "2"], []),
}  # fmt: skip

Found = tuple[int, list[Any], list[int]]  # rows; the ids and bad lines, of a small file


def read_tables(path: Path) -> Found:
    """This project."""
    from pipeline.data.tables import open_table

    count, ids, bad = 0, [], []
    for block in open_table(path).blocks():
        count += block.rows.num_rows
        ids += block.rows["id"].to_pylist() if count < 100 else []
        bad += [row.line for row in block.bad_rows]
    return count, ids, bad


def read_csv(path: Path) -> Found:
    """The standard library alone: bad rows are not named."""
    with open(path, encoding="utf-8", newline="") as file:
        count = sum(1 for _ in csv.reader(file))
        if count > 100:
            return count - 1, [], []
        file.seek(0)
        return count - 1, [row[0] for row in csv.reader(file)][1:], []


def read_duckdb(path: Path) -> Found:
    """DuckDB with `store_rejects`, block by block."""
    import duckdb

    connection = duckdb.connect()
    result = connection.sql(
        "select * from read_csv(?, header=true, auto_detect=false, delim=',', quote='\"', escape='\"', "
        "columns={'id': 'VARCHAR', 'text': 'VARCHAR'}, store_rejects=true, rejects_limit=0)",
        params=[str(path)],
    )
    count, ids = 0, []
    for batch in result.to_arrow_reader(4096):
        count += batch.num_rows
        ids += batch.column(0).to_pylist() if count < 100 else []
    lines = connection.execute("select distinct line from reject_errors order by line").fetchall()
    return count, ids, [line for (line,) in lines]


def read_pyarrow(path: Path) -> Found:
    """pyarrow.csv with `invalid_row_handler`, block by block."""
    import pyarrow as pa
    import pyarrow.csv

    bad: list[int] = []

    def skip(row: Any) -> str:
        bad.append(row.number)
        return "skip"

    reader = pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pyarrow.csv.ConvertOptions(column_types={"id": pa.string(), "text": pa.string()}),
    )
    count, ids = 0, []
    for batch in reader:
        count += batch.num_rows
        ids += batch.column(0).to_pylist() if count < 100 else []
    return count, ids, bad


READERS: dict[str, Callable[[Path], Found]] = {
    "this project": read_tables,
    "csv": read_csv,
    "duckdb": read_duckdb,
    "pyarrow.csv": read_pyarrow,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="Rows of the file that is timed.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        print(f"\n{'damage':<32}" + "".join(f"{name:>44}" for name in READERS))
        for damage, (content, ids, bad_lines) in DAMAGE.items():
            path.write_bytes(HEADER + (b"\r\n" if b"\r\n" in content else b"\n") + content)
            verdicts = [in_process(check, name, path, ids, bad_lines) for name in READERS]
            print(f"{damage:<32}" + "".join(f"{verdict:>44}" for verdict in verdicts))
        write_rows(path, options.rows)
        print(f"\n{options.rows:,} rows, {path.stat().st_size / 1e6:.0f} MB{'':<14}rows/s     peak MB")
        for name in READERS:
            seconds, memory = in_process(time_reader, name, path)
            print(f"{name:<30}{options.rows / seconds:>12,.0f}{memory:>12,.0f}")


def check(name: str, path: Path, ids: list[str], bad_lines: list[int]) -> str:
    """What the reader makes of a damaged file."""
    try:
        _, found, bad = READERS[name](path)
    except Exception as error:
        return type(error).__name__[:16]
    lost = len(set(ids) - set(found) - {None})
    wrong = len([one for one in found if one not in ids])
    verdict = [f"{lost} lost"] * bool(lost) + [f"{wrong} wrong"] * bool(wrong)
    verdict += [f"names {bad}, not {bad_lines}"] * (bad != bad_lines)
    return ", ".join(verdict) or "right"


def time_reader(name: str, path: Path) -> tuple[float, float]:
    """Seconds and the process' peak memory in MB."""
    started = time.perf_counter()
    READERS[name](path)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the function in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def write_rows(path: Path, count: int) -> None:
    """Texts of NSMC's lengths, one in twenty quoted."""
    words = "영화 정말 재밌다 배우 연기 좋았어요 별로 지루함 다시 보고 싶은 최고의 작품 감동".split()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for number in range(count):
            text = " ".join(words[(number * 7 + step) % len(words)] for step in range(2 + number % 14))
            writer.writerow([number, f'{text}, "참"' if number % 20 == 0 else text])


if __name__ == "__main__":
    main()
