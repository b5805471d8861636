"""Is one model better than another, or is it chance? From the predictions that runs have stored.

python scripts/compare.py outputs/run-a outputs/run-b
python scripts/compare.py outputs/seeds-a outputs/seeds-b     # folders that scripts/train_seeds.py wrote
python scripts/compare.py --a outputs/old-* --b outputs/new-* --output comparison.json

Two runs are compared by a paired bootstrap and McNemar's test over the same test examples. With several seeds on a side
the test also counts how much the seeds differ: only then does it speak of settings, not of two models.
"""

import argparse
import os
import sys
from pathlib import Path

from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    from pipeline.evaluation.comparison_report import compare, describe, disagreements, find_runs, screen
    from pipeline.runtime.errors import UserError
    from pipeline.runtime.run_dir import write_json

    options = parse()
    if options.output and options.output.exists() and not options.overwrite:
        raise UserError(f"--output {options.output} exists. Name another file, or replace it with --overwrite.")
    if options.output and not options.output.absolute().parent.is_dir():
        raise UserError(f"--output {options.output}: there is no folder {options.output.parent}.")
    comparison = compare(find_runs(options.a), find_runs(options.b), split=options.split, unseen=options.unseen)
    examples = disagreements(comparison, options.examples)
    if options.output:
        write_json(options.output, describe(comparison, examples))
    try:
        print(screen(comparison, examples), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again as it exits


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="Two folders: A, then B.")
    parser.add_argument("--a", nargs="+", type=Path, metavar="RUN", help="The runs of A, if not a folder of seeds.")
    parser.add_argument("--b", nargs="+", type=Path, metavar="RUN", help="The runs of B.")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="Default: test.")
    parser.add_argument(
        "--unseen", action="store_true", help="Only test examples whose text is not in the training examples."
    )
    parser.add_argument("--examples", type=int, default=10, help="How many that differ are shown. Default: 10.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="Write everything as JSON.")
    parser.add_argument("--overwrite", action="store_true", help="Replace --output if it exists.")
    options = parser.parse_args()
    if options.runs and not (options.a or options.b) and len(options.runs) == 2:
        options.a, options.b = options.runs[:1], options.runs[1:]
    elif options.runs or not (options.a and options.b):
        parser.error("give two folders, or --a RUN ... --b RUN ...")
    if options.unseen and options.split != "test":
        parser.error("--unseen is of the test examples")
    if options.examples < 0:
        parser.error(f"--examples is {options.examples}; expected 0 or more")
    if options.overwrite and not options.output:
        parser.error("--overwrite is of a file: give --output")
    return options


if __name__ == "__main__":
    main()
