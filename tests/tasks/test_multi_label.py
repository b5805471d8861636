"""Several labels at once: against scikit-learn and torch."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification
from pipeline.tasks.metrics import wilson_interval

NAMES = ("분노", "슬픔", "기쁨", "공포")
TASK = MultiLabelClassification(NAMES)


def examples(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Logits that tell something of their labels; 공포 is never there, 기쁨 never predicted, some have no label."""
    generator = np.random.default_rng(count)
    references = (generator.random((count, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(np.float32)
    logits = (2 * references - 1 + generator.normal(size=references.shape)).astype(np.float32)
    logits[:, 2] -= 9
    return logits, references


def test_scores_are_those_of_scikit_learn() -> None:
    logits, references = examples()
    assert not references.any(axis=1).all()
    task = MultiLabelClassification(NAMES, thresholds=(0.5, 0.3, 0.9, 0.2))
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    predicted = probabilities >= [0.5, 0.3, 0.9, 0.2]
    numbers = task.evaluate(logits, references)
    assert numbers["num_examples"] == 300
    assert numbers["accuracy"] == pytest.approx(accuracy_score(references, predicted))
    assert numbers["accuracy_interval"] == wilson_interval(numbers["accuracy"], 300)
    for mean in ("micro", "macro", "weighted"):
        assert numbers[f"f1_{mean}"] == f1_score(references, predicted, average=mean, zero_division=0)
    columns = precision_recall_fscore_support(references, predicted, average=None, zero_division=0)
    assert [tuple(row.values()) for row in numbers["per_class"].values()] == list(zip(*columns, strict=True))
    assert list(numbers["per_class"]) == list(NAMES)
    assert numbers["thresholds"] == {"분노": 0.5, "슬픔": 0.3, "기쁨": 0.9, "공포": 0.2}
    losses = [log_loss(references[:, label], probabilities[:, label], labels=[0, 1]) for label in range(4)]
    assert numbers["loss"] == pytest.approx(np.mean(losses), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_label_anywhere_and_all_labels_everywhere(value: float) -> None:
    references = np.full((6, 4), value, dtype=np.float32)
    right, wrong = (TASK.evaluate(sign * (references * 2 - 1) * 50, references) for sign in (1, -1))
    assert (right["accuracy"], wrong["accuracy"]) == (1, 0)
    assert (right["f1_micro"], right["f1_macro"]) == (value, value)  # without a label F1 has no denominator: 0
    assert wrong["f1_micro"] == 0
    assert wrong["loss"] == pytest.approx(50)


def test_a_single_class() -> None:
    task = MultiLabelClassification(("독성",))
    references = np.array([[1.0], [0.0], [1.0], [0.0], [0.0]])
    numbers = task.evaluate(np.array([[1.0], [1.0], [-1.0], [-1.0], [-1.0]]), references)
    assert numbers["per_class"] == {"독성": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "num_examples": 2}}
    assert numbers["f1_micro"] == numbers["f1_macro"] == numbers["f1_weighted"] == 0.5
    assert numbers["accuracy"] == 0.6


def test_loss_is_that_of_bce_with_logits() -> None:
    logits, references = map(torch.from_numpy, examples(7))
    expected = 7 * torch.nn.BCEWithLogitsLoss()(logits, references)
    assert TASK.loss(logits, references).item() == pytest.approx(expected.item())
    weights = (1.0, 4.0, 9.0, 0.5)
    weighted = 7 * torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))(logits, references)
    task = MultiLabelClassification(NAMES, class_weights=weights)
    assert task.loss(logits, references).item() == pytest.approx(weighted.item())
    assert task.evaluate(logits.numpy(), references.numpy()) == TASK.evaluate(logits.numpy(), references.numpy())


def test_probabilities_of_extreme_logits() -> None:
    logits = np.array([[-1e4, 1e4, 0, math.log(3)]], dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(TASK.probabilities(logits), [[0, 1, 0.5, 0.75]], atol=1e-7)
        assert TASK.evaluate(logits, np.array([[1.0, 1.0, 1.0, 1.0]]))["loss"] == pytest.approx(2500, rel=1e-3)


def test_decisions() -> None:
    both = TASK.decide(np.array([0.9, 0.2, 0.5, 0.1]))
    assert both.label == "분노|기쁨"
    assert both.probability == 0.5  # of the least certain yes or no
    assert both.probabilities == {"분노": 0.9, "슬픔": 0.2, "기쁨": 0.5, "공포": 0.1}
    none = TASK.decide(np.array([0.4, 0.2, 0.1, 0.1]))
    assert (none.label, none.probability) == ("", 0.6)
    tuned = MultiLabelClassification(NAMES, thresholds=(0.95, 0.2, 0.9, 0.9))
    assert tuned.decide(np.array([0.9, 0.2, 0.5, 0.1])).label == "슬픔"


def test_labels_have_the_names_of_their_classes() -> None:
    assert [TASK.label_name(label) for label in ([1, 0, 1, 0], [0.0] * 4)] == ["분노|기쁨", ""]
    labels = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert TASK.label_counts(labels) == {"분노": 3, "슬픔": 2, "기쁨": 0, "공포": 0}
    assert TASK.balanced_weights(labels) == (1 / 3, 1.0, 1.0, 1.0)  # without / with; 1 where one of the two is none


def test_balanced_weights_weigh_a_class_and_its_absence_alike() -> None:
    labels = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 12)
    task = MultiLabelClassification(("a", "b"))
    weighted = MultiLabelClassification(("a", "b"), class_weights=task.balanced_weights(labels))
    logits = torch.zeros(15, 2, requires_grad=True)
    weighted.loss(logits, labels).backward()
    assert logits.grad.sum(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)  # at even odds nothing pulls either way


def test_strata_are_the_rarest_labels() -> None:
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]], dtype=np.float32)
    assert TASK.strata(labels).tolist() == [1, 0, 4, 2, 0]


