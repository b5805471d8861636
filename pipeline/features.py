"""Text -> token ids, and the Arrow folder that keeps them. The only caller of `Dataset.map`.

`Dataset.from_dict(...).map(...)` writes no cache file, so every process and every run would tokenize again (datasets
5.2). Here the result is a folder named by what it was made from, built once and opened ever after. Rows go from the
corpus' file to the folder block by block: memory stays the same however many there are.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, List, Value, load_from_disk
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from pipeline.build_once import build_once, trusted_place
from pipeline.errors import UserError

logger = logging.getLogger(__name__)

FORMAT = 1  # raised whenever the same inputs would give other rows or columns
ABOUT = "features.json"  # what the folder was made from; written last
AT_ONCE = 500  # texts that one thread hands to the tokenizers library, which shares them out over the cores


def default_cache_dir() -> Path:
    """The folder of Hugging Face datasets (HF_DATASETS_CACHE) and, in it, ours."""
    return Path(datasets.config.HF_DATASETS_CACHE, "nsmc-pipeline")


def load_features(
    read_blocks: Callable[[], dict[str, Iterator[Dataset]]],
    corpus_sha256: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_seq_length: int,
    *,
    corpus_name: str = "nsmc",
    cache_dir: str | Path | None = None,
    overwrite_cache: bool = False,
) -> tuple[DatasetDict, Path]:
    """Open the tokenized corpus, making it first if no one has.

    Args:
        read_blocks: gives the text of each split, block by block; called only when the folder has to be made.
        corpus_sha256: digest of each split's file, which stands for the text in the folder's key.
        tokenizer: a fast tokenizer; its content, not its name or path, is part of the key.
        max_seq_length: longest review in tokens, special tokens included; longer ones are cut at the end.
        corpus_name: the first word of the folder's name.
        cache_dir: where the folder is; `default_cache_dir()` if None.
        overwrite_cache: make the folder anew.

    Returns:
        The splits with the columns `text` (string), `label` (ClassLabel) and `input_ids` (list of int32, not padded,
        of length 2 to max_seq_length), memory-mapped; and the folder, which `datasets.load_from_disk` opens as well.

    Raises:
        UserError: the tokenizer is not a fast one, or the folder cannot be written.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which takes minutes where a fast one takes seconds. "
            "Use a model whose tokenizer loads as a fast one (it has a tokenizer.json or a vocab.txt)."
        )
    made_from = {
        "format": FORMAT,
        "corpus_sha256": corpus_sha256,
        "tokenizer_sha256": _tokenizer_digest(tokenizer),
        "max_seq_length": max_seq_length,
    }
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    folder = trusted_place(cache_dir / f"{corpus_name}-{max_seq_length}-{key}")

    def build(beside: Path) -> None:
        logger.info("Tokenizing the corpus; this is done once.")
        splits = {split: tokenize(blocks, tokenizer, max_seq_length) for split, blocks in read_blocks().items()}
        _write(beside, splits, key)
        sizes = {str(path.relative_to(beside)): path.stat().st_size for path in beside.rglob("*") if path.is_file()}
        (beside / ABOUT).write_text(json.dumps({**made_from, "bytes": sizes}, indent=2), encoding="utf-8")

    started = time.perf_counter()
    built = build_once(folder, build, sound=_is_sound, anew=overwrite_cache)
    features = load_from_disk(folder)
    seconds = time.perf_counter() - started
    logger.info("Features %s: %s (%.2f s)", "written" if built else "found", folder, seconds)
    return features, folder


