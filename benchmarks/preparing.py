"""Preparing the data: seconds and peak memory of tokenizing both splits, or of opening them again.

python -m benchmarks --only preparing

This project starts with nothing loaded: it reads, checks, tokenizes and writes. The other methods get the texts and the
tokenizer for free.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

import pipeline.data.features  # noqa: F401  `load_features` imports it on first use: not while it is timed
from benchmarks.common import (
    MAX_LENGTH,
    Settings,
    fetch_config_and_tokenizer,
    log_progress,
    median_and_spread,
    print_table,
    read_corpus,
    run_in_process,
    tokenized_corpus,
)
from pipeline.modeling.loading import load_tokenizer

METHODS = {
    "tutorial": "all padded to 128, in lists, pickled",
    "encode_batch": "the tokenizers library alone",
    "encode_batch_fast": "its variant without offsets alone",
    "cold": "this project, the first time",
    "warm": "this project, from its cache",
}
CHUNK_SIZE = 1000  # texts that the library gets at a time

Splits = dict[str, tuple[list[str], list[int]]]  # texts and labels of each split


def measure(settings: Settings) -> dict[str, Any]:
    """Interleaved rounds of all methods; in each, warm opens what cold has written."""
    rounds: dict[str, list[dict]] = {method: [] for method in METHODS}
    for number in range(settings.rounds):
        log_progress(settings, number, "preparing the data")
        with tempfile.TemporaryDirectory() as folder:
            for method, measured in rounds.items():
                measured.append(run_in_process(prepare, settings, method, folder))
    return {
        method: {
            **median_and_spread("seconds", [one["seconds"] for one in measured]),
            "memory_mb": max(one["memory_mb"] for one in measured),
        }
        for method, measured in rounds.items()
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    columns = [("seconds", 10, ".2f"), ("spread", 16, ".2f"), ("MB", 7, ".0f")]
    print_table(
        "preparing both splits", columns, {METHODS[method]: list(row.values()) for method, row in result.items()}
    )


def prepare(settings: Settings, method: str, folder: str) -> dict[str, float]:
    """Time one method, which may write into `folder`."""
    if method in ("cold", "warm"):
        started = time.perf_counter()
        tokenized_corpus(settings, cache_dir=folder)
        return {"seconds": time.perf_counter() - started}
    splits = {split: (rows["text"][:], rows["label"][:]) for split, rows in read_corpus(settings).items()}
    tokenizer = load_tokenizer(fetch_config_and_tokenizer(settings), MAX_LENGTH)
    started = time.perf_counter()
    if method == "tutorial":
        _write_tutorial_features(splits, tokenizer, folder)
    else:
        _encode(splits, tokenizer, method)
    return {"seconds": time.perf_counter() - started}


def _write_tutorial_features(splits: Splits, tokenizer: PreTrainedTokenizerBase, folder: str) -> None:
    """Each example is a dict of padded lists, all in one pickle. The tokenizer is fast; the tutorial's was not."""
    for split, (texts, labels) in splits.items():
        encoded = tokenizer(texts, max_length=MAX_LENGTH, padding="max_length", truncation=True)
        features = [
            {**{name: column[index] for name, column in encoded.items()}, "label": label}
            for index, label in enumerate(labels)
        ]
        torch.save(features, Path(folder, split))


def _encode(splits: Splits, tokenizer: PreTrainedTokenizerBase, method: str) -> None:
    """Call the tokenizers library itself, and drop what it returns."""
    tokenizer.backend_tokenizer.enable_truncation(MAX_LENGTH)
    encode = getattr(tokenizer.backend_tokenizer, method)
    for texts, _ in splits.values():
        for start in range(0, len(texts), CHUNK_SIZE):
            encode(texts[start : start + CHUNK_SIZE])
