"""The predictions that a run has stored, read back: texts, labels and probabilities of one of its splits."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.modeling.prediction_settings import task_of_config
from pipeline.runtime.errors import UserError, as_user_error
from pipeline.runtime.run_dir import PREDICTIONS
from pipeline.tasks import Task
from pipeline.tasks.multi_label import SEPARATOR


@dataclass(frozen=True)
class StoredPredictions:
    """What a model said of the examples of one split, in the order of the file.

    Attributes:
        run: the folder of the run.
        task: of the model, with its temperature and thresholds.
        texts: of each example, one or the two of a pair.
        labels, predicted: of each example, by name as `Task.label_name` gives it.
        probabilities: [examples, num_labels], float64; in a regression the numbers.
        in_training: whether the text stands in the training or validation examples too, [examples]; None: not known.
    """

    run: Path
    task: Task
    texts: list[tuple[str, ...]]
    labels: list[str]
    predicted: list[str]
    probabilities: np.ndarray
    in_training: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def references(self) -> np.ndarray:
        """The labels as numbers, see `encode`."""
        return encode(self.task, self.labels)

    @property
    def decisions(self) -> np.ndarray:
        """The predictions in the form of `references`; in a regression with all their digits."""
        if self.task.problem_type == "regression":
            return self.probabilities[:, 0]
        return encode(self.task, self.predicted)

    def select(self, rows: Sequence[int] | np.ndarray) -> "StoredPredictions":
        """The examples at these positions, in this order."""
        return replace(
            self,
            texts=[self.texts[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            predicted=[self.predicted[row] for row in rows],
            probabilities=self.probabilities[rows],
            in_training=None if self.in_training is None else self.in_training[rows],
        )


def read_predictions(run: Path, split: str = "test") -> StoredPredictions:
    """The predictions of a run for one split.

    Raises:
        UserError: the run has stored none, none of this split, or files that cannot be read.
    """
    path = run / PREDICTIONS
    rows = list(read_rows(run, split))
    task = read_task(run)
    if not rows:
        raise UserError(f"{path} has no examples of the split {split}.")
    with as_user_error(f"{path} was not written by scripts/evaluate_model.py with the model in {run}", KeyError):
        seen = [row.get("in_training") for row in rows]
        return StoredPredictions(
            run,
            task,
            [tuple(row[column] for column in task.text_columns) for row in rows],
            [row["label"] for row in rows],
            [row["predicted"] for row in rows],
            np.array([[row["probabilities"][name] for name in task.class_names] for row in rows], dtype=np.float64),
            None if None in seen else np.array(seen, dtype=bool),
        )


def read_rows(run: Path, split: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a run's predictions, one by one, of one split or of all.

    Raises:
        UserError: there are none, or a line cannot be read.
    """
    path = run / PREDICTIONS
    if not path.is_file():
        raise UserError(
            f"{run} has no {PREDICTIONS}{'' if run.is_dir() else ': there is no such folder'}. Expected the folder of "
            f"a finished run; if it has a model, `accelerate launch scripts/evaluate_model.py --model {run}` writes it."
        )
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                is_wanted = split in (None, row["split"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}, line {number} cannot be read: {error}") from error
            if is_wanted:
                yield row


def read_task(run: Path) -> Task:
    """The task of a run's model.

    Raises:
        UserError: the folder holds no model, or none with one of our tasks.
    """
    path = run / "config.json"
    with as_user_error(f"{path} cannot be read; expected the folder of a run, with its model", OSError, ValueError):
        return task_of_config(json.loads(path.read_text(encoding="utf-8")))


def encode(task: Task, names: Sequence[str]) -> np.ndarray:
    """Labels by name -> their numbers.

    Returns:
        [examples], int64, of one label; [examples, num_labels], bool, of several; [examples], float64, in a regression.

    Raises:
        UserError: a name is none of the task's.
    """
    if task.problem_type == "regression":
        return np.array(names, dtype=np.float64)
    number = {name: index for index, name in enumerate(task.class_names)}
    with as_user_error(f"a label is none of the model's, {', '.join(task.class_names)}", KeyError):
        if task.problem_type == "single_label_classification":
            return np.array([number[name] for name in names], dtype=np.int64)
        encoded = np.zeros((len(names), task.num_labels), dtype=bool)
        for row, joined in enumerate(names):
            encoded[row, [number[name] for name in joined.split(SEPARATOR) if joined]] = True
    return encoded