def tokenize(blocks: Iterable[Dataset], tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> Iterator[Dataset]:
    """Add `input_ids` to the rows of each block by a batched map, in memory: truncated, not padded.

    The ids are those of `tokenizer(text, truncation=True, max_length=max_seq_length)`. They are taken from the
    tokenizers library itself, since transformers' call also computes offsets and makes lists of everything, which is
    half as long again (5.23); and while one thread turns ids into arrays, the other has the library at work.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: what follows would stay in its state
    backend.enable_truncation(max_seq_length, direction=tokenizer.truncation_side)
    backend.no_padding()

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids = [encoding.ids for encoding in backend.encode_batch_fast(texts)]
        lengths = np.fromiter(map(len, ids), np.int32, len(ids))
        return lengths, np.fromiter(chain.from_iterable(ids), np.int32, lengths.sum())

    def add_ids(batch: pa.Table) -> pa.Table:
        texts = batch.column("text").to_pylist()
        parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
        lengths, ids = (np.concatenate(arrays) for arrays in zip(*threads.map(encode, parts), strict=True))
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return batch.append_column("input_ids", pa.ListArray.from_arrays(ends, ids))

    options = {"batched": True, "batch_size": 8 * AT_ONCE, "keep_in_memory": True}
    options["new_fingerprint"] = "in-memory"  # else one is computed for every block, for a cache that is not used
    with ThreadPoolExecutor(2) as threads:
        for rows in blocks:
            columns = datasets.Features({**rows.features, "input_ids": List(Value("int32"))})
            with _no_bars():
                tokenized = rows.with_format("arrow").map(add_ids, features=columns, **options)
            yield tokenized.with_format(None)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Silence the bar that `map` shows, for as long as the block runs."""
    before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            datasets.enable_progress_bars()


def _write(folder: Path, splits: dict[str, Iterator[Dataset]], fingerprint: str) -> None:
    """Write blocks of rows as `DatasetDict.save_to_disk` would write all of them, which needs all of them at once.

    The library lays the folder out around the first row; then all rows are streamed into its data file.
    """
    for split, blocks in splits.items():
        first = next(blocks)
        sample = Dataset(first.data.table.slice(0, 1), first.info, fingerprint=f"{fingerprint}-{split}")
        with _no_bars():
            sample.save_to_disk(folder / split)
        (data_file,) = (folder / split).glob("*.arrow")
        with (
            pa.OSFile(str(data_file), "wb") as file,
            pa.ipc.new_stream(file, first.data.table.schema) as writer,
            datasets.utils.tqdm(desc=f"Tokenizing {split}", unit=" reviews") as bar,
        ):
            for block in chain([first], blocks):
                # One record batch a block: opening the file looks at each, and the system maps what stands around.
                writer.write_table(block.data.table.combine_chunks())
                bar.update(len(block))
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}), encoding="utf-8")


def hold_out(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split a validation set off, stratified by label; the same rows for the same seed.

    Returns:
        The rows to train on and the rows to validate on, or all rows and None where `fraction` is 0.

    Raises:
        UserError: the fraction leaves a label without a row on one side.
    """
    if fraction == 0:
        return train, None
    # `Dataset.train_test_split` would write its indices into the cache folder (datasets 5.2), which others read.
    labels = train.data.column("label").to_numpy()
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        share = round(len(rows) * fraction)
        if not 0 < share < len(rows):
            raise UserError(
                f"--validation_fraction {fraction} holds out {share} of the {len(rows)} training reviews labelled "
                f"{train.features['label'].int2str(int(label))}; expected at least one, and one left to train on."
            )
        held_out[generator.permutation(rows)[:share]] = True
    return train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))


def split_rows(
    features: DatasetDict, fraction: float, seed: int, first: int | None = None, column: str = "input_ids"
) -> dict[str, Dataset]:
    """The rows of `train`, `validation` (unless `fraction` is 0) and `test`, with the column asked for and `label`.

    Args:
        features: from `load_features`.
        fraction: share of the training reviews held out for validation.
        seed: fixes which.
        first: only so many rows of each, for trying out.
        column: `input_ids`, or `text`.

    Raises:
        UserError: as `hold_out`.
    """
    train, validation = hold_out(features["train"], fraction, seed)
    splits = {"train": train, "validation": validation, "test": features["test"]}
    return {
        name: rows.select_columns([column, "label"]).select(range(min(len(rows), first or len(rows))))
        for name, rows in splits.items()
        if rows is not None
    }


def log_examples(features: Dataset, tokenizer: PreTrainedTokenizerBase, count: int = 5) -> None:
    """Log the first rows as the tutorial does: sentence, tokens, label, ids."""
    for row in features.select(range(min(count, len(features)))):
        logger.info(
            "*** Example ***\n  sentence: %s\n  tokens:   %s\n  label:    %s\n  ids:      %s",
            row["text"],
            " ".join(tokenizer.convert_ids_to_tokens(row["input_ids"])),
            features.features["label"].int2str(row["label"]),
            row["input_ids"],
        )


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of what decides the ids. Truncation and padding are set anew at every call and are no part of it."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_sound(folder: Path) -> bool:
    """Whether every file that was written is there at its full size; a disk that filled up or lost power shows."""
    try:
        sizes = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["bytes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        logger.warning("%s is damaged and is made anew.", folder)
        return False
