"""How preparing the data grows with the corpus: seconds and peak memory for the corpus repeated 1, 4 and 16 times.

python -m benchmarks --only growth

Each size is prepared once, then opened from the cache.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import Settings, fetch_corpus, print_table, run_in_process
from benchmarks.preparing import prepare
from pipeline.data.corpora import get_corpus

REPETITIONS = (1, 4, 16)


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds and memory by number of repetitions."""
    result = {}
    for times in REPETITIONS:
        print(f"preparing the corpus repeated {times} times", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            grown = settings if times == 1 else repeat_corpus(settings, times, Path(folder, "corpus"))
            result[str(times)] = {method: run_in_process(prepare, grown, method, folder) for method in ("cold", "warm")}
    return result


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    columns = [("making s", 10, ".2f"), ("MB", 7, ".0f"), ("opening s", 11, ".2f"), ("MB", 7, ".0f")]
    rows = {times: [*row["cold"].values(), *row["warm"].values()] for times, row in result.items()}
    print_table("the corpus repeated so many times", columns, rows)


def repeat_corpus(settings: Settings, times: int, root_dir: Path) -> Settings:
    """Write a corpus of NSMC's layout with its rows repeated. Returns settings that name it."""
    files, spec = fetch_corpus(settings), get_corpus("nsmc_layout")
    (root_dir / spec.subfolder).mkdir(parents=True)
    for file in spec.files.values():
        header, rows = (files.folder / file.name).read_bytes().split(b"\n", 1)
        with open(root_dir / spec.subfolder / file.name, "wb") as copy:
            copy.write(header + b"\n")
            for _ in range(times):
                copy.write(rows.removesuffix(b"\n") + b"\n")
    return replace(settings, corpus_name=spec.name, corpus_root_dir=str(root_dir))
