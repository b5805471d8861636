"""What the measurements share: settings, corpus and model, one process per measurement, medians and tables."""

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from pipeline.api import load_features
from pipeline.data.corpora import get_corpus
from pipeline.data.corpus import CorpusFiles
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.runtime.build_once import default_cache_dir

MAX_LENGTH = 128
SEED = 7


@dataclass(frozen=True)
class Settings:
    """The options that measurements read; `python -m benchmarks --help` describes them."""

    model_name_or_path: str
    corpus_name: str
    corpus_root_dir: str
    mixed_precision: str
    torch_compile: bool
    batch_size: int
    batches: int
    max_length_batches: int
    texts: int
    rounds: int
    threads: int


# Corpus and model.


def fetch_corpus(settings: Settings) -> CorpusFiles:
    """The corpus' files, checked.

    Raises:
        UserError: a file is missing, or not what it should be. Nothing is downloaded.
    """
    root_dir = Path(settings.corpus_root_dir)
    return get_corpus(settings.corpus_name).fetch(root_dir, default_cache_dir(), download=False)


def read_corpus(settings: Settings) -> datasets.DatasetDict:
    """The texts and labels of all splits."""
    return get_corpus(settings.corpus_name).read(fetch_corpus(settings))


def tokenized_corpus(settings: Settings, cache_dir: str | None = None) -> datasets.DatasetDict:
    """The corpus as token ids, from the cache or made now."""
    return load_features(
        settings.model_name_or_path,
        MAX_LENGTH,
        corpus_name=settings.corpus_name,
        corpus_root_dir=settings.corpus_root_dir,
        cache_dir=cache_dir,
    )


def fetch_config_and_tokenizer(settings: Settings) -> ModelFiles:
    """The model's files, without weights."""
    return fetch_model(settings.model_name_or_path, weights=False)


def create_model(settings: Settings) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """A model with random weights, and its tokenizer."""
    files = fetch_config_and_tokenizer(settings)
    torch.manual_seed(SEED)
    return load_model(files, get_corpus(settings.corpus_name).task), load_tokenizer(files, MAX_LENGTH)


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# Time and memory.


def now() -> float:
    """Seconds, once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def log_progress(settings: Settings, number: int, what: str) -> None:
    """Say what is measured now; rounds count from 0."""
    print(f"round {number + 1} of {settings.rounds}: {what}", flush=True)


def run_in_process(function: Callable[..., dict], settings: Settings, *arguments: Any) -> dict[str, Any]:
    """Call `function(settings, *arguments)` in a new process, whose peak memory is the measurement's own.

    Returns:
        What the function returns, and `memory_mb`: the peak of the process, or of the GPU if there is one.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _set_up_process, (settings.threads,)) as process:
        return process.submit(_call, function, settings, *arguments).result()


def _set_up_process(threads: int) -> None:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # Trainer would divide each batch among several GPUs
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _call(function: Callable[..., dict], settings: Settings, *arguments: Any) -> dict[str, Any]:
    return {**function(settings, *arguments), "memory_mb": _peak_memory_mb()}


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


# Results.


def median_and_spread(name: str, values: list[float]) -> dict[str, Any]:
    """The median of the rounds, under a name, and their least and greatest value."""
    return {name: statistics.median(values), "spread": [min(values), max(values)]}


def print_table(title: str, columns: list[tuple[str, int, str]], rows: dict[str, list[Any]]) -> None:
    """Print a table.

    Args:
        title: the head of the first column.
        columns: head, width and number format of the others.
        rows: the numbers of each row, by its name; a list of numbers is a spread.
    """
    print(f"\n{title:<44}" + "".join(f"{head:>{width}}" for head, width, _ in columns))
    for name, numbers in rows.items():
        cells = zip(numbers, columns, strict=True)
        print(f"{name[:43]:<44}" + "".join(f"{_format(number, spec):>{width}}" for number, (_, width, spec) in cells))


def _format(number: float | list[float], spec: str) -> str:
    return "-".join(format(one, spec) for one in (number if isinstance(number, list) else [number]))
