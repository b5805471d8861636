"""Whether models score differently on the same examples: intervals, McNemar's test, and tests over several seeds.

One model against one: a paired bootstrap over the examples (Efron & Tibshirani 1993) and McNemar's test (1947). It says
nothing about other seeds. Several runs a side, each with another seed: a t test whose variance has two sources,

    V = S_A^2 / m + S_B^2 / n + E

S_A and S_B are the standard deviations of the scores between the m and n seeds, and E is the variance of the difference
between the settings themselves that the choice of the examples adds. E comes from the jackknife covariances between the
scores of *different* seeds, as Obuchowski & Rockette (1995) test imaging methods over readers and cases: what the
examples do to a single seed is in S_A and S_B already. The degrees of freedom are those of Welch and Satterthwaite.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import bdtr, chdtrc, stdtr, stdtrit

from pipeline.evaluation.stored_predictions import StoredPredictions
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

LEVEL = 0.05
RESAMPLES = 10_000
EXACT_BELOW = 25  # discordant examples, McNemar's test is the exact binomial one
BLOCK = 4_000_000  # numbers of an array of resamples
NORMAL_QUANTILE = 1.959963984540054
NAMES = {
    **{"f1_macro": "macro F1", "f1_micro": "micro F1"},
    **{"pearson": "Pearson correlation", "spearman": "Spearman correlation", "rmse": "RMSE"},
}

# [draws, cells] of how often each cell is there -> by metric [draws, runs]
Score = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Difference:
    """One metric of two sides.

    Attributes:
        metric: its key in results.json; `rmse` of a regression.
        name: for a person.
        a, b: the score of each run.
        interval: 95 % interval of `value`.
        smallest: the difference that would have been significant here; less cannot be told from chance.
        p: of the hypothesis that there is none; None where only the interval is known.
    """

    metric: str
    name: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    interval: tuple[float, float]
    smallest: float
    p: float | None

    @property
    def value(self) -> float:
        """The mean of B minus that of A."""
        return float(np.mean(self.b) - np.mean(self.a))

    @property
    def is_significant(self) -> bool:
        """Whether the difference can be told from chance."""
        low, high = self.interval
        return (low > 0 or high < 0) and (self.p is None or self.p < LEVEL)

    @property
    def favours_b(self) -> bool:
        """Whether B is better."""
        return (self.value < 0) if self.metric == "rmse" else (self.value > 0)


@dataclass(frozen=True)
class McNemar:
    """Examples by which of two models are right, and the probability that chance alone is as uneven."""

    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    p: float
    is_exact: bool


# The same examples.


def align(first: StoredPredictions, other: StoredPredictions) -> StoredPredictions:
    """The predictions of `other` in the order of `first`.

    Raises:
        UserError: the tasks, the texts or the labels are not the same.
    """
    expected, found = first.task, other.task
    if expected.problem_type != found.problem_type:
        raise UserError(
            f"{first.run} is a {expected.problem_type}, {other.run} a {found.problem_type}. Only models of the same "
            "task can be compared."
        )
    if expected.class_names != found.class_names:
        raise UserError(
            f"the labels of {first.run} are {', '.join(expected.class_names)}; those of {other.run} are "
            f"{', '.join(found.class_names)}. Only models with the same labels can be compared."
        )
    keys, other_keys = (list(zip(stored.texts, stored.labels, strict=True)) for stored in (first, other))
    if keys == other_keys:
        return other
    _check_same_examples(first, other, Counter(keys) - Counter(other_keys))
    places = defaultdict(list)
    for row, key in enumerate(other_keys):
        places[key].append(row)
    return other.select([places[key].pop() for key in keys])


def _check_same_examples(first: StoredPredictions, other: StoredPredictions, missing: Counter) -> None:
    advice = "Evaluate both models on the same data with scripts/evaluate_model.py."
    texts = Counter(first.texts) - Counter(other.texts)
    if len(first) != len(other) or texts:
        sizes = f"{first.run} has {len(first):,} examples, {other.run} {len(other):,}"
        absent = f"{texts.total():,} texts of the former are not in the latter{_example(texts)}"
        raise UserError(f"the test sets are not the same: {sizes}; {absent}. {advice}")
    if missing:
        changed = Counter(text for text, _ in missing.elements())
        raise UserError(
            f"the test sets are not the same: {first.run} and {other.run} have the same texts, but "
            f"{changed.total():,} of them have other labels{_example(changed)}. {advice}"
        )


def _example(texts: Counter) -> str:
    return f", such as {' / '.join(next(iter(texts)))[:60]!r}" if texts else ""


# Differences.


def differences(
    task: Task,
    references: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """The headline metrics of a task: those of B minus those of A.

    Args:
        references: [examples, ...], as `StoredPredictions.references`.
        a, b: [runs, examples, ...], the decisions of each run of a side.
        resamples, seed: of the bootstrap, where each side is one run.
    """
    score, counts = make_score(task, references, np.concatenate([a, b]))
    scores = {metric: each[0] for metric, each in score(counts[None]).items()}
    metrics = ["rmse" if metric == "loss" else metric for metric, _, _ in task.headline_metrics]
    titles = {metric: title.lower() for metric, _, title in task.headline_metrics} | NAMES
    is_pair = len(a) == len(b) == 1
    drawn = bootstrap(score, counts, resamples, seed) if is_pair else jackknife(score, counts)
    found = []
    for metric in metrics:
        sides = scores[metric][: len(a)], scores[metric][len(a) :]
        if not is_pair:
            interval, smallest, p = seeds_test(*sides, drawn[metric], len(references))
        else:
            (interval, smallest), p = pair_interval(drawn[metric][:, 1] - drawn[metric][:, 0]), None
            if metric == "accuracy":
                smallest, p = smallest_mcnemar(references, a[0], b[0]), mcnemar(references, a[0], b[0]).p
        found.append(
            Difference(
                metric, titles[metric], tuple(sides[0].tolist()), tuple(sides[1].tolist()), interval, smallest, p
            )
        )
    return found


def pair_interval(drawn: np.ndarray) -> tuple[tuple[float, float], float]:
    """The 95 % interval of a difference by percentiles of its resamples, [draws]; and about half its width."""
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return (float(low), float(high)), NORMAL_QUANTILE * float(drawn.std())


def seeds_test(
    a: np.ndarray, b: np.ndarray, covariance: np.ndarray, num_examples: int
) -> tuple[tuple[float, float], float, float]:
    """The t test described above.

    With one run on a side, its seeds are taken to differ as much as those of the other side. A spread between seeds
    that is smaller than what the examples alone bring about is chance, and replaced by the latter.

    Args:
        a, b: [runs], the scores of each side.
        covariance: [runs of a, then of b; the same], of the scores over the choice of examples.
        num_examples: of the test set.

    Returns:
        The 95 % interval of the difference, half its width, and p.
    """
    sides = [covariance[: len(a), : len(a)], covariance[len(a) :, len(a) :]]
    several = [len(side) > 1 for side in sides]
    own = [np.trace(side) / len(side) for side in sides]  # variance of one run's score
    shared = [
        (side.sum() - np.trace(side)) / (len(side) * (len(side) - 1)) if many else np.nan
        for side, many in zip(sides, several, strict=True)
    ]
    by_seed = [max(0.0, each - common) for each, common in zip(own, shared, strict=True)]
    spread = [
        max(float(np.var(scores, ddof=1)), examples) if many else np.nan
        for scores, examples, many in zip((a, b), by_seed, several, strict=True)
    ]
    seeds = [spread[0] / len(a), spread[1] / len(b)]
    squares = [seeds[side] ** 2 / (count - 1) for side, count in enumerate((len(a), len(b))) if count > 1]
    if not all(several):
        known = several.index(True)
        shared[1 - known] = own[1 - known] - by_seed[known]
        total = spread[known] * (1 / len(a) + 1 / len(b))
        seeds, squares = [total], [total**2 / (max(len(a), len(b)) - 1)]
    examples = max(0.0, shared[0] + shared[1] - 2 * covariance[: len(a), len(a) :].mean())
    variance = sum(seeds) + examples
    difference = float(b.mean() - a.mean())
    if variance == 0:
        return (difference, difference), 0.0, float(difference == 0)
    freedom = variance**2 / (sum(squares) + examples**2 / (num_examples - 1))
    half_width = float(stdtrit(freedom, 1 - LEVEL / 2) * np.sqrt(variance))
    p = float(2 * stdtr(freedom, -abs(difference) / np.sqrt(variance)))
    return (difference - half_width, difference + half_width), half_width, p


def mcnemar(references: np.ndarray, a: np.ndarray, b: np.ndarray) -> McNemar:
    """McNemar's test: exact for few discordant examples, else chi-square with Edwards' continuity correction.

    Args:
        references, a, b: [examples, ...]; of several labels an example is right if all of them are.
    """
    a_right, b_right = _right(references, a), _right(references, b)
    only_a, only_b = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    both = int((a_right & b_right).sum())
    p = mcnemar_p(only_a, only_b)
    return McNemar(both, only_a, only_b, len(references) - both - only_a - only_b, p, only_a + only_b < EXACT_BELOW)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """The two-sided p of so many examples that only one of two models has right."""
    total = only_a + only_b
    if total < EXACT_BELOW:
        return min(1.0, 2 * float(bdtr(min(only_a, only_b), total, 0.5)))
    return float(chdtrc(1, max(0, abs(only_a - only_b) - 1) ** 2 / total))


def smallest_mcnemar(references: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The smallest difference in accuracy that McNemar's test finds among as many discordant examples as here."""
    total = int((_right(references, a) != _right(references, b)).sum())
    while True:
        for excess in range(total % 2, total + 1, 2):
            if mcnemar_p((total - excess) // 2, (total + excess) // 2) < LEVEL:
                return excess / len(references)
        total += 1


def _right(references: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    equal = references == decisions
    return equal if equal.ndim == 1 else equal.all(axis=-1)


# Resampling.


def bootstrap(score: Score, counts: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """The scores over as many examples drawn with replacement.

    How often each kind of example is drawn is multinomial: 8 numbers of two classes and two models, not 50,000.

    Args:
        score, counts: from `make_score`.

    Returns:
        By metric [resamples, runs], float64.
    """
    random, total = np.random.default_rng(seed), counts.sum()
    sizes = _blocks(resamples, len(counts))
    return _join(score(random.multinomial(total, counts / total, size)) for size in sizes)


def jackknife(score: Score, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The covariances of the runs' scores over the choice of examples, by leaving out one at a time.

    Args:
        score, counts: from `make_score`.

    Returns:
        By metric [runs, runs], float64.
    """
    total, cells = counts.sum(), np.arange(len(counts))
    starts = np.cumsum([0, *_blocks(len(counts), len(counts))])
    blocks = (cells[start:end] for start, end in pairwise(starts))
    without = _join(score(counts - (rows[:, None] == cells)) for rows in blocks)
    covariances = {}
    for metric, scores in without.items():
        centred = scores - counts @ scores / total
        covariances[metric] = (total - 1) / total * (centred.T * counts) @ centred
    return covariances


def _blocks(rows: int, columns: int) -> list[int]:
    size = max(1, BLOCK // columns)
    return [min(size, rows - start) for start in range(0, rows, size)]


def _join(blocks: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    several = list(blocks)
    return {metric: np.concatenate([block[metric] for block in several]) for metric in several[0]}


# Scores.


def make_score(task: Task, references: np.ndarray, decisions: np.ndarray) -> tuple[Score, np.ndarray]:
    """A function that scores all runs on many resamples at once.

    Args:
        references: [examples, ...].
        decisions: [runs, examples, ...].

    Returns:
        The function; and how many examples each of its cells has, [cells]. A cell is what examples with the same label
        and the same decisions of all runs have in common; in a regression each example is one.
    """
    if task.problem_type == "regression":
        return _number_score(references, decisions), np.ones(len(references), dtype=np.int64)
    table = np.concatenate([references[None], decisions]).swapaxes(0, 1)  # [examples, 1 + runs, ...]
    cells, counts = np.unique(table.reshape(len(table), -1), axis=0, return_counts=True)
    cells = cells.reshape(-1, *table.shape[1:])
    if task.problem_type == "single_label_classification":
        cells = cells[..., None] == np.arange(task.num_labels)
    order = np.argsort(-counts, kind="stable")  # large ones first: the multinomial draws end sooner
    return _class_score(cells[order]), counts[order]


def _class_score(cells: np.ndarray) -> Score:
    """Accuracy and F1; `cells` is [cells, 1 + runs, classes], bool, the labels first."""
    has, found = cells[:, :1], cells[:, 1:]
    runs, classes = found.shape[1:]
    right = (found == has).all(axis=-1).astype(float)  # [cells, runs]
    hits = (found & has).reshape(len(cells), -1).astype(float)
    either = (found.astype(float) + has).reshape(len(cells), -1)

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        weights = weights.astype(float)
        hit = 2 * (weights @ hits).reshape(-1, runs, classes)
        of = (weights @ either).reshape(-1, runs, classes)
        return {
            "accuracy": weights @ right / weights.sum(axis=1, keepdims=True),
            "f1_macro": _safe_divide(hit, of).mean(axis=-1),
            "f1_micro": _safe_divide(hit.sum(axis=-1), of.sum(axis=-1)),
        }

    return score


def _number_score(references: np.ndarray, decisions: np.ndarray) -> Score:
    """Correlations and the root of the mean squared error; [examples], [runs, examples]."""
    squares = np.square(decisions - references)
    centred = references - references.mean()
    deviations = decisions - decisions.mean(axis=1, keepdims=True)
    ranks = [_Ranks(references), *map(_Ranks, decisions)]

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        weights = weights.astype(float)
        total = weights.sum(axis=1)
        expected, *found = (each(weights) for each in ranks)
        return {
            "pearson": np.stack([_correlation(weights, centred, each) for each in deviations], axis=-1),
            "spearman": np.stack([_correlation(weights, expected, each) for each in found], axis=-1),
            "rmse": np.sqrt(weights @ squares.T / total[:, None]),
        }

    return score


class _Ranks:
    """The mean ranks of some numbers, where each is there several times or not at all."""

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        _, self.starts, self.inverse = np.unique(values[self.order], return_index=True, return_inverse=True)
        self.place = np.argsort(self.order, kind="stable")

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """[draws, examples] -> [draws, examples]."""
        tied = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        middle = np.cumsum(tied, axis=1) - tied / 2
        return middle[:, self.inverse[self.place]]


def _correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's, 0 with a constant; weights [draws, examples], x and y the same or [examples] -> [draws]."""
    total = weights.sum(axis=1)

    def mean(values: np.ndarray) -> np.ndarray:
        return (weights @ values if values.ndim == 1 else (weights * values).sum(axis=1)) / total

    x_mean, y_mean = mean(x), mean(y)
    x_variance, y_variance = mean(x * x) - x_mean**2, mean(y * y) - y_mean**2
    return _safe_divide(mean(x * y) - x_mean * y_mean, np.sqrt(np.maximum(x_variance * y_variance, 0)))


def _safe_divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
