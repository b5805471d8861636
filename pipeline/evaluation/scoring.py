"""Score splits with a Trainer, each once."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

SCORED = ("validation", "test")


def score_splits(
    trainer: "Trainer", task: Task, splits: dict[str, "Dataset"]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Predict and score the validation and the test split, as far as there are.

    Returns:
        By split: the numbers of `Task.evaluate`; and the logits, [examples, num_labels].
    """
    scores: dict[str, dict[str, Any]] = {}
    logits: dict[str, np.ndarray] = {}
    for name in SCORED:
        if name in splits:
            prediction = trainer.predict(splits[name], metric_key_prefix=name)
            logits[name] = np.asarray(prediction.predictions)
            scores[name] = task.evaluate(logits[name], np.asarray(prediction.label_ids))
    return scores, logits
