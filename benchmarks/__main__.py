"""Measure this project against the usual ways, on this machine and in one run. From the checkout's folder:

python -m benchmarks --corpus_root_dir ~/Korpora                              # everything, kcbert-base's shape
python -m benchmarks --only training --mixed_precision bf16 --batches 200     # one measurement, on a GPU

Random weights are enough for speed, so only config and tokenizer of the model are needed. Every measurement is a
process of its own, with its own peak of memory; rounds are interleaved, and the tables show medians.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import torch

from benchmarks import growth, prediction, preparing, profiling, startup, training
from benchmarks.common import Settings, fetch_config_and_tokenizer, fetch_corpus
from pipeline.evaluation.results import environment
from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging
from pipeline.runtime.run_dir import write_json

MEASUREMENTS = {
    "training": training,
    "profiling": profiling,
    "preparing": preparing,
    "growth": growth,
    "startup": startup,
    "prediction": prediction,
}


@command
def main() -> None:
    configure_logging()
    options = vars(parse_options())
    only, output = options.pop("only"), options.pop("output")
    settings = Settings(**options, threads=torch.get_num_threads())
    fetch_corpus(settings)  # report what is missing before anything is measured
    fetch_config_and_tokenizer(settings)
    results = {name: MEASUREMENTS[name].measure(settings) for name in only}
    about = environment(processes=1, mixed_precision=settings.mixed_precision)
    about["command"] = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])  # sys.argv[0] is a path
    write_json(output, {"environment": about, "threads": settings.threads, **results})
    for name in only:
        MEASUREMENTS[name].show(results[name])
    print(f"\n{json.dumps(about['packages'])}, {settings.threads} threads, {settings.rounds} rounds\n{output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=list(MEASUREMENTS), default=list(MEASUREMENTS), help="Default: all.")
    add("--model_name_or_path", "--model", default="beomi/kcbert-base", help="Shape and tokenizer: folder or Hub.")
    add("--corpus_name", choices=["nsmc", "nsmc_layout"], default="nsmc", help="As for scripts/train.py.")
    add("--corpus_root_dir", default="~/Korpora", help="Korpora's folder, with the corpus in its nsmc/.")
    add("--mixed_precision", choices=["no", "bf16", "fp16"], default="no", help="Of training, except for (a).")
    add("--torch_compile", action="store_true", help="Compile the model of (e).")
    add("--batch_size", type=int, default=32, help="Examples per batch, for every method of training.")
    add("--batches", type=int, default=8, help="Batches that (c), (d) and (e) are timed on.")
    add("--max_length_batches", type=int, default=2, help="Batches that (a) and (b) are timed on: all cost the same.")
    add("--texts", type=int, default=256, help="Texts that prediction is timed on.")
    add("--rounds", type=int, default=3)
    add("--output", type=Path, default=Path("benchmark.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
