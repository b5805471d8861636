"""Numbers as labels: against SciPy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from datasets import Value
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error

from pipeline.runtime.errors import UserError
from pipeline.tasks import Regression

TASK = Regression(("score",))


def examples(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that tell something of their labels; the labels are rounded, so that there are ties."""
    generator = np.random.default_rng(count)
    references = generator.uniform(0, 5, count).round().astype(np.float32)
    logits = (references + generator.normal(size=count)).astype(np.float32)
    return logits[:, None], references


def test_scores_are_those_of_scipy_and_scikit_learn() -> None:
    logits, references = examples()
    predictions = logits[:, 0].astype(np.float64)
    numbers = TASK.evaluate(logits, references)
    interval = pearsonr(predictions, references).confidence_interval()
    assert numbers == {
        "num_examples": 200,
        "label_range": [0, 5],
        "loss": pytest.approx(mean_squared_error(references, predictions), rel=1e-5),
        "pearson": pytest.approx(pearsonr(predictions, references).statistic, abs=1e-6),
        "pearson_interval": pytest.approx(list(interval), abs=1e-6),
        "spearman": pytest.approx(spearmanr(predictions, references).statistic, abs=1e-6),
        "rmse": pytest.approx(mean_squared_error(references, predictions) ** 0.5, rel=1e-5),
        "mae": pytest.approx(mean_absolute_error(references, predictions), rel=1e-5),
    }
    # Fisher's z by hand.
    z, half_width = math.atanh(numbers["pearson"]), 1.959964 / math.sqrt(197)
    by_hand = [math.tanh(z - half_width), math.tanh(z + half_width)]
    assert numbers["pearson_interval"] == pytest.approx(by_hand, abs=1e-5)


def test_order_is_spearmans_and_a_line_is_pearsons() -> None:
    references = np.arange(10, dtype=np.float32)
    numbers = TASK.evaluate(np.exp(references)[:, None], references)
    assert numbers["spearman"] == 1
    assert numbers["pearson"] < 0.9
    assert TASK.evaluate(-2 * references[:, None] + 3, references)["pearson"] == -1


@pytest.mark.parametrize(
    ("predictions", "references"),
    [([2.0] * 4, [1.0, 2.0, 3.0, 4.0]), ([1.0, 2.0, 3.0, 4.0], [2.0] * 4), ([1.0], [1.0])],
)
def test_a_correlation_that_is_undefined_is_none(
    predictions: list[float], references: list[float], recwarn: pytest.WarningsRecorder
) -> None:
    numbers = TASK.evaluate(np.array(predictions)[:, None], np.array(references))
    assert (numbers["pearson"], numbers["spearman"], numbers["pearson_interval"]) == (0, 0, [-1, 1])
    assert numbers["loss"] == pytest.approx(np.square(np.subtract(predictions, references)).mean())
    assert not recwarn.list


@pytest.mark.parametrize("output", [math.nan, math.inf])
def test_a_model_that_diverged_is_scored(output: float) -> None:
    numbers = TASK.evaluate(np.array([[output], [1.0], [2.0]]), np.array([1.0, 2.0, 3.0]))
    assert not math.isfinite(numbers["loss"])
    assert not math.isfinite(numbers["rmse"])
    assert (numbers["pearson"], numbers["spearman"], numbers["pearson_interval"]) == (0, 0, [-1, 1])


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scores_keep_their_digits_at_any_scale(scale: float) -> None:
    logits, references = examples()
    plain, scaled = TASK.evaluate(logits, references), TASK.evaluate(logits * scale, references * scale)
    assert scaled["loss"] == pytest.approx(plain["loss"] * scale**2, rel=1e-4, abs=0)
    assert scaled["mae"] == pytest.approx(plain["mae"] * scale, rel=1e-4, abs=0)
    assert scaled["pearson"] == pytest.approx(plain["pearson"], abs=1e-5)


def test_loss_is_the_sum_of_squared_errors() -> None:
    logits, references = map(torch.from_numpy, examples(9))
    expected = torch.nn.MSELoss(reduction="sum")(logits[:, 0], references)
    assert TASK.loss(logits, references).item() == pytest.approx(expected.item())


def test_labels_and_decisions() -> None:
    assert TASK.label_feature == Value("float32")
    assert TASK.num_labels == 1
    assert [TASK.label_name(label) for label in (np.float32(3.8), 4.0, -1234567.0)] == ["3.8", "4", "-1.23457e+06"]
    decision = TASK.decide(np.array([3.14159265]))
    assert (decision.label, decision.probability, decision.probabilities) == ("3.14159", None, {"score": 3.14159265})
    with pytest.raises(UserError, match="no classes"):
        TASK.balanced_weights([1.0, 2.0])


def test_counts_are_of_numbers_or_of_ranges() -> None:
    assert TASK.label_counts([1.0, 0.5, 1.0]) == {"0.5": 1, "1": 2}
    assert TASK.label_counts(np.arange(11)) == {"0 to 2": 2, "2 to 4": 2, "4 to 6": 2, "6 to 8": 2, "8 to 10": 3}


def test_strata_are_of_about_equal_size() -> None:
    labels = np.random.default_rng(0).exponential(size=1000).astype(np.float32)
    strata = TASK.strata(labels)
    assert np.unique(strata, return_counts=True)[1].tolist() == pytest.approx([100] * 10, abs=1)
    assert (np.diff(strata[np.argsort(labels)]) >= 0).all()
    stars = np.repeat(np.arange(5, dtype=np.float32), [1, 1, 10, 30, 58])
    assert TASK.strata(stars).tolist() == stars.tolist()


def test_the_table() -> None:
    numbers = TASK.evaluate(*examples())
    low, high = numbers["pearson_interval"]
    table = dict(TASK.table_rows(numbers))
    assert table["Pearson"] == f"{numbers['pearson']:.4f}"
    assert table["  95 % interval"] == f"{low:.4f} to {high:.4f}"
    assert table["RMSE"] == f"{numbers['rmse']:.4f}"
    assert TASK.confusion_matrix(numbers) is None
