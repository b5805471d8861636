"""Training throughput and peak memory: the usual methods and this project, on the same examples.

python -m benchmarks --only training
python -m benchmarks --only training --mixed_precision bf16 --batches 200                      # a GPU
python -m benchmarks --only training --mixed_precision bf16 --batches 200 --torch_compile
python -m benchmarks --only training --mixed_precision bf16 --batches 50 --batch_size 256

(a) is always float32; the others use --mixed_precision. (a) and (b) cost the same whatever is in a batch, and are timed
on fewer batches.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset, concatenate_datasets
from transformers import PrinterCallback, TrainerCallback

from benchmarks.common import (
    MAX_LENGTH,
    SEED,
    Settings,
    create_model,
    default_device,
    fetch_config_and_tokenizer,
    log_progress,
    median_and_spread,
    now,
    print_table,
    run_in_process,
    tokenized_corpus,
)
from benchmarks.dense import count_flops, time_dense_batch
from pipeline.config.arguments import TrainingArguments
from pipeline.data.collators import PaddingCollator
from pipeline.data.corpora import get_corpus
from pipeline.data.dataset import TokenizedDataset
from pipeline.modeling.batching import make_collator
from pipeline.modeling.loading import load_config
from pipeline.training.trainer import Trainer

METHODS = {
    "a": "plain loop, pad to 128, float32, AdamW",
    "b": "Trainer, pad to 128",
    "c": "Trainer, pad to longest",
    "d": "Trainer, grouped by length",
    "e": "this project",
}
DENSE = "one dense batch, and the matrix peak"
MEGABATCH = 50  # batches that transformers' length grouping sorts at a time


def measure(settings: Settings) -> dict[str, Any]:
    """Interleaved rounds of all methods and of the dense batch."""
    length = run_in_process(mean_length, settings)["tokens"]  # tokenizes the corpus, before anything is timed
    rounds: dict[str, list[dict]] = {method: [] for method in [*METHODS, "dense"]}
    for number in range(settings.rounds):
        for method, measured in rounds.items():
            log_progress(settings, number, METHODS.get(method, DENSE))
            if method == "dense":
                measured.append(run_in_process(time_dense_batch, settings, round(length)))
            else:
                measured.append(run_in_process(time_method, settings, method))
    peak = statistics.median(one["peak"] for one in rounds["dense"])
    config = load_config(fetch_config_and_tokenizer(settings))
    return {
        "methods": {method: _summary(name, rounds[method], config, peak) for method, name in METHODS.items()},
        "peak_flops": peak,
        "dense_share_of_peak": statistics.median(one["flops"] / one["seconds"] for one in rounds["dense"]) / peak,
    }


def _summary(name: str, rounds: list[dict], config: Any, peak: float) -> dict[str, Any]:
    rate = median_and_spread("examples_per_second", [one["examples"] / one["seconds"] for one in rounds])
    tokens, examples, slots = (rounds[-1][what] for what in ("tokens", "examples", "slots"))
    tokens_per_second = tokens / examples * rate["examples_per_second"]
    return {
        "method": name,
        **rate,
        "useful_tokens_per_second": tokens_per_second,
        "useful_share": tokens / slots,
        "share_of_peak": count_flops(config, tokens_per_second, tokens / examples) / peak,
        "memory_mb": max(one["memory_mb"] for one in rounds),
    }


def show(result: dict[str, Any]) -> None:
    """Print the table, and how near (e) is to what the machine can do."""
    columns = {
        "examples_per_second": ("examples/s", 10, ".2f"),
        "spread": ("spread", 16, ".2f"),
        "useful_tokens_per_second": ("tokens/s", 10, ".0f"),
        "useful_share": ("useful", 8, ".1%"),
        "share_of_peak": ("peak", 7, ".1%"),
        "memory_mb": ("MB", 7, ".0f"),
    }
    methods = result["methods"]
    baseline = methods["a"]["examples_per_second"]
    rows = {
        f"({method}) {row['method']}": [*(row[name] for name in columns), row["examples_per_second"] / baseline]
        for method, row in methods.items()
    }
    print_table("training", [*columns.values(), ("x (a)", 7, ".2f")], rows)
    peak, dense = result["peak_flops"], result["dense_share_of_peak"]
    print(
        f"matrix peak {peak / 1e9:.0f} GFLOP/s; one dense batch, forward and backward only, reaches {dense:.1%} of it: "
        f"(e) is at {methods['e']['share_of_peak'] / dense:.0%} of that"
    )


# The examples.


def shuffled_rows(settings: Settings) -> Dataset:
    """The training set in a random order, the same in every process."""
    return tokenized_corpus(settings)["train"].select_columns(["input_ids", "label"]).shuffle(seed=SEED)


def timed_rows(settings: Settings, batches: int) -> Dataset:
    """Random batches of the training set: the same examples for every method but (d)."""
    return shuffled_rows(settings).select(range(settings.batch_size * batches))


def lengths_of(rows: Dataset) -> np.ndarray:
    """Tokens of each example, [examples]."""
    return np.array([len(row["input_ids"]) for row in TokenizedDataset(rows)])


def mean_length(settings: Settings) -> dict[str, float]:
    """Tokens per example in the timed batches."""
    return {"tokens": float(lengths_of(timed_rows(settings, settings.batches)).mean())}


def grouped_rows(settings: Settings) -> Dataset:
    """The examples of (d): a fair sample of the batches that it makes of a full epoch.

    It sorts 50 random batches at a time by length (transformers 5.23, `get_length_grouped_indices`), but fewer at a
    time if there are few rows, down to none. So 50 batches are drawn, or a multiple, and sorted; those that are timed
    lie at even distances among them.
    """
    rows, size, wanted = shuffled_rows(settings), settings.batch_size, settings.batches
    drawn = min(-(-wanted // MEGABATCH) * MEGABATCH, len(rows) // size)
    rows = rows.select(range(drawn * size))
    megabatch = np.arange(len(rows)) // (MEGABATCH * size)
    by_length = np.lexsort((-lengths_of(rows), megabatch)).reshape(drawn, size)
    sampled = ((np.arange(wanted) + 0.5) * drawn / wanted).astype(int)
    return rows.select(by_length[sampled].flatten())


# One method.


class CountingCollator:
    """A collator that counts what its batches consist of."""

    def __init__(self, collate: Callable[[list[dict]], dict]) -> None:
        self.collate, self.batches = collate, []

    def __call__(self, examples: list[dict]) -> dict:
        batch = self.collate(examples)
        tokens = sum(len(example["input_ids"]) for example in examples)
        self.batches.append({"examples": len(examples), "tokens": tokens, "slots": batch["input_ids"].numel()})
        return batch

    def totals(self, warm_up: int) -> dict[str, float]:
        """Examples, tokens and slots (tokens and padding) of all batches but the first `warm_up`."""
        counted = self.batches[warm_up:]
        return {what: sum(batch[what] for batch in counted) for what in ("examples", "tokens", "slots")}


class StepTimer(TrainerCallback):
    """`seconds` from the end of the warm-up steps to the end of the last step."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.warm_up:
            self.started = now()
        elif state.global_step > self.warm_up:
            self.seconds = now() - self.started


