"""A run's folder -> everything that its page shows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.report import score_rows
from pipeline.pages.render import render_page
from pipeline.publishing.model_card import describe_corpus
from pipeline.report.examples import Examples, read_examples
from pipeline.report.mistakes import describe_mistakes, suspected_labels
from pipeline.report.slices import by_class, by_length, by_rarity
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import REPORT, RESULTS, RUN, TRAINER_STATE, read_json

logger = logging.getLogger(__name__)

SETTINGS = {  # that the page names, by group of options
    "model": ("model_name_or_path", "from_scratch", "config_overrides"),
    "data": ("max_length", "long_text", "clean", "class_weights", "drop_duplicates", "validation_fraction", "batching"),
    "training": (
        *("global_batch_size", "gradient_accumulation_steps", "learning_rate", "optim", "lr_scheduler_type", "gamma"),
        *("warmup_steps", "weight_decay", "label_smoothing_factor", "num_train_epochs", "max_steps", "seed"),
    ),
}


def write_report(run_dir: Path, path: Path | None = None, *, explain: bool = True) -> Path:
    """Write the page of a finished run.

    Args:
        run_dir: the run's folder, with its stored predictions.
        path: of the page; None: report.html in that folder.
        explain: load the model to show which words carried its mistakes.

    Returns:
        Where the page is.

    Raises:
        UserError: the folder holds no finished run or no predictions, or the page cannot be written.
    """
    path = path or run_dir / REPORT
    page = render_page("pipeline.report", "report.html", **describe_run(run_dir, explain=explain))
    tmp_path = path.with_name(path.name + ".tmp")
    try:
        tmp_path.write_text(page, encoding="utf-8")
        tmp_path.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Name another place with --output.") from error
    return path


def describe_run(run_dir: Path, *, explain: bool = True) -> dict[str, Any]:
    """What the template reads. Arguments and errors as for `write_report`."""
    results, run = read_json(run_dir / RESULTS), read_json(run_dir / RUN)
    examples = read_examples(run_dir)
    suspected = suspected_labels(examples)
    return {
        "name": run_dir.resolve().name,
        "title": describe_corpus(run["corpus"])[0].title,
        "task": examples.task,
        "results": results,
        "run": run,
        "settings": _settings(run),
        "curves": curves(run_dir, results["checkpoint_chosen_on"]),
        "scores": score_rows(results, examples.task),
        "confusion": examples.task.confusion_matrix(results["test"]),
        "calibration": results["test"].get("calibration"),
        "by_length": by_length(examples),
        "by_class": by_class(examples),
        "by_rarity": by_rarity(examples, run),
        "scatter": _scatter(examples),
        "num_wrong": None if examples.right is None else int((~examples.right).sum()),
        "num_suspected": None if suspected is None else int(suspected.sum()),
        "seen": _seen(examples),
        "mistakes": describe_mistakes(examples, run_dir if explain else None),
    }


def curves(run_dir: Path, chosen_on: str) -> list[dict[str, Any]]:
    """The lines of the training: `name` and `points` (step, value) each; empty without trainer_state.json."""
    try:
        history = read_json(run_dir / TRAINER_STATE)["log_history"]
    except UserError:
        return []
    lines = {"loss": "train loss", "eval_loss": f"{chosen_on} loss"}
    return [
        {"name": name, "points": points}
        for key, name in lines.items()
        if (points := [(entry["step"], float(entry[key])) for entry in history if key in entry])
    ]


def _settings(run: dict[str, Any]) -> list[tuple[str, str]]:
    chosen = [
        (name, " ".join(map(str, value)) if isinstance(value, list) else str(value))
        for group, names in SETTINGS.items()
        for name in names
        if (value := run["arguments"][group].get(name)) not in (None, False)
    ]
    environment = run["environment"]
    about = [(name, str(environment[name])) for name in ("device", "processes", "mixed_precision", "python", "date")]
    versions = [(name, environment["packages"][name]) for name in ("torch", "transformers")]
    return [*chosen, *about, *versions]


def _scatter(examples: Examples, most: int = 1000) -> list[tuple[float, float]] | None:
    """(label, prediction) of a regression; of many examples an even sample."""
    if examples.task.problem_type != "regression":
        return None
    chosen = np.linspace(0, len(examples.labels) - 1, min(most, len(examples.labels))).astype(int)
    return [(float(examples.labels[index]), float(examples.probabilities[index, 0])) for index in chosen]


def _seen(examples: Examples) -> dict[str, Any] | None:
    """How many test texts were seen, and how often seen and unseen ones are right."""
    if examples.seen is None:
        return None
    found: dict[str, Any] = {"count": int(examples.seen.sum()), "total": len(examples.seen)}
    if examples.right is not None:
        for name, chosen in (("seen", examples.seen), ("unseen", ~examples.seen)):
            found[name] = float(examples.right[chosen].mean()) if chosen.any() else None
    return found
