"""Measure this pipeline against the usual ways, on this machine and in one run.

python scripts/benchmark.py --corpus_root_dir ~/Korpora                      # everything, kcbert-base's shape
python scripts/benchmark.py --only train --mixed_precision bf16 --batches 200    # a GPU
python scripts/benchmark.py --only train --mixed_precision bf16 --batches 50 --batch_size 256

Random weights are enough for speed, so config and tokenizer of the model are all that is needed. Every measurement is
a process of its own, so that each has its own peak of memory; rounds are interleaved, and the table shows medians.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from datasets import Dataset, concatenate_datasets
from torch.autograd import DeviceType
from transformers import PrinterCallback, TrainerCallback

from pipeline.arguments import TrainingArguments
from pipeline.batching import PaddingCollator, TokenRows, make_collator
from pipeline.corpus import LABELS, OFFICIAL, fetch_corpus, read_corpus
from pipeline.errors import UserError
from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging
from pipeline.model import load_model, load_tokenizer
from pipeline.results import environment, write_json
from pipeline.reuse import load_features
from pipeline.trainer import Trainer

LONGEST = 128
WAYS = {
    "a": "plain loop, pad to 128, float32, AdamW",
    "b": "Trainer, pad to 128",
    "c": "Trainer, pad to longest",
    "d": "Trainer, grouped by length",
    "e": "this project",
}
PREPARING = {
    "tutorial": "all padded to 128, in lists, pickled",
    "encode_batch": "the tokenizers library alone",
    "encode_batch_fast": "its variant without offsets alone",
    "cold": "this project, the first time",
    "warm": "this project, ever after",
}
GROUPED = 50  # batches that transformers' length grouping sorts at a time
AT_ONCE = 1000  # texts that the library is given at once
GROWTH = (1, 4, 16)
LAUNCH = (str(Path(sys.executable).with_name("accelerate")), "launch")


@dataclass(frozen=True)
class Settings:
    """What every measurement is told."""

    config: str
    corpus_root_dir: str
    mixed_precision: str
    torch_compile: bool
    batch_size: int
    batches: int
    fixed_batches: int
    texts: int
    threads: int


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="beomi/kcbert-base", help="Whose shape and tokenizer: folder or Hub.")
    parser.add_argument("--corpus_root_dir", default="~/Korpora", help="Korpora's folder, with NSMC in its nsmc/.")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], default="no", help="For all but (a).")
    parser.add_argument("--torch_compile", action="store_true", help="Compile the model of (e).")
    parser.add_argument("--batch_size", type=int, default=32, help="Reviews in a batch, for all.")
    parser.add_argument("--batches", type=int, default=8, help="Batches that (c), (d) and (e) are timed on.")
    parser.add_argument("--fixed_batches", type=int, default=2, help="Those for (a) and (b): each costs the same.")
    parser.add_argument("--texts", type=int, default=256, help="Texts that prediction is timed on.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmark.json"))
    return parser.parse_args()


# Training.


class Counted:
    """A collator that keeps count of what its batches are made of."""

    def __init__(self, collate: Callable) -> None:
        self.collate, self.batches = collate, []

    def __call__(self, rows: list[dict]) -> dict:
        batch = self.collate(rows)
        tokens = sum(len(row["input_ids"]) for row in rows)
        self.batches.append({"reviews": len(rows), "tokens": tokens, "slots": batch["input_ids"].numel()})
        return batch

    def after(self, first: int) -> dict[str, float]:
        """Reviews, tokens and slots (tokens with the padding) of all batches but the first ones."""
        counted = self.batches[first:]
        return {what: sum(batch[what] for batch in counted) for what in ("reviews", "tokens", "slots")}


class Clock(TrainerCallback):
    """Seconds from the end of the steps that warm up to that of the last one."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.warm_up:
            self.started = now()
        elif state.global_step > self.warm_up:
            self.seconds = now() - self.started


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def prepare_model(settings: Settings) -> tuple[torch.nn.Module, Any]:
    files = fetch_model(settings.config, weights=False)
    torch.manual_seed(7)
    return load_model(files, LABELS), load_tokenizer(files, LONGEST)


