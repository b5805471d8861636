"""The features of a corpus: its rows with their token ids, in an Arrow folder that is built once.

`Dataset.from_dict(...).map(...)` writes no cache file, so every process and every run would tokenize again (datasets
5.2). Here the result is a folder named by the digest of its inputs, built once and memory-mapped afterwards. Rows are
streamed from the corpus' files to the folder, so memory does not grow with their number.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk
from transformers import PreTrainedTokenizerBase

from pipeline.data.arrow_folder import write_arrow_folder
from pipeline.data.corpus import CorpusFiles, CorpusSpec
from pipeline.data.tokenization import TOKEN_TYPES, require_fast, tokenize
from pipeline.runtime.build_once import build_once, trusted_folder
from pipeline.tasks import Task, create_task

logger = logging.getLogger(__name__)

FORMAT = 3  # raised whenever the same inputs would give other rows or columns
INPUTS = "features.json"  # what the folder was made from and what was seen on the way; written last
LONGEST_COUNTED = 1 << 16  # tokens; longer texts count as so long in the statistics


@dataclass(frozen=True)
class Features:
    """A tokenized corpus, memory-mapped, and what is known of it.

    Attributes:
        splits: those that the corpus has, with its columns and `input_ids` (lists of int32, not padded); for pairs of
            texts also `token_type_ids` (lists of int8) if the tokenizer makes them.
        folder: `datasets.load_from_disk` opens it as well.
        task: what is to be learnt, which of a user's own files is known only once they are read.
        report: what was seen while reading, for run.json and the terminal: columns, encodings, rows left out.
        statistics: by split: `num_examples`, `num_cut` (longer than max_length), `tokens` (mean, median, p95, max).
    """

    splits: DatasetDict
    folder: Path
    task: Task
    report: dict[str, Any]
    statistics: dict[str, dict[str, Any]]


def load_features(
    corpus: CorpusSpec,
    files: CorpusFiles,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    long_text: str = "head",
    clean: str = "none",
    cache_dir: Path,
    overwrite_cache: bool = False,
) -> Features:
    """Open the tokenized corpus, building it first if need be.

    Args:
        corpus: read only if the folder has to be built.
        files: their digests stand for the text in the folder's key.
        tokenizer: a fast tokenizer; its content, not its name or path, is part of the key.
        max_length: in tokens, special tokens included.
        long_text: what is read of a longer text (see `tokenize`).
        clean: the name of a cleaner in `pipeline.data.cleaning`, or none; the columns keep the texts as they are.
        cache_dir: the parent folder.
        overwrite_cache: build the folder again.

    Raises:
        UserError: the tokenizer is not a fast one, the corpus does not fit (see `CorpusSpec.resolve`), or the folder
            cannot be written.
    """
    require_fast(tokenizer)
    inputs = {
        "format": FORMAT,
        "corpus_sha256": files.sha256,
        "corpus_options": corpus.options(),
        "tokenizer_sha256": _tokenizer_digest(tokenizer),
        "truncation_side": tokenizer.truncation_side,
        "token_types": TOKEN_TYPES in tokenizer.model_input_names,
        "max_length": max_length,
        "long_text": long_text,
        "clean": clean,
    }
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = trusted_folder(cache_dir / f"{corpus.name}-{max_length}-{key}")

    def build(tmp_dir: Path) -> None:
        logger.info("Tokenizing the corpus; this is done once.")
        resolved = corpus.resolve(files)
        lengths = {split: _Lengths(max_length) for split in files.sha256}
        splits = {
            split: lengths[split].count(
                tokenize(
                    blocks,
                    tokenizer,
                    max_length,
                    resolved.task.text_columns,
                    long_text=long_text,
                    clean=clean,
                )
            )
            for split, blocks in resolved.read_blocks(files).items()
        }
        write_arrow_folder(tmp_dir, splits, key)
        about = {
            **inputs,
            "task": resolved.task.describe(),
            "report": resolved.report,
            "statistics": {split: each.statistics() for split, each in lengths.items()},
            "bytes": {str(path.relative_to(tmp_dir)): path.stat().st_size for path in _files(tmp_dir)},
        }
        (tmp_dir / INPUTS).write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")

    started = time.perf_counter()
    built = build_once(folder, build, is_valid=_is_valid, force=overwrite_cache)
    features = open_features(folder)
    seconds = time.perf_counter() - started
    logger.info("Features %s: %s (%.2f s)", "written" if built else "found", folder, seconds)
    return features


def open_features(folder: Path) -> Features:
    """Open a folder that `load_features` has built."""
    about = json.loads((folder / INPUTS).read_text(encoding="utf-8"))
    splits = load_from_disk(folder)
    return Features(splits, folder, create_task(**about["task"]), about["report"], about["statistics"])


class _Lengths:
    """Lengths of a split's examples in tokens, before truncation: a histogram, so that memory stays constant."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.histogram = np.zeros(LONGEST_COUNTED + 1, dtype=np.int64)

    def count(self, blocks: Iterator[Dataset]) -> Iterator[Dataset]:
        """Pass the blocks on without their column `num_tokens`."""
        for block in blocks:
            lengths = block.data.column("num_tokens").to_numpy()
            self.histogram += np.bincount(lengths.clip(max=LONGEST_COUNTED), minlength=LONGEST_COUNTED + 1)
            yield block.remove_columns("num_tokens")

    def statistics(self) -> dict[str, Any]:
        """As `Features.statistics` has them."""
        lengths, total = np.arange(len(self.histogram)), int(self.histogram.sum())
        below = np.cumsum(self.histogram)
        median, p95 = (int(np.searchsorted(below, share * total)) for share in (0.5, 0.95))
        tokens = {"mean": round(float(lengths @ self.histogram) / total, 2), "median": median, "p95": p95}
        tokens["max"] = int(np.flatnonzero(self.histogram)[-1])
        return {"num_examples": total, "num_cut": int(self.histogram[self.max_length + 1 :].sum()), "tokens": tokens}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def log_examples(features: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, count: int = 5) -> None:
    """Write the first rows to the log file as the tutorial shows them: sentence, tokens, label, ids."""
    for row in features.select(range(min(count, len(features)))):
        logger.debug(
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
