"""The numbers, against figures worked out by hand, with no network."""

import math

import numpy as np
import pytest
import torch
from datasets import ClassLabel
from sklearn.metrics import log_loss, precision_recall_fscore_support
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from pipeline.runtime.errors import UserError
from pipeline.tasks import IGNORE_INDEX, SingleLabelClassification
from pipeline.tasks.metrics import wilson_interval

TASK = SingleLabelClassification(("부정", "긍정"))
# Reference 0 0 0 0 1 1; predicted 0 0 0 1 1 0: three of four, one of two.
REFERENCES = np.array([0, 0, 0, 0, 1, 1])
LOGITS = np.array([[2, 0], [2, 0], [2, 0], [0, 2], [0, 2], [2, 0]], dtype=np.float32)


def test_numbers_of_an_evaluation() -> None:
    numbers = TASK.evaluate(LOGITS, REFERENCES)
    assert numbers["num_examples"] == 6
    assert numbers["confusion_matrix"] == [[3, 1], [1, 1]]
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["accuracy_interval"] == wilson_interval(4 / 6, 6)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert numbers["loss"] == pytest.approx((4 * right + 2 * wrong) / 6, abs=5e-7)  # six digits are reported


def test_precision_is_of_predictions_and_recall_of_references() -> None:
    """긍정: one right of three predictions, one found of two. 부정: four right of five, four found of six."""
    references = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    logits = np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 0]]
    numbers = TASK.evaluate(logits, references)
    assert numbers["confusion_matrix"] == [[4, 2], [1, 1]]
    per_class = numbers["per_class"]
    assert per_class["긍정"] == pytest.approx({"precision": 1 / 3, "recall": 1 / 2, "f1": 0.4, "num_examples": 2})
    assert per_class["부정"] == pytest.approx({"precision": 4 / 5, "recall": 4 / 6, "f1": 8 / 11, "num_examples": 6})
    assert numbers["precision_macro"] == pytest.approx((1 / 3 + 4 / 5) / 2)
    assert numbers["recall_macro"] == pytest.approx((1 / 2 + 4 / 6) / 2)
    assert numbers["f1_macro"] == pytest.approx((0.4 + 8 / 11) / 2)


def test_the_table_shows_each_number_under_its_name() -> None:
    references = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    numbers = TASK.evaluate(np.eye(2, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 1, 0]], references)
    table = dict(TASK.table_rows({**numbers, "num_examples": 12_345}))
    low, high = numbers["accuracy_interval"]
    assert table == {
        "examples": "12,345",
        "accuracy": "0.6250",
        "  95 % interval": f"{low:.4f}-{high:.4f}",
        "macro F1": f"{numbers['f1_macro']:.4f}",
        "loss": f"{numbers['loss']:.4f}",
        "calibration error": "0.1061",  # e / (1 + e) = 0.7311 of probability, 5 of 8 right
        "precision 부정": "0.8000",
        "recall 부정": "0.6667",
        "precision 긍정": "0.3333",
        "recall 긍정": "0.5000",
    }
    assert [numbers[key] for key, _, _ in TASK.headline_metrics] == [numbers["accuracy"], numbers["f1_macro"]]


def test_three_classes() -> None:
    task = SingleLabelClassification(("a", "b", "c"))
    numbers = task.evaluate(np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 2]], np.array([0, 1, 2, 2, 0]))
    assert numbers["confusion_matrix"] == [[1, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert {name: row["num_examples"] for name, row in numbers["per_class"].items()} == {"a": 2, "b": 1, "c": 2}
    assert numbers["per_class"]["b"]["precision"] == 0.5


def test_a_class_that_is_never_predicted_counts_as_zero() -> None:
    numbers = TASK.evaluate(np.tile([1.0, 0.0], (4, 1)), np.array([0, 0, 1, 1]))
    assert numbers["per_class"]["긍정"] == {"precision": 0, "recall": 0, "f1": 0, "num_examples": 2}
    assert numbers["f1_macro"] == pytest.approx(1 / 3)


def test_loss_of_extreme_logits_is_finite() -> None:
    assert TASK.evaluate(np.array([[1e4, -1e4]], dtype=np.float32), np.array([1]))["loss"] == pytest.approx(2e4)


def test_what_trainer_logs_can_select_the_checkpoint() -> None:
    numbers = TASK.compute_metrics(EvalPrediction(LOGITS, REFERENCES))
    assert numbers == {
        **{name: pytest.approx(value) for name, value in {"accuracy": 4 / 6, "f1_macro": 0.625}.items()},
        **{
            "f1_weighted": pytest.approx(4 / 6 * 0.75 + 2 / 6 * 0.5),
            "precision_macro": 0.625,
            "recall_macro": 0.625,
            "f1_부정": 0.75,
            "f1_긍정": 0.5,
        },
        "loss": TASK.evaluate(LOGITS, REFERENCES)["loss"],
    }
    assert all(isinstance(value, float) for value in numbers.values())
    assert TASK.greater_is_better == {name: name != "loss" for name in numbers}


# Loss, labels, decisions.


def test_loss_is_the_sum_over_the_examples_that_count() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [5.0, 1.0]])
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    loss = TASK.loss(logits, torch.tensor([0, 0, IGNORE_INDEX]))
    assert loss.item() == pytest.approx(right + wrong)
    assert TASK.loss(logits.bfloat16(), torch.tensor([0, 0, IGNORE_INDEX])).dtype == torch.float32


def test_label_smoothing_mixes_in_the_uniform_distribution() -> None:
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    loss = TASK.loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), label_smoothing=0.1)
    assert loss.item() == pytest.approx(0.95 * right + 0.05 * wrong)


