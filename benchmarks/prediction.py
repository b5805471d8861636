"""Prediction throughput: transformers' pipeline(), one text at a time, and scripts/predict.py in float32 and bfloat16.

python -m benchmarks --only prediction
python -m benchmarks --only prediction --texts 384

All label the same texts of the test set, in one process and in turn; a first round warms up.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers

from benchmarks.common import Settings, create_model, median_and_spread, now, print_table, read_corpus, run_in_process
from pipeline.inference.classifier import load_classifier


def measure(settings: Settings) -> dict[str, Any]:
    """Median rate and spread of each method."""
    print("predicting", flush=True)
    rates = run_in_process(examples_per_second, settings)["rates"]
    return {name: median_and_spread("examples_per_second", seen) for name, seen in rates.items()}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    columns = [("examples/s", 10, ".1f"), ("spread", 16, ".1f"), ("ratio", 7, ".1f")]
    baseline = next(iter(result.values()))["examples_per_second"]
    rows = {name: [*row.values(), row["examples_per_second"] / baseline] for name, row in result.items()}
    print_table("prediction", columns, rows)


def examples_per_second(settings: Settings) -> dict[str, Any]:
    """The rates of each method, round by round."""
    texts = [text for text in read_corpus(settings)["test"]["text"][: 2 * settings.texts] if text][: settings.texts]
    with tempfile.TemporaryDirectory() as folder:
        for part in create_model(settings):
            part.save_pretrained(folder)
        methods = _methods(folder)
        rates: dict[str, list[float]] = {name: [] for name in methods}
        for number in range(settings.rounds + 1):
            for name, predict in methods.items():
                started = now()
                predict(texts)
                if number:  # the first round warms up
                    rates[name].append(len(texts) / (now() - started))
    return {"rates": rates}


def _methods(folder: str) -> dict[str, Callable[[list[str]], list]]:
    """The first is the baseline."""
    one_by_one = transformers.pipeline("text-classification", folder, truncation=True)
    float32, bfloat16 = (load_classifier(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    return {
        "pipeline(), one by one": lambda texts: [one_by_one(text) for text in texts],
        "predict.py": lambda texts: list(float32.predict(texts)),
        "predict.py --bf16": lambda texts: list(bfloat16.predict(texts)),
    }
