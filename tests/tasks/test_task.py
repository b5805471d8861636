"""What every kind of task does, and how one is made."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from transformers import EvalPrediction

from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task, create_task

SINGLE = SingleLabelClassification(("부정", "긍정"))
TASKS = [
    SINGLE,
    SingleLabelClassification(("a", "b", "c"), ("sentence1", "sentence2"), class_weights=(1.0, 0.5, 2.5)),
    MultiLabelClassification(("분노", "슬픔", "기쁨")),
    MultiLabelClassification(("a", "b", "c"), ("text",), (1.0, 2.0, 3.0), (0.5, 0.25, 0.75)),
    Regression(("score",), ("sentence1", "sentence2")),
]
LABELS = {
    "single_label_classification": [0, 1, 0, 1, 0],
    "multi_label_classification": [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "regression": [0.0, 1.5, 5.0, -2.25, 3.0],
}
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)


@every_task
def test_a_description_makes_the_same_task(task: Task) -> None:
    assert create_task(**json.loads(json.dumps(task.describe()))) == task
    hash(create_task(**task.describe()))


def test_descriptions_name_only_what_is_given() -> None:
    assert SINGLE.describe() == {
        "problem_type": "single_label_classification",
        "class_names": ["부정", "긍정"],
        "text_columns": ["text"],
    }


def test_the_task_of_a_model() -> None:
    assert create_task(None, ["부정", "긍정"]) == SINGLE
    assert create_task("regression", ["score"]) == Regression(("score",))
    with pytest.raises(UserError, match="problem_type is ranking; expected one of single_label_classification, multi"):
        create_task("ranking", ["부정", "긍정"])


@pytest.mark.parametrize(
    ("problem_type", "names", "options", "message"),
    [
        ("regression", ["score"], {"class_weights": [1.0]}, "regression has no class_weights"),
        ("single_label_classification", ["a", "b"], {"thresholds": [0.5, 0.5]}, "has no thresholds"),
        ("regression", ["a", "b"], {}, "a regression predicts one number; found a, b"),
        ("multi_label_classification", ["a", "b"], {"thresholds": [0.5]}, "1 thresholds for 2 classes"),
        ("multi_label_classification", ["a", "b"], {"class_weights": [0.5]}, "1 class weights for 2 classes"),
    ],
)
def test_what_a_kind_does_not_have(problem_type: str, names: list[str], options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_task(problem_type, names, **options)


@every_task
def test_labels_go_through_a_dataset(task: Task) -> None:
    labels = LABELS[task.problem_type]
    rows = Dataset.from_dict({"label": labels}, features=Features({"label": task.label_feature}))
    assert rows["label"][:] == labels
    read = np.asarray(rows.with_format("numpy")["label"][:])
    assert len(task.strata(read)) == len(labels)
    assert sum(task.label_counts(read).values()) >= len(labels)


@every_task
def test_an_ignored_label_counts_for_nothing(task: Task) -> None:
    labels = [*LABELS[task.problem_type], task.ignored_label]
    labels = torch.tensor(labels, dtype=torch.int64 if isinstance(labels[0], int) else torch.float32)
    logits = torch.randn(len(labels), task.num_labels, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = task.loss(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(task.loss(logits[:-1], labels[:-1]).item())
    assert not logits.grad[-1].any()
    assert logits.grad[:-1].all()
    assert not logits.grad.isnan().any()
    assert task.loss(logits.bfloat16(), labels).dtype == torch.float32


@every_task
def test_what_trainer_logs_can_select_the_checkpoint(task: Task) -> None:
    labels = np.array(LABELS[task.problem_type])
    logits = np.random.default_rng(0).normal(size=(len(labels), task.num_labels)).astype(np.float32)
    numbers = task.compute_metrics(EvalPrediction(logits, labels))
    assert numbers.keys() == task.greater_is_better.keys()
    assert all(type(value) is float for value in numbers.values())
    evaluation = task.evaluate(logits, labels)
    json.dumps(evaluation, allow_nan=False)
    assert {name: evaluation[name] for name in numbers if name in evaluation}.items() <= numbers.items()
    assert all(isinstance(evaluation[key], float) for key, _, _ in task.headline_metrics)
    assert all(isinstance(cell, str) for row in task.table_rows(evaluation) for cell in row)
    assert task.greater_is_better["loss"] is False


@every_task
def test_a_decision_names_every_class(task: Task) -> None:
    probabilities = task.probabilities(np.zeros((1, task.num_labels), dtype=np.float32))
    assert probabilities.dtype == np.float64
    assert tuple(task.decide(probabilities[0]).probabilities) == task.class_names


@pytest.mark.parametrize("task", [TASKS[2], TASKS[4]])
def test_label_smoothing_is_of_single_labels(task: Task) -> None:
    SINGLE.check_label_smoothing(0.1)
    task.check_label_smoothing(0.0)
    with pytest.raises(UserError, match=r"--label_smoothing_factor is 0\.1"):
        task.loss(torch.zeros(1, task.num_labels), torch.zeros(1, task.num_labels), label_smoothing=0.1)


def test_a_regression_is_not_tuned() -> None:
    task = TASKS[4]
    assert task.tune(np.zeros((5, task.num_labels)), np.array(LABELS[task.problem_type])) is task
