"""Comparisons: every number against scikit-learn, SciPy or a plain loop, and false alarms by simulation."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score
from support.stored_runs import draw_logits, save_run

from pipeline.evaluation.comparison import (
    Difference,
    align,
    bootstrap,
    differences,
    jackknife,
    make_score,
    mcnemar,
    mcnemar_p,
    seeds_test,
    smallest_mcnemar,
)
from pipeline.evaluation.stored_predictions import StoredPredictions, read_predictions
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task

TWO = SingleLabelClassification(("a", "b"))
THREE = SingleLabelClassification(("a", "b", "c"))
MULTI = MultiLabelClassification(("a", "b", "c", "d"))
NUMBER = Regression(("x",))


def draw(task: Task, runs: int, count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, [examples, ...], and decisions that are often right, [runs, examples, ...]; the last class is rare."""
    random = np.random.default_rng(seed)
    if task.problem_type == "regression":
        labels = random.integers(0, 6, count).astype(float)
        return labels, np.round(labels + random.normal(0, 1, (runs, count)), 1)
    if task.problem_type == "multi_label_classification":
        labels = random.random((count, 4)) < [0.5, 0.3, 0.2, 0.01]
        return labels, labels ^ (random.random((runs, count, 4)) < 0.15)
    shares = 0.5 ** np.arange(task.num_labels)
    labels = random.choice(task.num_labels, count, p=shares / shares.sum())
    return labels, np.where(
        random.random((runs, count)) < 0.8, labels, random.integers(0, task.num_labels, (runs, count))
    )


def plain_scores(task: Task, labels: np.ndarray, decided: np.ndarray) -> dict[str, float]:
    """By scikit-learn and SciPy."""
    if task.problem_type == "regression":
        return {
            "pearson": stats.pearsonr(labels, decided).statistic,
            "spearman": stats.spearmanr(labels, decided).statistic,
            "rmse": float(np.sqrt(np.mean((labels - decided) ** 2))),
        }
    options = {"labels": range(task.num_labels), "zero_division": 0}
    return {
        "accuracy": accuracy_score(labels, decided),
        "f1_macro": f1_score(labels, decided, average="macro", **options),
        "f1_micro": f1_score(labels, decided, average="micro", **options),
    }


@pytest.mark.parametrize("task", [TWO, THREE, MULTI, NUMBER], ids=lambda task: task.problem_type)
def test_scores_of_all_examples_and_of_resamples(task: Task) -> None:
    labels, decisions = draw(task, 3)
    score, counts = make_score(task, labels, decisions)
    assert counts.sum() == 300
    found = score(counts[None])
    for run, decided in enumerate(decisions):
        for metric, value in plain_scores(task, labels, decided).items():
            assert found[metric][0, run] == pytest.approx(value, abs=1e-12), metric


@pytest.mark.parametrize("task", [THREE, MULTI, NUMBER], ids=lambda task: task.problem_type)
def test_leaving_out_examples_one_by_one_is_a_plain_loop(task: Task) -> None:
    labels, decisions = draw(task, 3, 60)
    found = jackknife(*make_score(task, labels, decisions))
    for metric in found:
        rows = [
            [
                plain_scores(task, np.delete(labels, left, axis=0), np.delete(decided, left, axis=0))[metric]
                for decided in decisions
            ]
            for left in range(60)
        ]
        expected = 59 / 60 * 60 * np.cov(np.array(rows).T, ddof=0)
        assert found[metric] == pytest.approx(expected, rel=1e-6, abs=1e-12), metric


def test_the_covariance_of_accuracies_is_that_of_a_mean() -> None:
    labels, decisions = draw(TWO, 4, 500)
    right = (decisions == labels).astype(float)
    assert jackknife(*make_score(TWO, labels, decisions))["accuracy"] == pytest.approx(np.cov(right, ddof=1) / 500)


