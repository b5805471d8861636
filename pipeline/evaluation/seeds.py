"""The same training with several seeds: the options of the series, its scores, and what they are worth."""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from pipeline.config import help_page
from pipeline.config.parser import changed_options, given_options, parse_arguments
from pipeline.config.script_options import ScriptOptions
from pipeline.evaluation.stored_predictions import read_task
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import RESULTS, RUN, read_json
from pipeline.runtime.terminal import align

SEEDS = "seeds.json"  # of a series: what was asked for, and the scores so far
SPLITS = {"validation": "validation", "test": "test", "test_unseen": "unseen"}
# Options of training that a series has no use for, and why.
REFUSED = {
    "seed": "--seeds names them",
    "resume_from_checkpoint": "the same command goes on where the series was",
    "overwrite_output_dir": "the same command goes on where the series was. For a new one, name another --output_dir",
    "push_to_hub": "which of the models? Push the folder of one afterwards, with scripts/push_to_hub.py",
}
OF_ONE_RUN = {"seed", "output_dir"}


def split_options(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The options of the series, with `launcher` as words, and the words that are left for scripts/train.py.

    Raises:
        UserError: fewer than two seeds, or an option of training that the series sets.
    """
    options, words = _make_parser().parse_known_args(argv)
    if help_page.FLAGS & set(words):
        return options, words
    for name, why in REFUSED.items():
        if any(word.split("=")[0].replace("-", "_") == f"__{name}" for word in words):
            raise UserError(f"--{name} is not for a series of seeds: {why}.")
    if options.output_dir is not None and len(options.output_dir) > 1:
        raise UserError(f"--output_dir is given {len(options.output_dir)} times. Name one folder, for all seeds.")
    options.output_dir = options.output_dir and options.output_dir[0]
    if options.seeds is None or len(options.seeds) > 1:
        raise UserError(f"--seeds is given {len(options.seeds or [])} times. Name the seeds, as in --seeds 1 2 3.")
    (options.seeds,) = options.seeds
    if len(set(options.seeds)) < max(2, len(options.seeds)) or min(options.seeds) < 0:
        raise UserError(
            f"--seeds {' '.join(map(str, options.seeds))}: expected two or more numbers from 0 on, each once."
        )
    options.launcher = shlex.split(options.launcher)
    if not options.launcher:
        raise UserError('--launcher is empty. Give a command, as in --launcher "accelerate launch".')
    return options, words


def help_text() -> str:
    """The options of the series, for `--help`."""
    return _make_parser().help_section("series")


def _make_parser() -> ScriptOptions:
    parser = ScriptOptions()
    parser.add_argument(
        "--seeds", nargs="+", type=int, action="append", metavar="SEED", help="Two or more, each a run. Needed."
    )
    parser.add_argument(
        "--launcher",
        default="accelerate launch",
        metavar="COMMAND",
        help='What starts scripts/train.py: "accelerate launch --config_file FILE". Default: accelerate launch.',
    )
    parser.add_argument(
        "--output_dir", action="append", metavar="FOLDER", help="Of the series, with a folder seed-N for each seed."
    )
    return parser


def check_words(words: Sequence[str], seeds: Sequence[int], output_dir: str | None) -> Path:
    """Check the options by the parser of scripts/train.py. Returns the folder of the series.

    Raises:
        UserError: as `parse_arguments`.
    """
    for seed in seeds:
        _, _, training = parse_arguments([*words, "--seed", str(seed)])
    if output_dir is not None:
        parse_arguments([*words, "--output_dir", output_dir])  # an empty name
        return Path(output_dir)
    named = "output_dir" in given_options(list(words))  # by the recipe
    return Path(training.output_dir + ("" if named else "-seeds"))


def run_folder(output_dir: Path, seed: int) -> Path:
    """Where the run of a seed is."""
    return output_dir / f"seed-{seed}"


def open_series(output_dir: Path, seeds: Sequence[int], words: Sequence[str]) -> dict[str, Any]:
    """What seeds.json says before training: the options, and the seeds of before and now.

    Raises:
        UserError: the folder holds something else, or a series with other options.
    """
    options = {name: value for name, value in changed_options(list(words)).items() if name not in OF_ONE_RUN}
    options = json.loads(json.dumps(options, default=str))
    if not (output_dir / SEEDS).exists():
        if (output_dir / RESULTS).exists() or any(output_dir.glob("seed-*")):
            raise UserError(
                f"{output_dir} holds runs that are no series: {SEEDS} is missing. Name another --output_dir."
            )
        return {"seeds": list(seeds), "options": options}
    series = read_json(output_dir / SEEDS)
    before = series["options"]
    lines = [
        f"  {name}: {before.get(name, 'the default')} before, now {options.get(name, 'the default')}"
        for name in sorted({*before, *options})
        if before.get(name) != options.get(name)
    ]
    if lines:
        raise UserError(
            f"{output_dir} holds a series with other options:\n" + "\n".join(lines) + "\n"
            "  To go on with it:     give the options it began with\n"
            "  To begin another:     --output_dir ANOTHER_FOLDER"
        )
    return {"seeds": [*series["seeds"], *(seed for seed in seeds if seed not in series["seeds"])], "options": options}


# Scores.


def describe_series(output_dir: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The scores of the finished runs, and the best of them by validation.

    Returns:
        `finished`, the seeds; `scores`, by split and metric, with `values` by seed and what `summarize` gives;
        `best`, with `seed`, `metric` and `value`, or None where the checkpoints were chosen on the test examples.
    """
    finished = [seed for seed in seeds if (run_folder(output_dir, seed) / RESULTS).exists()]
    results = {seed: read_json(run_folder(output_dir, seed) / RESULTS) for seed in finished}
    if not finished:
        return {"finished": [], "scores": {}, "best": None}
    task = read_task(run_folder(output_dir, finished[0]))
    scores = {}
    for split in SPLITS:
        if all(split in numbers for numbers in results.values()):
            by_metric = {
                metric: {seed: numbers[split][metric] for seed, numbers in results.items()}
                for metric, _, _ in task.headline_metrics
            }
            scores[split] = {
                metric: {"values": {str(seed): value for seed, value in values.items()}, **summarize(values.values())}
                for metric, values in by_metric.items()
            }
    return {"finished": finished, "scores": scores, "best": best_by_validation(output_dir, results)}


def summarize(values: Any) -> dict[str, Any]:
    """`mean`, `sd` (of a sample: n - 1) and the 95 % t `interval` of the mean; of one value the mean alone."""
    numbers = np.array(list(values), dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return {"mean": mean, "sd": None, "interval": None}
    sd = float(numbers.std(ddof=1))
    half_width = float(stdtrit(count - 1, 0.975)) * sd / count**0.5
    return {"mean": mean, "sd": sd, "interval": [mean - half_width, mean + half_width]}


def best_by_validation(output_dir: Path, results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The seed whose validation score, by the metric that selected the checkpoints, is best.

    Args:
        results: by seed, of results.json.
    """
    if any(numbers["checkpoint_chosen_on"] != "validation" for numbers in results.values()):
        return None
    training = read_json(run_folder(output_dir, next(iter(results))) / RUN)["arguments"]["training"]
    metric = (training.get("metric_for_best_model") or "loss").removeprefix("eval_")
    values = {seed: _score(numbers["validation"], metric) for seed, numbers in results.items()}
    seed = (max if training.get("greater_is_better") else min)(values, key=values.__getitem__)
    return {"seed": seed, "metric": metric, "value": values[seed]}


def _score(numbers: Mapping[str, Any], metric: str) -> float:
    """Also `f1_NAME` of one class."""
    return numbers[metric] if metric in numbers else numbers["per_class"][metric.removeprefix("f1_")]["f1"]


def series_table(series: Mapping[str, Any], output_dir: Path) -> str:
    """Each seed's scores, their mean and spread, and which seed is best."""
    task = read_task(run_folder(output_dir, series["finished"][0]))
    names = {metric: title for metric, _, title in task.headline_metrics}
    rows = [["", *(f"seed {seed}" for seed in series["finished"]), "mean", "sd", "95 % of the mean"]]
    for split, metrics in series["scores"].items():
        for metric, of in metrics.items():
            values = [f"{value:.4f}" for value in of["values"].values()]
            sd = "-" if of["sd"] is None else f"{of['sd']:.4f}"
            interval = "-" if of["interval"] is None else f"{of['interval'][0]:.4f} to {of['interval'][1]:.4f}"
            rows.append(
                [
                    f"{SPLITS[split]} {names[metric][0].lower()}{names[metric][1:]}",
                    *values,
                    f"{of['mean']:.4f}",
                    sd,
                    interval,
                ]
            )
    best = series["best"]
    if best:
        folder = run_folder(output_dir, best["seed"])
        line = f"Best by validation {best['metric']}, {best['value']:.4f}: seed {best['seed']}, {folder}"
    else:
        line = (
            "The checkpoints were chosen on the test examples: none is named best, since nothing is left to choose by."
        )
    return "\n".join(["", *align(rows), line, f"  scores    {output_dir / SEEDS}"])
