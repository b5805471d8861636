"""Score splits with a Trainer, each once."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tasks import Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

SCORED = ("validation", "test")
UNSEEN = "test_unseen"  # the test examples whose text is not in the training or validation examples


def score_splits(
    trainer: "Trainer",
    task: Task,
    splits: dict[str, "Dataset"],
    *,
    seen: np.ndarray | None = None,
    tune: bool = False,
) -> tuple[Task, dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Predict and score the validation and the test split, as far as there are.

    Args:
        trainer: has the model.
        task: of the model.
        splits: from `select_splits`.
        seen: whether the text of each test example stands in the training or validation examples too, [examples];
            None: not known.
        tune: let the validation split decide the task's temperature and thresholds first, if it has any.

    Returns:
        The task, tuned; by split: the numbers of `Task.evaluate`; and the logits, [examples, num_labels]. If some test
        texts were seen, test has their number as `num_seen`, and the others are scored as `test_unseen` too.
    """
    labels: dict[str, np.ndarray] = {}
    logits: dict[str, np.ndarray] = {}
    for name in SCORED:
        if name in splits:
            prediction = trainer.predict(splits[name], metric_key_prefix=name)
            logits[name], labels[name] = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    if tune and "validation" in logits:
        task = task.tune(logits["validation"], labels["validation"])
    scores = {name: task.evaluate(logits[name], labels[name]) for name in logits}
    if seen is not None:
        scores["test"]["num_seen"] = int(seen.sum())
        if 0 < seen.sum() < len(seen):
            scores[UNSEEN] = task.evaluate(logits["test"][~seen], labels["test"][~seen])
    return task, scores, logits
