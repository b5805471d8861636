"""The options that a search has besides those of training."""

import argparse
import difflib
import math

from pipeline.config import help_page
from pipeline.config.arguments import RANDOM_SEED, TrainingArguments
from pipeline.config.parser import peek_arguments
from pipeline.config.script_options import ScriptOptions
from pipeline.runtime.errors import UserError
from pipeline.search.space import space_names

NAMES = ("space", "num_trials", "study_name", "storage", "timeout")
# Options of training that a search has no use for, and what to do instead.
REFUSED = {
    "resume_from_checkpoint": "the same command goes on with a search, and an interrupted trial begins anew",
    "overwrite_output_dir": "the same command goes on with a search. For a new one, name another --output_dir",
    "push_to_hub": "a search leaves no model. Train the recipe that it finds, and push that",
}
# What --help shows of the options of training, by title.
_HIDDEN = {*REFUSED, "hub_model_id", "hub_private_repo", "allow_changed_settings", "save_total_limit"}
SHOWN = {title: [name for name in names if name not in _HIDDEN] for title, names in help_page.TRAINING.items()}


def split_options(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The options of the search, and the words that are left for training.

    Raises:
        UserError: a value is of the wrong type or out of range, an option is misspelt or has no use in a search.
    """
    options, flags = _make_parser().parse_known_args(argv)
    if options.num_trials < 1:
        raise UserError(f"--num_trials is {options.num_trials}; expected at least 1.")
    if options.timeout is not None and not (math.isfinite(options.timeout) and options.timeout > 0):
        raise UserError(f"--timeout is {options.timeout:g}; expected more than 0 seconds.")
    for name in ("space", "study_name", "storage"):
        if getattr(options, name) == "":
            raise UserError(f"--{name} is empty. Give it a value, or leave it out.")
    known = vars(peek_arguments([]))
    for word in flags:
        name = word.split("=")[0].removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name in known:
            continue
        if close := difflib.get_close_matches(name, NAMES, n=1, cutoff=0.75):
            raise UserError(f"unknown option --{name}. Did you mean {close[0]}?")
    if not help_page.FLAGS & set(flags) and peek_arguments(flags).seed == RANDOM_SEED:
        raise UserError("--seed -1 would draw another seed for each trial, so that they do not compare. Name a seed.")
    for name, why in REFUSED.items():
        if any(word.split("=")[0] == f"--{name}" for word in flags):
            raise UserError(f"--{name} has no use in a search: {why}.")
    return options, flags


def check_training_options(training: TrainingArguments) -> None:
    """Refuse what a search cannot do, whether a flag, a recipe or the launcher asks for it.

    Raises:
        UserError: several processes, a seed that each trial would draw anew, or other trackers than TensorBoard.
    """
    if training.world_size > 1:
        raise UserError(
            f"{training.world_size} processes were started to train together; a trial is trained by one. Start the "
            "same command without a launcher, once for each GPU, and they share the trials:\n"
            "  CUDA_VISIBLE_DEVICES=0 python scripts/search.py ...\n"
            "  CUDA_VISIBLE_DEVICES=1 python scripts/search.py ..."
        )
    if others := set(training.report_to) - {"tensorboard"}:
        raise UserError(
            f"--report_to {' '.join(sorted(others))}: a search writes a curve a trial for tensorboard, or none. Use "
            "--report_to tensorboard."
        )


def help_text() -> str:
    """The options, for `--help`."""
    return _make_parser().help_section("search")


def _make_parser() -> ScriptOptions:
    parser = ScriptOptions()
    parser.add_argument(
        "--space",
        default="default",
        metavar="NAME_OR_YAML",
        help=f"What is searched: a YAML file of ranges and choices. Ours: {', '.join(space_names())}. "
        "Options given as flags are not searched. Default: default.",
    )
    parser.add_argument(
        "--num_trials",
        type=int,
        default=20,
        metavar="TRIALS",
        help="Of all processes together; a larger number continues a finished search. Default: 20.",
    )
    parser.add_argument(
        "--study_name",
        default="search",
        metavar="NAME",
        help="Name within --storage, for a storage of several searches. Default: search.",
    )
    parser.add_argument(
        "--storage",
        metavar="FILE_OR_URL",
        help="Where trials are kept: an SQLite file, or a database as SQLAlchemy names it. Default: study.db in "
        "--output_dir.",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="Begin no trial after so many seconds in this process.",
    )
    return parser
