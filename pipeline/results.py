"""What a run leaves behind besides the model: results that can be traced to what made them, and the closing table."""

import importlib.metadata
import json
import logging
import platform
import sys
import tempfile
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from pipeline import xla
from pipeline.errors import UserError
from pipeline.inference import softmax

logger = logging.getLogger(__name__)

EVALUATED_WITH = [
    *("corpus_name", "allow_modified_corpus", "validation_fraction", "validation_seed", "max_seq_length", "batching")
]
PACKAGES = ["torch", "transformers", "datasets", "accelerate", "evaluate", "tokenizers", "huggingface_hub", "Korpora"]


def make_output_dir(output_dir: Path) -> None:
    """Make the run's folder, and see before training that it can be written.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output_dir).close()
    except OSError as error:
        raise UserError(
            f"--output_dir {output_dir} cannot be written: {error.strerror}. Name a folder that can be."
        ) from error


def environment(processes: int, mixed_precision: str) -> dict[str, Any]:
    """Versions of what computed the result, the machine, and how it was used."""
    packages = [*PACKAGES, "nsmc-pipeline", *["torch_xla"] * xla.is_replica()]
    versions = {package: importlib.metadata.version(package) for package in packages}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else xla.device_kind()
    device = device or platform.processor() or platform.machine()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device,
        "processes": processes,
        "mixed_precision": mixed_precision,
        "packages": versions,
        "command": " ".join(sys.argv),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable UTF-8 JSON by a rename, so that a reader finds the old file or the new one, never half of one."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def log_arguments(arguments: dict[str, dict[str, Any]]) -> None:
    """Log every argument, group by group."""
    for group, values in arguments.items():
        text = ", ".join(f"{name}={value}" for name, value in values.items())
        logger.info(
            "%s arguments:\n%s", group, textwrap.indent(textwrap.fill(text, 116, break_on_hyphens=False), "  ")
        )


def describe_training(
    outcome: Any, state: Any, chosen_on: str, data: Any, training: Any, mixed_precision: str
) -> dict[str, Any]:
    """How training went, what chose the checkpoint, and what another evaluation needs to come to the same numbers.

    No path of this machine is in it: it goes to the Hub with the model.
    """
    best = state.best_model_checkpoint
    return {
        "checkpoint_chosen_on": chosen_on,
        "training": {**outcome.metrics, "steps": state.global_step, "best_checkpoint": best and Path(best).name},
        "evaluated_with": {
            **{name: getattr(data, name) for name in EVALUATED_WITH},
            "per_device_eval_batch_size": training.per_device_eval_batch_size,
            "mixed_precision": mixed_precision,
        },
    }


def compare_precision(before: str | None, now: str) -> None:
    """Say it where an evaluation computes in other numbers than the end of training did."""
    if before not in (None, now):
        logger.warning(
            "The end of training was scored with mixed precision %s, this is with %s: the last digits may differ. For "
            "the same ones: accelerate launch --mixed_precision %s …",
            *(before, now, before),
        )


def write_predictions(path: Path, predictions: dict[str, Any], texts: dict[str, Any], labels: list[str]) -> None:
    """Write each review of each split with its label, the predicted one and the probabilities, one JSON a line."""
    with open(path, "w", encoding="utf-8") as file:
        for split, prediction in predictions.items():
            probabilities = softmax(prediction.predictions)
            for row, shares in zip(texts[split], probabilities, strict=True):
                line = {"split": split, "text": row["text"], "label": labels[row["label"]]}
                line["predicted"] = labels[int(shares.argmax())]
                line["probabilities"] = dict(zip(labels, map(float, shares), strict=True))
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def closing_table(results: dict[str, Any], output_dir: Path, features: Path) -> str:
    """What a person reads at the end of training: the numbers, how they came about, and where things are."""
    chosen = {
        "validation": "The checkpoint was chosen on the validation reviews; test was scored once.",
        "test": "The checkpoint was chosen on the test reviews, so the test score is no honest estimate.",
    }
    places = {
        "model": output_dir,
        "results": output_dir / "results.json",
        "settings": output_dir / "run.json",
        "card": output_dir / "README.md",
        "curves": output_dir / "runs",
        "features": features,
    }
    return f"\n{_table(results)}\n\n{chosen[results['checkpoint_chosen_on']]}\n{_list(places)}"


def evaluation_table(results: dict[str, Any], output_dir: Path) -> str:
    """What a person reads at the end of an evaluation."""
    places = {"results": output_dir / "evaluation.json", "reviews": output_dir / "predictions.jsonl"}
    return f"\n{_table(results)}\n\n{_list(places)}"


def _list(places: dict[str, Path]) -> str:
    """What is there; without TensorBoard there are no curves."""
    return "\n".join(f"  {what:<9} {path}" for what, path in places.items() if path.exists())


def _table(results: dict[str, Any]) -> str:
    """Each split's metrics side by side."""
    splits = {name: numbers for name, numbers in results.items() if name in ("validation", "test")}
    rows = [("", *splits)]
    rows += [
        (name, *(show(numbers) for numbers in splits.values()))
        for name, show in {
            "reviews": lambda numbers: f"{numbers['reviews']:,}",
            "accuracy": lambda numbers: f"{numbers['accuracy']:.4f}",
            "  95 % interval": lambda numbers: "{:.4f}-{:.4f}".format(*numbers["accuracy_interval"]),
            "macro F1": lambda numbers: f"{numbers['f1_macro']:.4f}",
            "loss": lambda numbers: f"{numbers['loss']:.4f}",
        }.items()
    ]
    rows += [
        (f"{what} {label}", *(f"{numbers['per_class'][label][what]:.4f}" for numbers in splits.values()))
        for label in next(iter(splits.values()))["per_class"]
        for what in ("precision", "recall")
    ]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            _pad(cell, width, right=index > 0) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(lines)


def _width(text: str) -> int:
    return sum(2 if "가" <= letter <= "힣" else 1 for letter in text)  # a terminal gives a syllable two columns


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
