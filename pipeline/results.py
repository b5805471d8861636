"""What a run leaves behind besides the model: results that can be traced to what made them, and the closing table."""

import importlib.metadata
import json
import logging
import platform
import sys
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)

PACKAGES = ["torch", "transformers", "datasets", "accelerate", "evaluate", "tokenizers", "huggingface_hub", "Korpora"]


def environment() -> dict[str, Any]:
    """Versions of what computed the result, and the machine."""
    versions = {package: importlib.metadata.version(package) for package in [*PACKAGES, "nsmc-pipeline"]}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device,
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


def closing_table(results: dict[str, Any], output_dir: Path, features: Path) -> str:
    """What a person reads at the end: each split's metrics side by side, how they came about, where things are."""
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
    chosen = {
        "validation": "The checkpoint was chosen on the validation reviews; test was scored once.",
        "test": "The checkpoint was chosen on the test reviews, so the test score is no honest estimate.",
    }
    return "\n".join(
        ["", *lines, "", chosen[results["checkpoint_chosen_on"]]]
        + [f"  {what:<9} {path}" for what, path in _places(output_dir, features).items()]
    )


def _places(output_dir: Path, features: Path) -> dict[str, Path]:
    return {
        "model": output_dir,
        "results": output_dir / "results.json",
        "settings": output_dir / "run.json",
        "curves": output_dir / "runs",
        "features": features,
    }


def _width(text: str) -> int:
    return sum(2 if "가" <= letter <= "힣" else 1 for letter in text)  # a terminal gives a syllable two columns


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
