"""Where HF_HUB_OFFLINE says that there is no network, say within a second what is missing: before the slow imports."""

import argparse
import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import constants

from pipeline.errors import UserError, call_all
from pipeline.fetch import fetch_model

CORPUS_FILES = ("ratings_train.txt", "ratings_test.txt")
DEFAULTS = {
    "model_name_or_path": "beomi/kcbert-base",
    "model_revision": "main",
    "corpus_name": "nsmc",
    "corpus_root_dir": "~/Korpora",
    "from_scratch": False,
    "push_to_hub": False,
}


def glance(argv: list[str] | None = None, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the command line says of model and corpus. Nothing is checked: `pipeline.arguments` does that, slowly.

    Args:
        argv: the words after the command's name; those of this process by default.
        defaults: values that stand in for `DEFAULTS`, and that recipe and command line win over.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--recipe")
    parser.add_argument("--model_name_or_path", "--model")
    for name in ("model_revision", "corpus_name", "corpus_root_dir"):
        parser.add_argument(f"--{name}")
    for name in ("from_scratch", "push_to_hub"):
        parser.add_argument(
            f"--{name}", nargs="?", const=True, type=lambda text: text.lower() in ("true", "1", "yes", "y", "t")
        )
    try:
        given = vars(parser.parse_known_args(argv)[0])
        recipe = _read(given.pop("recipe"))
    except (argparse.ArgumentError, OSError, ValueError, yaml.YAMLError):
        given = recipe = {}
    layers = ({**DEFAULTS, **(defaults or {})}, recipe, {name: value for name, value in given.items() if value})
    return {name: value for layer in layers for name, value in layer.items() if name in DEFAULTS}


def asks_for_help(argv: list[str] | None = None) -> bool:
    """Whether the options are to be listed, which takes neither model nor corpus."""
    return not {"-h", "--help"}.isdisjoint(sys.argv[1:] if argv is None else argv)


def stop_if_missing(argv: list[str] | None = None, defaults: dict[str, Any] | None = None) -> None:
    """Look for model and corpus, for a script that takes the options of scripts/train.py. Offline only.

    Raises:
        UserError: something is not on this machine, or is to be pushed from it.
    """
    if not constants.HF_HUB_OFFLINE or asks_for_help(argv):
        return
    options = glance(argv, defaults)
    if options["push_to_hub"]:
        raise UserError("--push_to_hub needs the network, and HF_HUB_OFFLINE is set. Unset it, or push later.")
    model, revision = options["model_name_or_path"], options["model_revision"]
    checks = []
    if options["corpus_name"] != "quickstart":
        checks.append(partial(_look_for_corpus, Path(options["corpus_root_dir"]).expanduser() / "nsmc"))
    if model != "quickstart":
        checks.append(partial(fetch_model, model, revision, weights=not options["from_scratch"]))
    call_all(*checks)


def _read(recipe: str | None) -> dict[str, Any]:
    if not recipe:
        return {}
    ours = resources.files("pipeline.recipes").joinpath(f"{recipe}.yaml")
    return yaml.safe_load((ours if ours.is_file() else Path(recipe)).read_text(encoding="utf-8")) or {}


def _look_for_corpus(folder: Path) -> None:
    missing = [name for name in CORPUS_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"the corpus is not in {folder}: {' and '.join(missing)} missing, and HF_HUB_OFFLINE is set.\n"
            "  Put NSMC's files (https://github.com/e9t/nsmc) there, or name the folder above nsmc/ with "
            "--corpus_root_dir.\n  To see the pipeline work with no network at all: --recipe quickstart"
        )