@pytest.mark.parametrize("task", [THREE, MULTI, NUMBER], ids=lambda task: task.problem_type)
def test_the_bootstrap_is_a_plain_loop(task: Task) -> None:
    labels, decisions = draw(task, 2, 200)
    found = bootstrap(*make_score(task, labels, decisions), 2000, seed=1)
    random, loop = np.random.default_rng(2), []
    for _ in range(150):
        rows = random.integers(0, 200, 200)
        one, other = (plain_scores(task, labels[rows], decided[rows]) for decided in decisions)
        loop.append([other[metric] - one[metric] for metric in found])
    for column, (metric, scores) in enumerate(found.items()):
        gaps, expected = scores[:, 1] - scores[:, 0], np.array(loop)[:, column]
        error = expected.std() * np.sqrt(1 / 150 + 1 / 2000)  # of the difference of both means
        assert gaps.mean() == pytest.approx(expected.mean(), abs=3 * error), metric
        # The relative error of a standard deviation of n draws is 1 / sqrt(2 n): 6 % here.
        assert gaps.std() == pytest.approx(expected.std(), rel=3 * np.sqrt(1 / 300 + 1 / 4000)), metric


def test_one_run_a_side() -> None:
    labels, decisions = draw(THREE, 2, 2000)
    accuracy, f1 = differences(THREE, labels, decisions[:1], decisions[1:])
    right = decisions == labels
    gaps = right[1].astype(int) - right[0]
    assert accuracy.a == (pytest.approx(accuracy_score(labels, decisions[0])),)
    assert accuracy.value == pytest.approx(gaps.mean())
    half_width = 1.96 * gaps.std() / np.sqrt(2000)
    assert accuracy.interval == pytest.approx((gaps.mean() - half_width, gaps.mean() + half_width), abs=0.001)
    assert (accuracy.metric, f1.metric) == ("accuracy", "f1_macro")
    assert accuracy.p == mcnemar(labels, *decisions).p
    assert accuracy.smallest == smallest_mcnemar(labels, *decisions) == pytest.approx(half_width, rel=0.1)
    assert f1.p is None
    assert f1.smallest == pytest.approx((f1.interval[1] - f1.interval[0]) / 2, rel=0.05)
    again = differences(THREE, labels, decisions[:1], decisions[1:])
    assert again == [accuracy, f1]
    swapped = differences(THREE, labels, decisions[1:], decisions[:1])
    assert swapped[0].value == -accuracy.value
    assert swapped[0].interval == pytest.approx((-accuracy.interval[1], -accuracy.interval[0]), abs=0.001)


def test_which_metrics_a_task_has() -> None:
    for task, expected in (
        (TWO, ["accuracy", "f1_macro"]),
        (MULTI, ["f1_macro", "f1_micro", "accuracy"]),
        (NUMBER, ["pearson", "spearman", "rmse"]),
    ):
        labels, decisions = draw(task, 3, 100)
        for sides in ((decisions[:1], decisions[1:2]), (decisions[:1], decisions[1:])):
            found = differences(task, labels, *sides, resamples=100)
            assert [each.metric for each in found] == expected


# McNemar.


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 5), (0, 6), (3, 9), (12, 12), (10, 15), (40, 61), (5, 90)])
def test_mcnemar_by_scipy(only_a: int, only_b: int) -> None:
    total = only_a + only_b
    if total == 0:
        expected = 1.0
    elif total < 25:
        expected = stats.binomtest(only_a, total).pvalue
    else:
        expected = stats.chi2.sf((abs(only_a - only_b) - 1) ** 2 / total, 1)
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected)
    labels = np.zeros(total + 7, dtype=int)
    a = np.array([1] * only_b + [0] * only_a + [0] * 4 + [1] * 3)
    b = np.array([0] * only_b + [1] * only_a + [0] * 4 + [1] * 3)
    found = mcnemar(labels, a, b)
    assert (found.both_right, found.only_a_right, found.only_b_right, found.both_wrong) == (4, only_a, only_b, 3)
    assert found.p == pytest.approx(expected)
    assert found.is_exact == (total < 25)


def test_several_labels_are_right_together() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)
    a, b = labels.copy(), labels.copy()
    a[1, 1] = False
    found = mcnemar(labels, a, b)
    assert (found.both_right, found.only_b_right) == (2, 1)


