"""Arrow tables as datasets, and folders of them written block by block: what datasets offers only for data in memory.

All uses of what datasets does not promise are here (seen with 5.2.0; tests/data/test_arrow_folder.py says if it
changes): the table of a dataset (`Dataset.data.table`), its constructor from a table, and the layout of a folder by
`save_to_disk`, whose one data file is replaced. They can go when `save_to_disk` takes an iterable of tables.
"""

import contextlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features


def dataset_from_table(table: pa.Table, features: Features) -> Dataset:
    """A dataset in memory. `Dataset.from_dict` would look at every value and take longer than reading them (5.2)."""
    return Dataset(table, DatasetInfo(features=features))


def write_arrow_folder(folder: Path, splits: dict[str, Iterator[Dataset]], fingerprint: str) -> None:
    """Write a `DatasetDict` as `save_to_disk` would, streaming the blocks: memory does not grow with their number.

    The library writes the folder for the first row; then its data file is replaced by one with all rows.
    """
    for split, blocks in splits.items():
        first = next(blocks)
        sample = Dataset(first.data.table.slice(0, 1), first.info, fingerprint=f"{fingerprint}-{split}")
        with progress_bars_disabled():
            sample.save_to_disk(folder / split)
        (data_file,) = (folder / split).glob("*.arrow")
        with (
            pa.OSFile(str(data_file), "wb") as file,
            pa.ipc.new_stream(file, first.data.table.schema) as writer,
            datasets.utils.tqdm(desc=f"Tokenizing {split}", unit=" examples") as bar,
        ):
            for block in chain([first], blocks):
                # One record batch a block: opening the file reads the header of each, and the kernel maps its pages.
                writer.write_table(block.data.table.combine_chunks())
                bar.update(len(block))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}), encoding="utf-8")


@contextlib.contextmanager
def progress_bars_disabled() -> Iterator[None]:
    """Silence the bars of datasets while the block runs."""
    before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            datasets.enable_progress_bars()
