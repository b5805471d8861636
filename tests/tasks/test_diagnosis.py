"""A model that has learnt nothing is pointed out, and no other."""

import numpy as np
import pytest

from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task

SINGLE = SingleLabelClassification(("부정", "중립", "긍정"))
MULTI = MultiLabelClassification(("분노", "슬픔", "기쁨"))
NUMBER = Regression(("score",))
ADVICE = "--learning_rate 2e-5 --lr_scheduler_type linear --warmup_steps 100 --max_grad_norm 1"


def labels(task: Task, count: int = 200) -> np.ndarray:
    generator = np.random.default_rng(0)
    if task is NUMBER:
        return generator.normal(3, 1, count).astype(np.float32)
    if task is MULTI:
        return (generator.random((count, 3)) < [0.5, 0.3, 0.2]).astype(np.float32)
    return generator.choice(3, count, p=[0.5, 0.3, 0.2])


def signal(task: Task, references: np.ndarray) -> np.ndarray:
    """What a perfect model says."""
    if task is NUMBER:
        return references[:, None]
    return references * 2 - 1 if task is MULTI else np.eye(3)[references]


def noise(task: Task, count: int = 200) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, task.num_labels))


every_task = pytest.mark.parametrize("task", [SINGLE, MULTI, NUMBER], ids=lambda task: task.problem_type[:6])


@every_task
def test_a_model_that_has_learnt_is_left_alone(task: Task) -> None:
    references = labels(task)
    center = 3 if task is NUMBER else 0
    for strength in (1, 0.9):
        logits = center + strength * (signal(task, references) - center) + 0.3 * noise(task)
        assert task.diagnose(logits, references) is None


@every_task
def test_noise_is_guessing(task: Task) -> None:
    line = task.diagnose(noise(task), labels(task))
    assert "not better than guessing" in line
    assert ADVICE in line
    assert "\n" not in line


@every_task
def test_a_collapsed_model_is_guessing_or_has_one_answer(task: Task) -> None:
    """Outputs that differ by less than they should, around the shares of the labels."""
    references = labels(task)
    fact = {SINGLE: "predicts only 부정 for all 200", MULTI: "predicts no label", NUMBER: "predicts about 3"}[task]
    constant = {SINGLE: np.log([0.5, 0.3, 0.2]), MULTI: np.log([0.6, 0.4, 0.3]), NUMBER: [3.0]}[task]
    line = task.diagnose(constant + 1e-5 * noise(task), references)
    assert fact in line


@every_task
def test_a_model_too_sure_of_itself_is_not_guessing(task: Task) -> None:
    """Its loss is above that of guessing; its decisions are right more often than by chance."""
    references = labels(task)
    logits = 20 * signal(task, references) + 20 * noise(task)
    numbers = task.evaluate(logits, references)
    assert numbers["loss"] > {SINGLE: 1.03, MULTI: 0.61, NUMBER: 1}[task]
    assert task.diagnose(logits, references) is None


@every_task
def test_few_examples_tell_nothing(task: Task) -> None:
    assert task.diagnose(noise(task, 60), labels(task, 60)) is None
    constant = np.tile([1.0, 0.0, 0.0][: task.num_labels], (19, 1))
    assert task.diagnose(constant, labels(task, 19)) is None
    assert task.diagnose(np.repeat(constant, 2, axis=0), labels(task, 38)) is not None


@every_task
def test_nothing_is_to_be_learnt_from_equal_labels(task: Task) -> None:
    references = np.repeat(labels(task)[:1], 200, axis=0)
    assert task.diagnose(10 * signal(task, references), references) is None
    assert task.diagnose(signal(task, references) + 1e-3 * noise(task), references) is None


@every_task
def test_outputs_that_are_no_numbers(task: Task) -> None:
    logits = noise(task, 3)
    logits[1] = np.nan
    assert "diverged" in task.diagnose(logits, labels(task, 3))


def test_a_rare_class_is_missed() -> None:
    references = np.repeat([0, 1], [190, 10])
    line = SINGLE.diagnose(np.tile([3.0, 0.0, 0.0], (200, 1)), references)
    assert line.startswith("The model predicts only 부정 for all 200 examples. What usually helps: --class_weights bal")
    weighted = SingleLabelClassification(SINGLE.class_names, class_weights=(1.0, 19.0, 1.0))
    assert "--class_weights" not in weighted.diagnose(np.tile([3.0, 0.0, 0.0], (200, 1)), references)
    assert SINGLE.diagnose(np.tile([3.0, 0.0, 0.0], (200, 1)), np.repeat([0, 1], [196, 4])) is None  # four by chance


def test_a_loss_below_that_of_guessing_is_enough() -> None:
    """Its probabilities tell the rare class, though no decision is right on it yet."""
    references = np.repeat([0, 1], [950, 50])
    probabilities = np.where(references == 1, 0.4, 0.02)
    probabilities[0] = 0.6
    logits = np.log(np.stack([1 - probabilities, probabilities], axis=1))
    assert SingleLabelClassification(("부정", "긍정")).diagnose(logits, references) is None


@pytest.mark.parametrize("kind", [SingleLabelClassification, MultiLabelClassification])
def test_guessing_is_by_the_weighted_shares(kind: type) -> None:
    """A model of weighted classes has probabilities, and a loss without weights, unlike the shares of the labels."""
    generator = np.random.default_rng(0)
    rare = generator.random(1000) < 0.05
    if kind is SingleLabelClassification:
        names, weights, references = ("a", "b"), (0.53, 10.0), rare.astype(int)
        balanced = np.stack([0.1 - 0.2 * rare, -0.1 + 0.2 * rare], axis=1)
    else:
        names, weights, references = ("a", "b"), (19.0, 19.0), np.stack([rare, rare], axis=1).astype(np.float32)
        balanced = 0.2 * references - 0.1
    task = kind(names, class_weights=weights)
    noisy = balanced * 3 + generator.normal(size=(1000, 2)) * 0.1
    assert task.evaluate(noisy, references)["loss"] > 0.3  # guessing by the shares: 0.2
    assert task.diagnose(noisy, references) is None
    line = task.diagnose(generator.normal(size=(1000, 2)), references)
    share = rare.mean()
    if kind is SingleLabelClassification:
        rare_share = 10 * share / (10 * share + 0.53 * (1 - share))
        guessing = -rare_share * np.log(rare_share) - (1 - rare_share) * np.log(1 - rare_share)
    else:
        odds = 19 * share / (1 - share)
        guessing = 19 * share * np.log(1 + 1 / odds) + (1 - share) * np.log(1 + odds)
    assert f"its loss is not below {guessing:.4f}" in line
    frequent = generator.normal(size=(1000, 2)) + ([2, 0] if kind is SingleLabelClassification else -2)
    assert task.evaluate(frequent, references)["loss"] < guessing  # without weights, which make it worse than guessing
    assert task.diagnose(frequent, references) == line


def test_the_loss_of_guessing_is_the_entropy_of_the_shares() -> None:
    references = np.repeat([0, 1], 100)
    two = SingleLabelClassification(("부정", "긍정"))
    assert "0.6931" in two.diagnose(np.random.default_rng(0).normal(size=(200, 2)), references)
    shares = np.repeat([[1.0], [0.0]], [50, 150], axis=0)
    one = MultiLabelClassification(("a",))
    assert "0.5623" in one.diagnose(np.random.default_rng(0).normal(size=(200, 1)), shares)
    numbers = np.tile([1.0, 5.0], 100)
    assert "below 4.0000" in NUMBER.diagnose(np.random.default_rng(0).normal(size=(200, 1)), numbers)
