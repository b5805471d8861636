"""What a run leaves besides the model: scores with everything that produced them, and predictions."""

import importlib.metadata
import json
import logging
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.modeling.files import ModelFiles
from pipeline.runtime import xla
from pipeline.runtime.run_dir import RESULTS, RUN
from pipeline.tasks import Task

if TYPE_CHECKING:  # slow to import
    from transformers import TrainerState
    from transformers.trainer_utils import TrainOutput

    from pipeline.config.arguments import DataArguments, TrainingArguments

logger = logging.getLogger(__name__)

DATA_OPTIONS = (
    *("corpus_name", "dataset_name", "dataset_config_name", "dataset_revision", "text_column", "label_column"),
    *("problem_type", "class_names", "skip_bad_rows", "validation_fraction", "test_fraction", "validation_seed"),
    *("drop_duplicates", "max_length", "long_text", "clean", "batching"),
)
PATH_OPTIONS = ("corpus_root_dir", "train_file", "validation_file", "test_file", "cache_dir")
EVALUATION_OPTIONS = (*DATA_OPTIONS, "per_device_eval_batch_size", "mixed_precision")
PACKAGES = ["torch", "transformers", "datasets", "accelerate", "evaluate", "tokenizers", "huggingface_hub", "Korpora"]


def environment(processes: int, mixed_precision: str) -> dict[str, Any]:
    """Versions, machine and command, for run.json."""
    packages = [*PACKAGES, "nsmc-pipeline", *["torch_xla"] * xla.is_replica()]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else xla.device_kind()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device or platform.processor() or platform.machine(),
        "processes": processes,
        "mixed_precision": mixed_precision,
        "packages": {package: importlib.metadata.version(package) for package in packages},
        "command": " ".join(sys.argv),
    }


def describe_training(
    outcome: "TrainOutput",
    state: "TrainerState",
    chosen_on: str,
    data: "DataArguments",
    training: "TrainingArguments",
    mixed_precision: str,
) -> dict[str, Any]:
    """The first part of results.json: how training went, and the settings of its final evaluation.

    It names no path of this machine: results.json is pushed to the Hub with the model.

    Args:
        chosen_on: the split that selected the checkpoint, validation or test.
    """
    best = state.best_model_checkpoint
    options = [name for name in DATA_OPTIONS if name != "corpus_name" or not data.is_own_data]
    return {
        "checkpoint_chosen_on": chosen_on,
        "training": {
            **outcome.metrics,
            "steps": state.global_step,
            "best_checkpoint": Path(best).name if best else None,
        },
        "evaluated_with": {
            **{name: value for name in options if (value := getattr(data, name)) is not None},
            "per_device_eval_batch_size": training.per_device_eval_batch_size,
            "mixed_precision": mixed_precision,
        },
    }


def evaluation_settings(files: ModelFiles) -> dict[str, Any]:
    """The options that the final evaluation of a model's training had, as far as the model's folder tells.

    results.json goes to the Hub with the model. The paths of data and cache are in run.json, which does not.
    """
    evaluated_with = _read_section(files.folder / RESULTS, "evaluated_with")
    data = _read_section(files.folder / RUN, "arguments").get("data", {})
    return {
        **{name: value for name, value in evaluated_with.items() if name in EVALUATION_OPTIONS},
        **{name: data[name] for name in PATH_OPTIONS if name in data},
    }


def _read_section(path: Path, key: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, LookupError, TypeError):
        logger.info("%s has no %s: the options' defaults are used instead.", path, key)
        return {}


def compare_precision(before: str | None, now: str) -> None:
    """Warn if this evaluation has another precision than the final one of the training, if that is known."""
    if before not in (None, now):
        logger.warning(
            "Training ended with an evaluation in mixed precision %s; this one has %s, so the last digits may differ. "
            "For the same digits: accelerate launch --mixed_precision %s …",
            *(before, now, before),
        )


def write_predictions(
    path: Path,
    logits: Mapping[str, np.ndarray],
    texts: Mapping[str, Iterable[dict[str, Any]]],
    task: Task,
    seen: np.ndarray | None = None,
) -> None:
    """Write each example with its label, prediction and probabilities, one JSON object a line.

    Args:
        logits: by split, [examples, num_labels].
        texts: by split, the examples in the order of the logits: the task's text columns and `label`.
        seen: whether the text of each test example stands in the training or validation examples too, [examples];
            None: not known.
    """
    with open(path, "w", encoding="utf-8") as file:
        for split, split_logits in logits.items():
            probabilities = task.probabilities(split_logits)
            for index, (row, of_row) in enumerate(zip(texts[split], probabilities, strict=True)):
                decision = task.decide(of_row)
                known = {"in_training": bool(seen[index])} if split == "test" and seen is not None else {}
                line = {
                    "split": split,
                    **{column: row[column] for column in task.text_columns},
                    "label": task.label_name(row["label"]),
                    "predicted": decision.label,
                    "probabilities": decision.probabilities,
                    **known,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
