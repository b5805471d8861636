"""Fine-tune with several seeds, one run folder each, and say how much the seeds differ.

python scripts/train_seeds.py --seeds 1 2 3 --recipe quickstart --output_dir outputs/seeds    # no network
python scripts/train_seeds.py --seeds 1 2 3 --train_file reviews.csv
python scripts/train_seeds.py --seeds 1 2 3 --launcher "accelerate launch --config_file FILE"
python scripts/compare.py outputs/seeds outputs/other-seeds                                   # then

It takes the options of scripts/train.py too. After an interruption the same command goes on where the series was; with
more --seeds it adds them.
"""

import logging
import sys
from pathlib import Path

from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging

TRAIN = Path(__file__).with_name("train.py")

logger = logging.getLogger("pipeline.train_seeds")


@command
def main() -> None:
    configure_logging()
    from pipeline.config.parser import parse_arguments
    from pipeline.evaluation.seeds import (
        SEEDS,
        check_words,
        describe_series,
        help_text,
        open_series,
        run_folder,
        series_table,
        split_options,
    )
    from pipeline.runtime.child import Child
    from pipeline.runtime.distributed import is_distributed
    from pipeline.runtime.errors import UserError
    from pipeline.runtime.run_dir import RESULTS, create_output_dir, write_json

    # Check everything before the first run.
    options, words = split_options()
    parse_arguments(words, about=f"{__doc__}\n{help_text()}")
    if is_distributed():
        raise UserError("start this script with python; what starts each training is --launcher.")
    output_dir = check_words(words, options.seeds, options.output_dir)
    create_output_dir(output_dir)
    series = open_series(output_dir, options.seeds, words)
    write_json(output_dir / SEEDS, {**series, **describe_series(output_dir, series["seeds"])})

    # Train.
    child = Child()
    for number, seed in enumerate(series["seeds"], start=1):
        folder = run_folder(output_dir, seed)
        if (folder / RESULTS).exists():
            logger.info("Seed %d is finished: %s", seed, folder)
            continue
        logger.info("Seed %d, run %d of %d: %s", seed, number, len(series["seeds"]), folder)
        flags = ["--seed", str(seed), "--output_dir", str(folder), "--resume_from_checkpoint", "auto"]
        code = child.run([*options.launcher, str(TRAIN), *words, *flags])
        if code or not (folder / RESULTS).exists():
            end = "was interrupted" if child.received else f"ended with exit code {code}"
            logger.error("Seed %d %s: %s. The same command goes on with it.", seed, end, folder)
            sys.exit(code or 1)
        write_json(output_dir / SEEDS, {**series, **describe_series(output_dir, series["seeds"])})

    # Report.
    print(series_table(describe_series(output_dir, series["seeds"]), output_dir))


if __name__ == "__main__":
    main()