def test_labels_have_the_names_of_their_classes() -> None:
    assert TASK.label_feature == ClassLabel(names=["부정", "긍정"])
    assert [TASK.label_name(label) for label in (0, 1)] == ["부정", "긍정"]
    assert TASK.num_labels == 2


def test_probabilities_and_the_decision_by_them() -> None:
    probabilities = TASK.probabilities(np.array([[0, math.log(3)], [1e4, -1e4]], dtype=np.float32))
    np.testing.assert_allclose(probabilities, [[0.25, 0.75], [1, 0]], atol=1e-7)
    assert probabilities.dtype == np.float64
    decision = TASK.decide(probabilities[0])
    assert decision.label == "긍정"
    assert decision.probability == decision.probabilities["긍정"] == pytest.approx(0.75)
    assert decision.probabilities["부정"] == pytest.approx(0.25)


# Against scikit-learn and torch.


@pytest.mark.parametrize("num_classes", [2, 3, 50])
def test_scores_are_those_of_scikit_learn(num_classes: int) -> None:
    """With classes that are never predicted, never the reference, and neither."""
    generator = np.random.default_rng(num_classes)
    logits = generator.normal(size=(200, num_classes))
    references = generator.integers(num_classes, size=200)
    logits[:, 0] -= 9  # never predicted
    references[references == 1] = 0
    names = [f"class {number}" for number in range(num_classes)]
    numbers = SingleLabelClassification(tuple(names)).evaluate(logits, references)
    predicted, every = logits.argmax(axis=1), range(num_classes)
    for mean in ("macro", "weighted"):
        scores = precision_recall_fscore_support(references, predicted, labels=every, average=mean, zero_division=0)
        for name, score in zip(("precision", "recall", "f1"), scores[:3], strict=True):
            if (name, mean) not in (("precision", "weighted"), ("recall", "weighted")):
                assert numbers[f"{name}_{mean}"] == pytest.approx(score, rel=1e-12)
    precision, recall, f1, support = precision_recall_fscore_support(
        references, predicted, labels=every, average=None, zero_division=0
    )
    assert [list(row.values()) for row in numbers["per_class"].values()] == [
        pytest.approx(row) for row in zip(precision, recall, f1, support, strict=True)
    ]
    assert numbers["loss"] == pytest.approx(log_loss(references, TASK.probabilities(logits), labels=every), abs=1e-6)


def test_class_weights_multiply_the_loss_of_their_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 3, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 1, IGNORE_INDEX])
    weights = (0.5, 2.0, 7.0)
    task = SingleLabelClassification(("a", "b", "c"), class_weights=weights)
    each = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE_INDEX)
    expected = sum(weights[label] * loss for label, loss in zip(labels[:9].tolist(), each[:9].tolist(), strict=True))
    assert task.loss(logits, labels).item() == pytest.approx(expected)
    plain = SingleLabelClassification(task.class_names)
    examples = logits[:9].numpy(), labels[:9].numpy()
    assert task.evaluate(*examples) == plain.evaluate(*examples)  # scores are without weights


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf)])
def test_class_weights_that_are_none(weights: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="class weight"):
        SingleLabelClassification(("부정", "긍정"), class_weights=weights)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = [0, 0, 0, 0, 0, 2, 2, 3]
    task = SingleLabelClassification(("a", "b", "c", "d"))
    assert task.label_counts(labels) == {"a": 5, "b": 0, "c": 2, "d": 1}
    a, c, d = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels)
    assert task.balanced_weights(labels) == pytest.approx((a, 1.0, c, d))  # b has no example


# Many classes.


def test_the_table_of_many_classes_has_the_worst() -> None:
    names = tuple(f"class {number}" for number in range(50))
    task = SingleLabelClassification(names)
    references = np.repeat(np.arange(50), 4)
    predicted = references.copy()
    for number in range(12):  # class 0 is the worst: its four are spread over classes 20 to 23
        predicted[4 * number : 4 * number + max(1, 4 - number)] = 20 + number
    numbers = task.evaluate(np.eye(50)[predicted], references)
    rows = task.table_rows(numbers)
    shown = [name for name, _ in rows if name.startswith("F1 ")]
    scores = [numbers["per_class"][name.removeprefix("F1 ")]["f1"] for name in shown]
    assert shown[0] == "F1 class 0"
    assert scores == sorted(scores)
    assert len(shown) == 10
    assert max(scores) <= min(row["f1"] for name, row in numbers["per_class"].items() if f"F1 {name}" not in shown)
    assert rows[-1] == ("  40 better classes", "results.json")
    assert ("weighted F1", f"{numbers['f1_weighted']:.4f}") in rows
    assert task.confusion_matrix(numbers) is None
    perfect = task.evaluate(np.eye(50)[references], references)
    assert [name for name, _ in task.table_rows(perfect, ranked_by=numbers)] == [name for name, _ in rows]


def test_the_confusion_matrix_of_few_classes() -> None:
    assert TASK.confusion_matrix(TASK.evaluate(LOGITS, REFERENCES)) == (["부정", "긍정"], [[3, 1], [1, 1]])


def test_a_class_called_as_a_mean_does_not_replace_it() -> None:
    task = SingleLabelClassification(("macro", "other"))
    numbers = task.compute_metrics(EvalPrediction(LOGITS, REFERENCES))
    assert numbers["f1_macro"] == pytest.approx(0.625)
    assert set(numbers) == set(task.greater_is_better)


def test_wilson_interval() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson_interval(81 / 263, 263) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0.0, 10)[0] == pytest.approx(0.0)
    low, high = wilson_interval(0.9, 50_000)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.00134, abs=1e-5)  # the standard error at NSMC's size