def shuffled_rows(settings: Settings) -> Dataset:
    features = load_features(settings.config, LONGEST, root_dir=settings.corpus_root_dir, official_only=False)
    return features["train"].select_columns(["input_ids", "label"]).shuffle(seed=7)


def timed_rows(settings: Settings, batches: int) -> Dataset:
    """The same reviews for every way but (d): random batches of the training set."""
    return shuffled_rows(settings).select(range(settings.batch_size * batches))


def lengths_of(rows: Dataset) -> np.ndarray:
    """Tokens of each review, [reviews]."""
    return np.array([len(row["input_ids"]) for row in TokenRows(rows)])


def grouped_rows(settings: Settings) -> Dataset:
    """What (d) is timed on: a fair sample of the batches that it makes of a whole epoch.

    It sorts 50 random batches at a time by length (transformers 5.23, `get_length_grouped_indices`), but of few rows
    fewer at a time, down to not at all. So 50 are drawn for it, or however many there are, and sorted; those that are
    timed lie at even distances.
    """
    rows, size, wanted = shuffled_rows(settings), settings.batch_size, settings.batches
    drawn = min(-(-wanted // GROUPED) * GROUPED, len(rows) // size)
    rows = rows.select(range(drawn * size))
    group = np.arange(len(rows)) // (GROUPED * size)
    by_length = np.lexsort((-lengths_of(rows), group)).reshape(drawn, size)
    return rows.select(by_length[((np.arange(wanted) + 0.5) * drawn / wanted).astype(int)].flatten())


def train(way: str, settings: Settings) -> dict[str, float]:
    """Time some batches, after one that warms up; after all of them, where programs are compiled for their shapes."""
    timed = timed_rows(settings, settings.fixed_batches if way in "ab" else settings.batches)
    warm_up = len(timed) // settings.batch_size if settings.torch_compile and way == "e" else 1
    first = timed.select(range(settings.batch_size * warm_up))
    rows = concatenate_datasets([first, grouped_rows(settings) if way == "d" else timed])
    model, tokenizer = prepare_model(settings)
    go = partial(plain_loop, settings) if way == "a" else partial(with_trainer, way, settings)
    seconds, counted = go(model, tokenizer, rows, warm_up)
    measured = {"seconds": seconds, **counted.after(warm_up)}
    if way == "d":  # whose reviews are others: as many of the others' mean length as make so many tokens
        measured["reviews"] = float(measured["tokens"] / lengths_of(timed).mean())
    return measured


def plain_loop(
    settings: Settings, model: torch.nn.Module, tokenizer: Any, rows: Dataset, warm_up: int
) -> tuple[float, Counted]:
    """(a): the tutorial's way, the rows in their order."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    counted = Counted(PaddingCollator(tokenizer.pad_token_id, LONGEST))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=False)
    for number, batch in enumerate(torch.utils.data.DataLoader(rows, settings.batch_size, collate_fn=counted)):
        if number == warm_up:
            started = now()
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return now() - started, counted


def with_trainer(
    way: str,
    settings: Settings,
    model: torch.nn.Module,
    tokenizer: Any,
    rows: Dataset,
    warm_up: int,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> tuple[float, Counted]:
    """(b) to (e), the rows in their order."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            **{"output_dir": folder, "num_train_epochs": 1, "per_device_train_batch_size": settings.batch_size},
            **{"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"},
            "use_cpu": not torch.cuda.is_available(),  # else Trainer wants a GPU for bf16
            "train_sampling_strategy": "sequential",  # they were drawn at random, or grouped, before
            **({} if settings.mixed_precision == "no" else {settings.mixed_precision: True}),
        }
        if way == "e":
            options |= {"eval_strategy": "no", "load_best_model_at_end": False}
            # TF32, which transformers turns on for what it compiles, would be for one way alone.
            args = TrainingArguments(**options, torch_compile=settings.torch_compile, tf32=False)
            counted = Counted(make_collator("auto", model, tokenizer, LONGEST, args))
            make = Trainer
        else:
            args = transformers.TrainingArguments(**options, remove_unused_columns=False)
            counted = Counted(PaddingCollator(tokenizer.pad_token_id, LONGEST if way == "b" else None))
            make = transformers.Trainer
        clock = Clock(warm_up)
        trainer = make(
            model=model, args=args, train_dataset=rows, data_collator=counted, callbacks=[clock, *callbacks]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return clock.seconds, counted


def dense(settings: Settings) -> dict[str, float]:
    """Forward and backward over as many tokens in one dense batch without any padding, and the matrix peak."""
    length = round(lengths_of(timed_rows(settings, settings.batches)).mean())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = prepare_model(settings)[0].to(device).train()
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.mixed_precision]
    ids = torch.randint(5, model.config.vocab_size, (settings.batch_size, length), device=device)
    labels = torch.zeros(settings.batch_size, dtype=torch.long, device=device)
    times = []
    for _ in range(1 + settings.batches):
        started = now()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(model(input_ids=ids).logits.float(), labels)
        loss.backward()
        times.append(now() - started)
        model.zero_grad()
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    products = []
    for _ in range(8):
        started = now()
        left @ right
        products.append(now() - started)
    return {
        "seconds": statistics.median(times[1:]),
        "tokens": settings.batch_size * length,
        "flops": flops(model.config, settings.batch_size * length, length),
        "peak": 2 * size**3 / min(products),
    }


def flops(config: Any, tokens: float, length: float) -> float:
    """Multiplications and additions of forward and backward over `tokens` real tokens in texts of `length`.

    Twice the weights of the layers for each token forward, twice that backward, and scores and contexts of attention.
    Counted alike for every way; (e) does less, since its last layer computes first tokens alone.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return 3 * layers * tokens * (2 * (4 * hidden**2 + 2 * hidden * inner) + 4 * length * hidden)


def training_part(settings: Settings, rounds: int) -> dict[str, Any]:
    alone(timed_rows, settings, 1)  # the features are there before anything is timed
    seen: dict[str, list[dict]] = {way: [] for way in [*WAYS, "dense"]}
    for number in range(rounds):
        for way in seen:
            print(
                f"round {number + 1} of {rounds}: {WAYS.get(way, 'one dense batch, and the matrix peak')}", flush=True
            )
            seen[way].append(alone(dense, settings) if way == "dense" else alone(train, way, settings))
    config = transformers.AutoConfig.from_pretrained(fetch_model(settings.config, weights=False).folder)
    peak = statistics.median(one["peak"] for one in seen["dense"])
    table = {}
    for way, name in WAYS.items():
        rates = [one["reviews"] / one["seconds"] for one in seen[way]]
        last = seen[way][-1]
        per_second = last["tokens"] / last["reviews"] * statistics.median(rates)
        table[way] = {
            "way": name,
            "reviews_per_second": statistics.median(rates),
            "spread": [min(rates), max(rates)],
            "useful_tokens_per_second": per_second,
            "useful_share": last["tokens"] / last["slots"],
            "share_of_peak": flops(config, per_second, last["tokens"] / last["reviews"]) / peak,
            "memory_mb": max(one["memory_mb"] for one in seen[way]),
        }
    of_dense = statistics.median(one["flops"] / one["seconds"] for one in seen["dense"]) / peak
    return {"ways": table, "peak_flops": peak, "dense_share_of_peak": of_dense}


def show_training(result: dict[str, Any]) -> None:
    ways = result["ways"]
    heads = {"reviews/s": 10, "spread": 16, "tokens/s": 10, "useful": 8, "peak": 7, "MB": 7, "x (a)": 7}
    print(f"\n{'training':<44}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for letter, row in ways.items():
        spread = "{:.2f}-{:.2f}".format(*row["spread"])
        ratio = row["reviews_per_second"] / ways["a"]["reviews_per_second"]
        print(
            f"({letter}) {row['way']:<40}{row['reviews_per_second']:>10.2f}{spread:>16}"
            f"{row['useful_tokens_per_second']:>10.0f}{row['useful_share']:>8.1%}{row['share_of_peak']:>7.1%}"
            f"{row['memory_mb']:>7.0f}{ratio:>7.2f}"
        )
    ours = ways["e"]["share_of_peak"]
    print(
        f"matrix peak {result['peak_flops'] / 1e9:.0f} GFLOP/s; one dense batch, forward and backward alone, reaches "
        f"{result['dense_share_of_peak']:.1%} of it: (e) is at {ours / result['dense_share_of_peak']:.0%} of that"
    )


# Where a step goes.


class Profile(TrainerCallback):
    """torch's profiler over all steps but the first, which also allocates the optimizer's state."""

    def __init__(self, steps: int) -> None:
        self.profiler = torch.profiler.profile(schedule=torch.profiler.schedule(wait=0, warmup=1, active=steps))

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.step()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.profiler.stop()


def profiled(settings: Settings) -> dict[str, Any]:
    """Share of each of torch's operations in the time of (e), the largest first."""
    batches = max(2, settings.batches)
    model, tokenizer = prepare_model(settings)
    watch = Profile(batches)
    with_trainer("e", settings, model, tokenizer, timed_rows(settings, batches), 1, (watch,))
    on = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    # Operations alone: a GPU's kernels are listed beside them, with the same time once more.
    operations = [event for event in watch.profiler.key_averages() if event.device_type == DeviceType.CPU]
    times = {event.key: getattr(event, on) for event in operations}
    times.pop("ProfilerStep*", None)  # the whole of a step
    ranked = sorted(times, key=times.get, reverse=True)[:12]
    return {name: times[name] / sum(times.values()) for name in ranked}


def profiling_part(settings: Settings, rounds: int) -> dict[str, float]:
    print("profiling", flush=True)
    shares = alone(profiled, settings)
    shares.pop("memory_mb")
    return shares


def show_profiling(result: dict[str, float]) -> None:
    print(f"\n{'where a step of (e) goes':<44}{'share':>10}")
    for name, share in result.items():
        print(f"{name[:43]:<44}{share:>10.1%}")


# Preparing the data.


def prepare(way: str, folder: str, settings: Settings) -> dict[str, float]:
    """Make the features of both splits, or open them where they are.

    This project's ways begin with nothing loaded. The others are given the texts and the tokenizer for nothing.
    """
    if way in ("cold", "warm"):
        started = time.perf_counter()
        load_features(
            settings.config, LONGEST, root_dir=settings.corpus_root_dir, cache_dir=folder, official_only=False
        )
        return {"seconds": time.perf_counter() - started}
    files = fetch_corpus(settings.corpus_root_dir, official_only=False, download=False)
    splits = {split: (rows["text"][:], rows["label"][:]) for split, rows in read_corpus(files).items()}
    tokenizer = load_tokenizer(fetch_model(settings.config, weights=False), LONGEST)
    started = time.perf_counter()
    if way == "tutorial":
        _tutorial_features(splits, tokenizer, folder)
    else:
        tokenizer.backend_tokenizer.enable_truncation(LONGEST)
        encode = getattr(tokenizer.backend_tokenizer, way)
        for texts, _ in splits.values():
            for start in range(0, len(texts), AT_ONCE):
                encode(texts[start : start + AT_ONCE])
    return {"seconds": time.perf_counter() - started}


def _tutorial_features(splits: dict[str, tuple[list[str], list[int]]], tokenizer: Any, folder: str) -> None:
    """Each review a dict of padded lists, all in one pickle; by a fast tokenizer, which the tutorial had not."""
    for split, (texts, labels) in splits.items():
        encoded = tokenizer(texts, max_length=LONGEST, padding="max_length", truncation=True)
        features = [
            {**{name: column[index] for name, column in encoded.items()}, "label": label}
            for index, label in enumerate(labels)
        ]
        torch.save(features, Path(folder, split))


def preparing_part(settings: Settings, rounds: int) -> dict[str, Any]:
    seen: dict[str, list[dict]] = {way: [] for way in PREPARING}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: preparing the data", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for way, measured in seen.items():
                measured.append(alone(prepare, way, folder, settings))
    return {
        way: {
            "seconds": statistics.median(one["seconds"] for one in measured),
            "spread": [min(one["seconds"] for one in measured), max(one["seconds"] for one in measured)],
            "memory_mb": max(one["memory_mb"] for one in measured),
        }
        for way, measured in seen.items()
    }


def show_preparing(result: dict[str, Any]) -> None:
    print(f"\n{'preparing both splits':<44}{'seconds':>10}{'spread':>16}{'MB':>7}")
    for way, row in result.items():
        spread = "{:.2f}-{:.2f}".format(*row["spread"])
        print(f"{PREPARING[way]:<44}{row['seconds']:>10.2f}{spread:>16}{row['memory_mb']:>7.0f}")


# Preparing more of it.


def growing_part(settings: Settings, rounds: int) -> dict[str, Any]:
    """Seconds and peak memory of making and of opening the features of the corpus, repeated."""
    result = {}
    for times in GROWTH:
        print(f"preparing the corpus {times} times over", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            grown = replace(settings, corpus_root_dir=str(_repeat(settings.corpus_root_dir, times, Path(folder))))
            result[str(times)] = {way: alone(prepare, way, folder, grown) for way in ("cold", "warm")}
    return result


def _repeat(root_dir: str, times: int, folder: Path) -> Path:
    files = fetch_corpus(root_dir, official_only=False, download=False)
    (folder / "nsmc").mkdir()
    for file in OFFICIAL.values():
        header, rows = (files.root_dir / "nsmc" / file.name).read_bytes().split(b"\n", 1)
        with open(folder / "nsmc" / file.name, "wb") as copy:
            copy.write(header + b"\n")
            for _ in range(times):
                copy.write(rows.removesuffix(b"\n") + b"\n")
    return folder


def show_growing(result: dict[str, Any]) -> None:
    print(f"\n{'the corpus so many times over':<44}{'making s':>10}{'MB':>7}{'opening s':>11}{'MB':>7}")
    for times, row in result.items():
        cold, warm = row["cold"], row["warm"]
        print(
            f"{times:<44}{cold['seconds']:>10.2f}{cold['memory_mb']:>7.0f}"
            f"{warm['seconds']:>11.2f}{warm['memory_mb']:>7.0f}"
        )


# Starting up.


def starting_part(settings: Settings, rounds: int) -> dict[str, list[float]]:
    """Seconds from the command to the start and to the end of the first step, the features being there already."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        alone(prepare, "cold", str(cache), settings)
        where = ["--model_name_or_path", settings.config, "--from_scratch", "--cache_dir", str(cache)]
        where += ["--corpus_root_dir", settings.corpus_root_dir, "--allow_modified_corpus"]
        options = ["--max_steps", "1", "--output_dir", str(Path(folder, "run")), "--overwrite_output_dir"]
        command = [*LAUNCH, str(Path(__file__).with_name("train.py")), *where, *options]
        seen: dict[str, list[float]] = {"first step begins": [], "first step is done": []}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}: starting up", flush=True)
            started, text = time.perf_counter(), ""
            with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as run:
                for mark, seconds in zip(("0/1 [", "1/1 ["), seen.values(), strict=True):
                    while mark not in text:
                        read = os.read(run.stderr.fileno(), 4096).decode(errors="replace")
                        if not read:
                            raise UserError(f"the training that was to be timed ended too early:\n{text[-2000:]}")
                        text += read
                    seconds.append(time.perf_counter() - started)
                run.kill()
        return seen


def show_starting(result: dict[str, list[float]]) -> None:
    print(f"\n{'accelerate launch scripts/train.py, until':<44}{'seconds':>10}{'spread':>16}")
    for name, seconds in result.items():
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        print(f"{name:<44}{statistics.median(seconds):>10.2f}{spread:>16}")


# Prediction.


def predict(settings: Settings, rounds: int) -> dict[str, list[float]]:
    """Reviews per second of each way over the same texts, round by round."""
    from pipeline.inference import load_classifier

    files = fetch_corpus(settings.corpus_root_dir, official_only=False, download=False)
    texts = [text for text in read_corpus(files)["test"]["text"][: 2 * settings.texts] if text][: settings.texts]
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = prepare_model(settings)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        naive = transformers.pipeline("text-classification", folder, truncation=True)
        exact, half = (load_classifier(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
        ways: dict[str, Callable[[], Any]] = {
            "pipeline(), one by one": lambda: [naive(text) for text in texts],
            "predict.py": lambda: list(exact.predict(texts)),
            "predict.py --bf16": lambda: list(half.predict(texts)),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, label in ways.items():
                started = now()
                label()
                if number:  # the first round warms up
                    speeds[name].append(len(texts) / (now() - started))
    return speeds


def predicting_part(settings: Settings, rounds: int) -> dict[str, Any]:
    print("predicting", flush=True)
    speeds = alone(predict, settings, rounds)
    speeds.pop("memory_mb")
    return {
        name: {"reviews_per_second": statistics.median(seen), "spread": [min(seen), max(seen)]}
        for name, seen in speeds.items()
    }


def show_predicting(result: dict[str, Any]) -> None:
    base = next(iter(result.values()))["reviews_per_second"]
    print(f"\n{'prediction':<44}{'reviews/s':>10}{'spread':>16}{'ratio':>7}")
    for name, row in result.items():
        spread = "{:.1f}-{:.1f}".format(*row["spread"])
        print(f"{name:<44}{row['reviews_per_second']:>10.1f}{spread:>16}{row['reviews_per_second'] / base:>7.1f}")


# One process a measurement.


def alone(measure: Callable, *arguments: Any) -> Any:
    """Call `measure` in a process of its own; a dict that it returns also gets that process's peak of memory."""
    settings = next(argument for argument in arguments if isinstance(argument, Settings))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _begin, (settings.threads,)) as process:
        return process.submit(_measured, measure, *arguments).result()


def _begin(threads: int) -> None:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with several, Trainer would have each work on a batch
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _measured(measure: Callable, *arguments: Any) -> Any:
    result = measure(*arguments)
    if not isinstance(result, dict):
        return None
    if torch.cuda.is_available():
        return {**result, "memory_mb": torch.cuda.max_memory_allocated() / 1e6}
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux
    return {**result, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}


PARTS = {
    "train": (training_part, show_training),
    "profile": (profiling_part, show_profiling),
    "prepare": (preparing_part, show_preparing),
    "grow": (growing_part, show_growing),
    "start": (starting_part, show_starting),
    "predict": (predicting_part, show_predicting),
}


@command
def main() -> None:
    start_logging()
    options = parse()
    fetch_corpus(options.corpus_root_dir, official_only=False, download=False)  # what is missing is said at once
    fetch_model(options.config, weights=False)
    settings = Settings(
        **{name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__},
        threads=torch.get_num_threads(),
    )
    results = {name: PARTS[name][0](settings, options.rounds) for name in options.only}
    about = environment(processes=1, mixed_precision=options.mixed_precision)
    write_json(options.output, {"environment": about, "threads": settings.threads, **results})
    for name in options.only:
        PARTS[name][1](results[name])
    print(f"\n{json.dumps(about['packages'])}, {settings.threads} threads, {options.rounds} rounds\n{options.output}")


if __name__ == "__main__":
    main()
