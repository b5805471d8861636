"""Calibration: errors counted by a loop, temperatures found that were planted."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification
from pipeline.tasks.calibration import expected_calibration_error, reliability

CLASSES = SingleLabelClassification(("a", "b", "c"))
LABELS = MultiLabelClassification(("a", "b", "c"))


def examples(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by their probabilities at that temperature."""
    generator = np.random.default_rng(5)
    logits = generator.normal(scale=3, size=(count, 3)).astype(np.float32)
    probabilities = softmax(logits / temperature, axis=-1)
    return logits, (generator.random((count, 1)) > probabilities.cumsum(axis=-1)[:, :2]).sum(axis=-1)


def several(temperature: float, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Likewise, each label by itself."""
    generator = np.random.default_rng(5)
    logits = generator.normal(scale=3, size=(count, 3)).astype(np.float32)
    return logits, (generator.random((count, 3)) < expit(logits / temperature)).astype(np.float32)


def test_the_error_is_that_of_a_loop() -> None:
    generator = np.random.default_rng(1)
    probabilities = np.append(generator.random(500), [0.0, 1.0, 1 / 15, 14 / 15])
    hits = generator.random(504) < probabilities**2
    expected = 0.0
    for low in range(15):
        of_bin = [
            (p, hit) for p, hit in zip(probabilities, hits, strict=True) if int(p * 15) == low or (p == 1 and low == 14)
        ]
        expected += abs(sum(p for p, _ in of_bin) - sum(hit for _, hit in of_bin)) / 504
    bins = reliability(probabilities, hits)
    assert expected_calibration_error(bins) == pytest.approx(expected, abs=2e-6)  # six decimals, of each bin too
    assert sum(each["count"] for each in bins) == 504
    assert all(each["from"] <= each["probability"] <= each["to"] for each in bins)


def test_empty_bins_are_left_out() -> None:
    assert reliability(np.array([0.5, 0.5]), np.array([True, False])) == [
        {"from": 0.466667, "to": 0.533333, "count": 2, "probability": 0.5, "frequency": 0.5}
    ]


@pytest.mark.parametrize("planted", [0.5, 2.0, 4.0])
@pytest.mark.parametrize(("task", "draw"), [(CLASSES, examples), (LABELS, several)], ids=["one label", "several"])
def test_a_planted_temperature_is_found(task, draw, planted: float) -> None:
    logits, labels = draw(planted)
    tuned = task.tune(logits, labels)
    # Its standard error is some 2 % with so many examples.
    assert tuned.temperature == pytest.approx(planted, rel=0.08)
    numbers = tuned.evaluate(logits, labels)["calibration"]
    assert numbers["temperature"] == tuned.temperature
    assert numbers["ece_uncalibrated"] == task.evaluate(logits, labels)["calibration"]["ece"] > 0.05
    assert numbers["ece"] < 0.02


def test_the_temperature_has_the_least_loss() -> None:
    logits, labels = examples(2.0)

    def loss(temperature: float) -> float:
        return -log_softmax(logits.astype(np.float64) / temperature, axis=-1)[np.arange(len(labels)), labels].mean()

    best = minimize_scalar(loss, bounds=(0.5, 8), method="bounded", options={"xatol": 1e-8}).x
    assert CLASSES.tune(logits, labels).temperature == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(("task", "draw"), [(CLASSES, examples), (LABELS, several)], ids=["one label", "several"])
def test_what_is_calibrated_stays(task, draw) -> None:
    assert task.tune(*draw(1.0)).temperature == 1


def test_few_examples_do_not_tell() -> None:
    logits, labels = examples(1.4, count=30)  # the temperature of least loss is another than 1
    assert CLASSES.tune(logits, labels).temperature == 1


def test_examples_that_are_all_right_do_not_tell() -> None:
    logits = np.random.default_rng(2).normal(size=(500, 3))
    assert CLASSES.tune(logits, logits.argmax(axis=-1)).temperature == 1
    assert LABELS.tune(logits, (logits > 0).astype(np.float32)).temperature == 1


def test_probabilities_are_of_the_scaled_logits_and_decisions_stay() -> None:
    logits, labels = examples(3.0, count=1000)
    tuned = CLASSES.tune(logits, labels)
    probabilities = tuned.probabilities(logits)
    assert probabilities == pytest.approx(softmax(logits.astype(np.float64) / tuned.temperature, axis=-1))
    assert [tuned.decide(each).label for each in probabilities] == [
        CLASSES.decide(each).label for each in CLASSES.probabilities(logits)
    ]
    before, after = CLASSES.evaluate(logits, labels), tuned.evaluate(logits, labels)
    assert {key for key in before if before[key] != after[key]} == {"calibration"}
    logits, labels = several(3.0)
    tuned = LABELS.tune(logits, labels)
    assert tuned.probabilities(logits) == pytest.approx(expit(logits.astype(np.float64) / tuned.temperature))


def test_a_regression_has_no_calibration() -> None:
    numbers = Regression(("점수",)).evaluate(np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0]))
    assert "calibration" not in numbers


@pytest.mark.filterwarnings("error:invalid value encountered in cast")
@pytest.mark.parametrize(("task", "draw"), [(CLASSES, examples), (LABELS, several)], ids=["one label", "several"])
def test_a_model_that_has_diverged_is_not_calibrated(task, draw) -> None:
    _, labels = draw(1.0)
    logits = np.full((len(labels), 3), np.nan, dtype=np.float32)
    tuned = task.tune(logits, labels)
    assert tuned.temperature == 1
    assert np.isnan(tuned.evaluate(logits, labels)["calibration"]["ece"])
