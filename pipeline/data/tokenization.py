"""Text -> token ids, and the Arrow folder that keeps them. The only caller of `Dataset.map`.

`Dataset.from_dict(...).map(...)` writes no cache file, so every process and every run would tokenize again (datasets
5.2). Here the result is a folder named by the digest of its inputs, built once and memory-mapped afterwards. Rows are
streamed from the corpus' file to the folder, so memory does not grow with their number.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, List, Value, load_from_disk
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from pipeline.data.arrow_folder import progress_bars_disabled, write_arrow_folder
from pipeline.data.corpus import CorpusFiles, CorpusSpec
from pipeline.runtime.build_once import build_once, trusted_folder
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

logger = logging.getLogger(__name__)

FORMAT = 2  # raised whenever the same inputs would give other rows or columns
INPUTS = "features.json"  # what the folder was made from; written last
CHUNK_SIZE = 500  # texts a call of the tokenizers library, which distributes them over the cores


def load_features(
    corpus: CorpusSpec,
    files: CorpusFiles,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    cache_dir: Path,
    overwrite_cache: bool = False,
) -> tuple[DatasetDict, Path]:
    """Open the tokenized corpus, building it first if need be.

    Args:
        corpus: read only if the folder has to be built.
        files: their digests stand for the text in the folder's key.
        tokenizer: a fast tokenizer; its content, not its name or path, is part of the key.
        max_length: in tokens, special tokens included; longer texts are truncated.
        cache_dir: the parent folder.
        overwrite_cache: build the folder again.

    Returns:
        The splits with the columns of the corpus and `input_ids` (list of int32, not padded, at most max_length long),
        memory-mapped; and the folder, which `datasets.load_from_disk` opens as well.

    Raises:
        UserError: the tokenizer is not a fast one, or the folder cannot be written.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which takes minutes where a fast one takes seconds. "
            "Use a model whose tokenizer loads as a fast one (it has a tokenizer.json or a vocab.txt)."
        )
    inputs = {
        "format": FORMAT,
        "corpus_sha256": files.sha256,
        "tokenizer_sha256": _tokenizer_digest(tokenizer),
        "truncation_side": tokenizer.truncation_side,
        "max_length": max_length,
    }
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = trusted_folder(cache_dir / f"{corpus.name}-{max_length}-{key}")

    def build(tmp_dir: Path) -> None:
        logger.info("Tokenizing the corpus; this is done once.")
        (column,) = corpus.task.text_columns  # pairs would need token types as well
        texts = corpus.read_blocks(files)
        splits = {split: tokenize(blocks, tokenizer, max_length, column) for split, blocks in texts.items()}
        write_arrow_folder(tmp_dir, splits, key)
        sizes = {str(path.relative_to(tmp_dir)): path.stat().st_size for path in tmp_dir.rglob("*") if path.is_file()}
        (tmp_dir / INPUTS).write_text(json.dumps({**inputs, "bytes": sizes}, indent=2), encoding="utf-8")

    started = time.perf_counter()
    built = build_once(folder, build, is_valid=_is_valid, force=overwrite_cache)
    features = load_from_disk(folder)
    seconds = time.perf_counter() - started
    logger.info("Features %s: %s (%.2f s)", "written" if built else "found", folder, seconds)
    return features, folder


def tokenize(
    blocks: Iterable[Dataset], tokenizer: PreTrainedTokenizerBase, max_length: int, text_column: str = "text"
) -> Iterator[Dataset]:
    """Add `input_ids` to the rows of each block by a batched map, in memory: truncated, not padded.

    The ids are those of `tokenizer(text, truncation=True, max_length=max_length)`. They come from the tokenizers
    library itself: transformers' call also computes offsets and builds Python lists, and takes half as long again
    (5.23). While one thread turns ids into arrays, the other keeps the library busy.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: the settings would stay in its state
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    backend.no_padding()

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids = [encoding.ids for encoding in backend.encode_batch_fast(texts)]
        lengths = np.fromiter(map(len, ids), np.int32, len(ids))
        return lengths, np.fromiter(chain.from_iterable(ids), np.int32, lengths.sum())

    def add_input_ids(batch: pa.Table) -> pa.Table:
        texts = batch.column(text_column).to_pylist()
        chunks = [texts[start : start + CHUNK_SIZE] for start in range(0, len(texts), CHUNK_SIZE)]
        lengths, ids = (np.concatenate(arrays) for arrays in zip(*threads.map(encode, chunks), strict=True))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return batch.append_column("input_ids", pa.ListArray.from_arrays(offsets, ids))

    options: dict[str, Any] = {"batched": True, "batch_size": 8 * CHUNK_SIZE, "keep_in_memory": True}
    options["new_fingerprint"] = "in-memory"  # otherwise one is computed for every block, for a cache that is not used
    with ThreadPoolExecutor(2) as threads:
        for rows in blocks:
            columns = datasets.Features({**rows.features, "input_ids": List(Value("int32"))})
            with progress_bars_disabled():
                tokenized = rows.with_format("arrow").map(add_input_ids, features=columns, **options)
            yield tokenized.with_format(None)


def log_examples(features: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, count: int = 5) -> None:
    """Log the first rows as the tutorial does: sentence, tokens, label, ids."""
    for row in features.select(range(min(count, len(features)))):
        logger.info(
            "*** Example ***\n  sentence: %s\n  tokens:   %s\n  label:    %s\n  ids:      %s",
            " / ".join(row[column] for column in task.text_columns),
            " ".join(tokenizer.convert_ids_to_tokens(row["input_ids"])),
            task.label_name(row["label"]),
            row["input_ids"],
        )


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of what decides the ids, but for truncation and padding, which every call sets."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["truncation"] = content["padding"] = None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_valid(folder: Path) -> bool:
    """Whether every file has the size it was written with, which fails after a full disk or a power cut."""
    try:
        sizes = json.loads((folder / INPUTS).read_text(encoding="utf-8"))["bytes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        logger.warning("%s is damaged and is built again.", folder)
        return False