@pytest.mark.parametrize("total", [0, 3, 10, 24, 25, 200])
def test_the_smallest_difference_is_the_first_significant_one(total: int) -> None:
    labels = np.zeros(400, dtype=int)
    a, b = labels.copy(), labels.copy()
    a[:total] = 1
    at_least = max(total, 6)  # of 5 and less, even 5 to 0 is chance: p = 0.0625
    significant = [
        more - fewer
        for fewer in range(at_least + 1)
        for more in [at_least - fewer]
        if more >= fewer and mcnemar_p(fewer, more) < 0.05
    ]
    assert smallest_mcnemar(labels, a, b) == min(significant) / 400


# Several seeds.


def test_welch_where_the_examples_add_nothing() -> None:
    a, b = np.array([0.90, 0.93, 0.91]), np.array([0.95, 0.94, 0.99, 0.93, 0.96])
    interval, smallest, p = seeds_test(a, b, 1e-9 * np.eye(8), 10**9)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert p == pytest.approx(expected.pvalue, rel=1e-3)
    assert interval == pytest.approx(tuple(expected.confidence_interval()), rel=1e-3)
    assert smallest == pytest.approx((interval[1] - interval[0]) / 2)


def test_both_kinds_of_variance_are_added() -> None:
    a, b = np.array([0.90, 0.93, 0.91]), np.array([0.95, 0.94])
    shared = np.full((5, 5), 4e-4) + np.eye(5) * 1e-9
    shared[:3, 3:] = shared[3:, :3] = 1e-4
    interval, _, _ = seeds_test(a, b, shared, 101)
    parts = np.array([a.var(ddof=1) / 3, b.var(ddof=1) / 2 if b.var(ddof=1) > 1e-9 else 0, 4e-4 + 4e-4 - 2e-4])
    freedom = parts.sum() ** 2 / (parts**2 / [2, 1, 100]).sum()
    half_width = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    gap = b.mean() - a.mean()
    assert interval == pytest.approx((gap - half_width, gap + half_width), rel=1e-4)


def test_a_spread_of_seeds_below_that_of_the_examples_is_chance() -> None:
    """Three runs that happen to score the same are not free of variance: their decisions differ."""
    a, b = np.full(3, 0.9), np.full(3, 0.91)
    (low, high), _, _ = seeds_test(a, b, 1e-4 * np.eye(6), 10**9)
    half_width = stats.t.ppf(0.975, 4) * np.sqrt(2e-4 / 3)
    assert (low, high) == pytest.approx((0.01 - half_width, 0.01 + half_width))


def test_one_run_against_several_takes_their_spread() -> None:
    a, b = np.array([0.90]), np.array([0.95, 0.94, 0.99])
    for sides, gap in (((a, b), b.mean() - 0.9), ((b, a), 0.9 - b.mean())):
        (low, high), _, _ = seeds_test(*sides, 1e-9 * np.eye(4), 10**9)
        half_width = stats.t.ppf(0.975, 2) * np.sqrt(b.var(ddof=1) * (1 + 1 / 3))
        assert (low, high) == pytest.approx((gap - half_width, gap + half_width), rel=1e-3)


def test_nothing_differs() -> None:
    labels, decisions = draw(TWO, 1)
    same = np.repeat(decisions, 2, axis=0)
    for difference in differences(TWO, labels, same, same):
        assert (difference.value, difference.interval, difference.p) == (0, (0, 0), 1)
        assert not difference.is_significant


def simulate(random: np.random.Generator, runs: tuple[int, int], gap: float, spread: float) -> Difference:
    """The accuracies of two settings on 1,000 examples of their own difficulty.

    Args:
        gap: by which B's settings are better, in units in which the examples' difficulty has a deviation of 1.2.
        spread: of the seeds, in the same units; 0.1 is 1.2 points of accuracy.
    """
    labels, difficulty = random.integers(0, 2, 1000), random.normal(1.8, 1.2, 1000)

    def side(count: int, quality: float) -> np.ndarray:
        quality = quality + random.normal(0, spread, (count, 1))
        return np.where(quality + difficulty + random.normal(0, 0.5, (count, 1000)) > 0, labels, 1 - labels)

    return differences(TWO, labels, side(runs[0], 0), side(runs[1], gap), resamples=1000)[0]


