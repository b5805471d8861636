"""What prediction must repeat of training, besides the weights: kept in the model's config under `classifier`.

Only what is not the default is kept, so that a config without it means what it always meant.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.runtime.errors import UserError
from pipeline.tasks import Task, create_task

if TYPE_CHECKING:  # slow to import
    from pipeline.modeling.files import ModelFiles

KEY = "classifier"
DEFAULTS = {"text_columns": ["text"], "clean": "none", "long_text": "head", "thresholds": None, "temperature": 1.0}
TUNED = ("thresholds", "temperature")  # what `Task.tune` chooses


def keep_prediction_settings(config: Any, task: Task, clean: str, long_text: str) -> None:
    """Write the settings into a model's config.

    Args:
        config: a `PreTrainedConfig`.
        task: its text columns, and what it was tuned to: its temperature and thresholds, if it has any.
        clean: `--clean`.
        long_text: `--long_text`.
    """
    described = task.describe()
    settings: dict[str, Any] = {"clean": clean, "long_text": long_text}
    settings |= {name: described.get(name, DEFAULTS[name]) for name in ("text_columns", *TUNED)}
    kept = {name: value for name, value in settings.items() if value != DEFAULTS[name]}
    if kept:
        setattr(config, KEY, kept)
    elif hasattr(config, KEY):  # of the model that this one was trained from
        delattr(config, KEY)


def prediction_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`text_columns`, `clean`, `long_text`, `thresholds` and `temperature` of a model, from its config as a mapping."""
    return {**DEFAULTS, **(config.get(KEY) or {})}


def task_of_config(config: Mapping[str, Any]) -> Task:
    """The task that a fine-tuned model's config describes.

    Raises:
        UserError: none of our tasks is of its kind.
    """
    settings = prediction_settings(config)
    names = {int(label): str(name) for label, name in (config.get("id2label") or {}).items()}
    tuned = {name: settings[name] for name in TUNED if settings[name] != DEFAULTS[name]}
    return create_task(
        config.get("problem_type"), [names[label] for label in sorted(names)], settings["text_columns"], **tuned
    )


def task_of_model(files: "ModelFiles") -> Task | None:
    """The task of a fine-tuned model; None for a model that is not fine-tuned, which has none.

    Raises:
        UserError: the config cannot be read, or none of our tasks is of its kind.
    """
    try:
        config = json.loads((files.folder / "config.json").read_text(encoding="utf-8"))
        is_classifier = any("SequenceClassification" in name for name in config.get("architectures") or [])
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{files.folder / 'config.json'} cannot be read: {error}") from error
    return task_of_config(config) if is_classifier and config.get("id2label") else None


def check_same_labels(expected: Task | None, found: Task) -> Task:
    """The task to evaluate with: that of the data, tuned as the model is.

    Raises:
        UserError: the data has other labels than the model.
    """
    if expected is None or expected.class_names == found.class_names:
        return replace(found, **{name: getattr(expected, name) for name in TUNED if hasattr(expected, name)})
    raise UserError(
        f"the model's labels are {', '.join(expected.class_names)}; the data's are {', '.join(found.class_names)}. "
        "Evaluate on data with the model's labels."
    )
