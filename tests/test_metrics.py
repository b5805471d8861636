"""The numbers, against figures worked out by hand, with no network."""

import math

import numpy as np
import pytest
from transformers import EvalPrediction

from pipeline.arguments import METRICS
from pipeline.metrics import report, scalars, wilson_interval

LABELS = ["부정", "긍정"]
# Reference 0 0 0 0 1 1; predicted 0 0 0 1 1 0: three of four, one of two.
REFERENCES = np.array([0, 0, 0, 0, 1, 1])
LOGITS = np.array([[2, 0], [2, 0], [2, 0], [0, 2], [0, 2], [2, 0]], dtype=np.float32)


def test_report() -> None:
    numbers = report(LOGITS, REFERENCES, LABELS)
    assert numbers["reviews"] == 6
    assert numbers["confusion_matrix"] == [[3, 1], [1, 1]]
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["per_class"]["부정"] == pytest.approx({"precision": 0.75, "recall": 0.75, "f1": 0.75, "reviews": 4})
    assert numbers["per_class"]["긍정"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "reviews": 2})
    assert (numbers["f1_macro"], numbers["precision_macro"], numbers["recall_macro"]) == (0.625, 0.625, 0.625)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert numbers["loss"] == pytest.approx((4 * right + 2 * wrong) / 6, abs=5e-7)  # six digits are reported


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    numbers = report(np.tile([1.0, 0.0], (4, 1)), np.array([0, 0, 1, 1]), LABELS)
    assert numbers["per_class"]["긍정"] == {"precision": 0, "recall": 0, "f1": 0, "reviews": 2}
    assert numbers["f1_macro"] == pytest.approx(1 / 3)


def test_loss_of_extreme_logits_is_finite() -> None:
    assert report(np.array([[1e4, -1e4]], dtype=np.float32), np.array([1]), LABELS)["loss"] == pytest.approx(2e4)


def test_scalars_are_what_trainer_can_log() -> None:
    numbers = scalars(EvalPrediction(LOGITS, REFERENCES), LABELS)
    assert set(numbers) == set(METRICS)  # what --metric_for_best_model accepts
    assert all(isinstance(value, float) for value in numbers.values())


def test_wilson_interval() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81 / 263, 263) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0.0, 10)[0] == pytest.approx(0.0)
    low, high = wilson_interval(0.9, 50_000)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.00134, abs=1e-5)  # the standard error at NSMC's size