@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (1, 3), (5, 5)])
def test_other_seeds_are_called_different_once_in_twenty(runs: tuple[int, int]) -> None:
    """At most: where seeds hardly differ it is less often, since their spread is never taken to be below chance.

    Of 300 comparisons an exact test finds 15 on average, and by the binomial law at most 24 in 99 of 100 series.
    """
    random = np.random.default_rng(sum(runs))
    found = [simulate(random, runs, 0, spread) for spread in [0.1, 0.3, 0.02] for _ in range(100)]
    assert sum(each.is_significant for each in found) <= stats.binom.ppf(0.99, 300, 0.05) == 24


def test_two_equal_models_are_called_different_once_in_twenty() -> None:
    random = np.random.default_rng(0)
    found = [simulate(random, (1, 1), 0, 0) for _ in range(300)]
    assert sum(each.is_significant for each in found) <= 24


def test_a_real_difference_is_found() -> None:
    """2.6 points of accuracy; the seeds' true accuracies have a standard deviation of 0.4 and 1.2 points."""
    random = np.random.default_rng(1)
    for spread, expected in ((0.03, 80), (0.1, 35)):
        found = [simulate(random, (3, 3), 0.25, spread) for _ in range(100)]
        assert sum(each.is_significant and each.favours_b for each in found) >= expected
    assert not any(each.is_significant and not each.favours_b for each in found)


def test_the_interval_contains_the_true_difference() -> None:
    """95 of 100 times or more; the truth is the mean of many simulations."""
    random = np.random.default_rng(3)
    found = [simulate(random, (3, 3), 0.25, 0.1) for _ in range(300)]
    truth = np.mean([each.value for each in found])
    missed = sum(not each.interval[0] <= truth <= each.interval[1] for each in found)
    assert missed <= 24


def test_less_than_the_smallest_difference_is_never_significant() -> None:
    random = np.random.default_rng(4)
    for runs in ((1, 1), (3, 3)):
        found = [simulate(random, runs, 0.1, 0.03) for _ in range(60)]
        assert any(each.is_significant for each in found)
        assert all(abs(each.value) >= each.smallest * 0.999 for each in found if each.is_significant)


# The same examples.


def stored(folder: Path, task: Task, labels: np.ndarray) -> StoredPredictions:
    return read_predictions(save_run(folder, task, {"test": draw_logits(task, len(labels))}, {"test": labels}))


def test_another_order_is_put_right_with_equal_texts(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", TWO, np.array([0, 1, 0, 1, 1]))
    first = first.select([0, 1, 2, 3, 4, 1])  # a text that is there twice
    other = first.select([5, 3, 0, 4, 1, 2])
    assert align(first, first) is first
    found = align(first, other)
    assert found.texts == first.texts
    assert found.labels == first.labels
    assert found.probabilities.tolist() == first.probabilities.tolist()


def test_other_examples_are_refused(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", TWO, np.array([0, 1, 0, 1]))
    with pytest.raises(UserError, match=r"a has 4 examples, .*a 3; 1 texts of the former .*, such as 'text test 2'"):
        align(first, first.select([0, 1, 3]))
    with pytest.raises(UserError, match=r"a has 3 examples, .*a 4; 0 texts of the former are not in the latter\."):
        align(first.select([0, 1, 3]), first)
    with pytest.raises(UserError, match="the same texts, but 1 of them have other labels, such as 'text test 1'"):
        align(first, stored(tmp_path / "b", TWO, np.array([0, 0, 0, 1])))
    with pytest.raises(UserError, match=r"the labels of .*a are a, b; those of .*c are a, b, c"):
        align(first, stored(tmp_path / "c", THREE, np.array([0, 1, 0, 1])))
    with pytest.raises(UserError, match=r"a is a single_label_classification, .*d a regression"):
        align(first, stored(tmp_path / "d", NUMBER, np.array([0.0, 1, 0, 1])))