# Thresholds.


def best_f1(probabilities: np.ndarray, has: np.ndarray) -> float:
    return max(f1_score(has, probabilities >= threshold, zero_division=0) for threshold in np.unique(probabilities))


def test_tuned_thresholds_are_within_a_hundredth_of_the_best_f1() -> None:
    logits, references = examples()
    tuned = TASK.tune(logits, references)
    probabilities = tuned.probabilities(logits)
    for label in range(3):
        score = f1_score(references[:, label], probabilities[:, label] >= tuned.thresholds[label])
        assert score >= 0.99 * best_f1(probabilities[:, label], references[:, label])
    assert tuned.thresholds[2] < 0.1  # 기쁨 has low probabilities throughout
    assert tuned.evaluate(logits, references)["f1_macro"] > TASK.evaluate(logits, references)["f1_macro"]
    assert tuned.thresholds[3] == 0.5  # 공포 has no example


def test_a_threshold_stays_close_to_a_half_where_many_are_as_good() -> None:
    task = MultiLabelClassification(("a",))
    probabilities = np.array([0.1] * 10 + [0.3] * 10 + [0.8] * 10 + [0.9] * 10)[:, None]
    references = (probabilities > 0.2).astype(np.float32)
    logits = np.log(probabilities / (1 - probabilities))
    assert task.tune(logits, references).thresholds == pytest.approx((0.2,))  # between 0.1 and 0.3
    references = (probabilities > 0.5).astype(np.float32)
    assert task.tune(logits, references).thresholds == pytest.approx((0.55,))  # between 0.3 and 0.8


def test_a_threshold_needs_five_examples() -> None:
    task = MultiLabelClassification(("a",))
    logits = np.linspace(-5, -4, 20)[:, None]
    for positives, tuned in ((4, False), (5, True)):
        references = np.zeros((20, 1))
        references[-positives:] = 1
        (threshold,) = task.tune(logits, references).thresholds
        assert (threshold != 0.5) is tuned


def test_of_two_thresholds_as_good_the_one_closer_to_a_half_is_taken() -> None:
    """0.725 finds three of six and nothing else; 0.3 finds four and two others: F1 is 2/3 both times."""
    task = MultiLabelClassification(("a",))
    probabilities = np.repeat([0.95, 0.5, 0.1], [3, 3, 24])[:, None]
    references = np.zeros((30, 1))
    references[[0, 1, 2, 3, 6, 7]] = 1
    assert task.tune(np.log(probabilities / (1 - probabilities)), references).thresholds == pytest.approx((0.3,))


def test_examples_of_equal_probability_are_decided_alike() -> None:
    """A threshold after the first ten, which would be the best, is none: the tenth is as probable as the last."""
    task = MultiLabelClassification(("a",))
    logits = np.repeat([2.0, -2.0], [4, 26])[:, None]
    references = (np.arange(30) < 10).astype(np.float32)[:, None]
    assert task.tune(logits, references).thresholds == pytest.approx((0.5,))


def test_all_or_none_of_a_class_is_tuned_without_a_fault() -> None:
    for value in (0.0, 1.0):
        tuned = TASK.tune(np.zeros((10, 4)), np.full((10, 4), value))
        assert all(0 <= threshold <= 0.5 for threshold in tuned.thresholds)


def test_thresholds_of_another_number() -> None:
    with pytest.raises(UserError, match="2 thresholds for 4 classes"):
        MultiLabelClassification(NAMES, thresholds=(0.5, 0.5))


def test_the_table() -> None:
    logits, references = examples()
    numbers = TASK.evaluate(logits, references)
    table = dict(TASK.table_rows(numbers))
    assert table["examples"] == "300"
    assert table["micro F1"] == f"{numbers['f1_micro']:.4f}"
    assert table["all labels right"] == f"{numbers['accuracy']:.4f}"
    assert table["recall 슬픔"] == f"{numbers['per_class']['슬픔']['recall']:.4f}"
    assert TASK.confusion_matrix(numbers) is None
