"""Score splits with a Trainer, each once."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

SCORED = ("validation", "test")


def score_splits(
    trainer: "Trainer", task: Task, splits: dict[str, "Dataset"], *, tune: bool = False
) -> tuple[Task, dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Predict and score the validation and the test split, as far as there are.

    Args:
        trainer: has the model.
        task: of the model.
        splits: from `select_splits`.
        tune: let the validation split decide the task's thresholds first, if it has any.

    Returns:
        The task, tuned; by split: the numbers of `Task.evaluate`; and the logits, [examples, num_labels].
    """
    labels: dict[str, np.ndarray] = {}
    logits: dict[str, np.ndarray] = {}
    for name in SCORED:
        if name in splits:
            prediction = trainer.predict(splits[name], metric_key_prefix=name)
            logits[name], labels[name] = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    if tune and "validation" in logits:
        task = task.tune(logits["validation"], labels["validation"])
    return task, {name: task.evaluate(logits[name], labels[name]) for name in logits}, logits