def time_method(settings: Settings, method: str) -> dict[str, float]:
    """Time some batches after warming up.

    One batch warms up; with --torch_compile all of them do, since programs are compiled for their shapes.

    Returns:
        `seconds`; `examples`, `tokens` and `slots` of the timed batches.
    """
    timed = timed_rows(settings, settings.max_length_batches if method in "ab" else settings.batches)
    warm_up = len(timed) // settings.batch_size if settings.torch_compile and method == "e" else 1
    first = timed.select(range(settings.batch_size * warm_up))
    rows = concatenate_datasets([first, grouped_rows(settings) if method == "d" else timed])
    run = run_plain_loop if method == "a" else partial(run_trainer, method=method)
    seconds, collator = run(settings, rows, warm_up)
    measured = {"seconds": seconds, **collator.totals(warm_up)}
    if method == "d":  # its examples are others: count them at the mean length of the other methods' examples
        measured["examples"] = float(measured["tokens"] / lengths_of(timed).mean())
    return measured


def run_plain_loop(settings: Settings, rows: Dataset, warm_up: int) -> tuple[float, CountingCollator]:
    """(a), the tutorial's loop, over the rows in their order."""
    device = default_device()
    model, tokenizer = create_model(settings)
    model.to(device).train()
    collator = CountingCollator(PaddingCollator(tokenizer.pad_token_id, MAX_LENGTH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=False)
    for number, batch in enumerate(torch.utils.data.DataLoader(rows, settings.batch_size, collate_fn=collator)):
        if number == warm_up:
            started = now()
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return now() - started, collator


def run_trainer(
    settings: Settings, rows: Dataset, warm_up: int, method: str, callbacks: tuple[TrainerCallback, ...] = ()
) -> tuple[float, CountingCollator]:
    """(b) to (e), over the rows in their order."""
    timer = StepTimer(warm_up)
    build = build_our_trainer if method == "e" else partial(build_hf_trainer, pad_to_max_length=method == "b")
    with tempfile.TemporaryDirectory() as folder:
        trainer = build(settings, folder, train_dataset=rows, callbacks=[timer, *callbacks])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return timer.seconds, trainer.data_collator


def build_our_trainer(settings: Settings, output_dir: str, **kwargs: Any) -> Trainer:
    """This project's Trainer with its own defaults."""
    # transformers turns TF32 on for models that it compiles; no other method would have it.
    options = {**_common_options(settings, output_dir), "torch_compile": settings.torch_compile, "tf32": False}
    args = TrainingArguments(**options, eval_strategy="no", load_best_model_at_end=False)
    model, tokenizer = create_model(settings)
    collator = CountingCollator(make_collator("auto", model, tokenizer, MAX_LENGTH, args))
    task = get_corpus(settings.corpus_name).task
    return Trainer(model=model, task=task, args=args, data_collator=collator, **kwargs)


def build_hf_trainer(
    settings: Settings, output_dir: str, pad_to_max_length: bool, **kwargs: Any
) -> transformers.Trainer:
    """transformers' Trainer with its own defaults."""
    args = transformers.TrainingArguments(**_common_options(settings, output_dir), remove_unused_columns=False)
    model, tokenizer = create_model(settings)
    collator = CountingCollator(PaddingCollator(tokenizer.pad_token_id, MAX_LENGTH if pad_to_max_length else None))
    return transformers.Trainer(model=model, args=args, data_collator=collator, **kwargs)


def _common_options(settings: Settings, output_dir: str) -> dict[str, Any]:
    return {
        "output_dir": output_dir,
        "num_train_epochs": 1,
        "per_device_train_batch_size": settings.batch_size,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),  # otherwise Trainer wants a GPU for bf16
        "train_sampling_strategy": "sequential",  # the rows are already in a random order, or grouped
        **({} if settings.mixed_precision == "no" else {settings.mixed_precision: True}),
    }
