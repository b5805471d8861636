"""Measure prediction against calling `transformers.pipeline` with one text after the other, in one run.

python scripts/benchmark.py --model outputs/kcbert-base-nsmc --input reviews.txt
python scripts/benchmark.py --config beomi/kcbert-base --input reviews.txt    # random weights do for speed

Each way labels the same texts in turn, --rounds times; the table shows the median of its reviews per second.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.corpus import LABELS
from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging, use_all_cores
from pipeline.textio import read_rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", help="A fine-tuned model.")
    model.add_argument("--config", help="A model whose shape is used with random weights.")
    parser.add_argument("--input", required=True, type=Path, help="Texts: txt, csv, tsv, jsonl or parquet.")
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--texts", type=int, default=256, help="How many of them.")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


@contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[str]:
    """The model's folder; for --config one with random weights, for as long as the block runs."""
    if options.model:
        yield str(fetch_model(options.model).folder)
        return
    from pipeline.model import load_model, load_tokenizer

    files = fetch_model(options.config, weights=False)
    with tempfile.TemporaryDirectory() as folder:
        load_model(files, LABELS).save_pretrained(folder)
        load_tokenizer(files, 128).save_pretrained(folder)
        yield folder


@command
def main() -> None:
    options = parse()
    import torch
    from transformers import pipeline

    from pipeline.inference import load_classifier

    start_logging()
    use_all_cores()
    rows = (row.text for row in read_rows(options.input, options.text_column) if row.text)
    texts = [text for text, _ in zip(rows, range(options.texts), strict=False)]
    with folder_of(options) as folder:
        naive = pipeline("text-classification", folder, truncation=True)
        exact, half = (load_classifier(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
        ways: dict[str, Callable[[], object]] = {
            "pipeline(), one by one": lambda: [naive(text) for text in texts],
            "predict.py": lambda: list(exact.predict(texts)),
            "predict.py --bf16": lambda: list(half.predict(texts)),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):
            for name, label in ways.items():
                started = time.perf_counter()
                label()
                if number:  # the first round warms up
                    speeds[name].append(len(texts) / (time.perf_counter() - started))
    base = statistics.median(speeds["pipeline(), one by one"])
    print(f"{len(texts)} texts, {options.rounds} rounds, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':<24}{'reviews/s':>10}{'spread':>16}{'ratio':>8}")
    for name, seen in speeds.items():
        middle = statistics.median(seen)
        print(f"{name:<24}{middle:>10.1f}{f'{min(seen):.1f}-{max(seen):.1f}':>16}{middle / base:>8.1f}")


if __name__ == "__main__":
    main()
