"""What a person reads in the terminal: the arguments before training, and the table at the end."""

import logging
import textwrap
import unicodedata
from pathlib import Path
from typing import Any

from pipeline.runtime.run_dir import CARD, CURVES, EVALUATION, PREDICTIONS, RESULTS, RUN
from pipeline.tasks import Task

logger = logging.getLogger(__name__)

SELECTION = {
    "validation": "The checkpoint was chosen on the validation examples; test was scored once.",
    "test": "The checkpoint was chosen on the test examples, so the test score is biased.",
}


def log_arguments(arguments: dict[str, dict[str, Any]]) -> None:
    """Log every argument, group by group."""
    for group, values in arguments.items():
        text = ", ".join(f"{name}={value}" for name, value in values.items())
        logger.info("%s arguments:\n%s", group, textwrap.indent(textwrap.fill(text, 116, break_on_hyphens=False), "  "))


def closing_table(results: dict[str, Any], task: Task, output_dir: Path, features: Path) -> str:
    """What training prints at its end: scores, which split selected the checkpoint, and paths."""
    paths = {
        "model": output_dir,
        "results": output_dir / RESULTS,
        "settings": output_dir / RUN,
        "card": output_dir / CARD,
        "curves": output_dir / CURVES,
        "features": features,
    }
    selection = SELECTION[results["checkpoint_chosen_on"]]
    return f"\n{_score_table(results, task)}\n\n{selection}\n{_list_paths(paths)}"


def evaluation_table(results: dict[str, Any], task: Task, output_dir: Path) -> str:
    """What an evaluation prints at its end: scores and paths."""
    paths = {"results": output_dir / EVALUATION, "examples": output_dir / PREDICTIONS}
    return f"\n{_score_table(results, task)}\n\n{_list_paths(paths)}"


def _list_paths(paths: dict[str, Path]) -> str:
    """The paths that exist; without TensorBoard there are no curves."""
    return "\n".join(f"  {what:<9} {path}" for what, path in paths.items() if path.exists())


def _score_table(results: dict[str, Any], task: Task) -> str:
    """The splits' scores side by side."""
    columns = {split: dict(task.table_rows(results[split])) for split in ("validation", "test") if split in results}
    names = next(iter(columns.values()))
    rows = [["", *columns], *([name, *(column[name] for column in columns.values())] for name in names)]
    widths = [max(map(_display_width, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            _pad(cell, width, right=index > 0) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(lines)


def _display_width(text: str) -> int:
    """Columns of a terminal: a Korean syllable takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _display_width(text))
    return space + text if right else text + space
