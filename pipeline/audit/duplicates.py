"""Texts that occur more than once, within a split and in two of them, and texts that bear several labels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations
from typing import Any

import numpy as np

from pipeline.audit.examples import MAX_SHOWN, Examples, number_distinct
from pipeline.audit.near import MIN_LETTERS, Near, find_near, num_letters
from pipeline.audit.normalizing import normalize

MAX_ROWS_OF_GROUP = 5  # that are shown


@dataclass(frozen=True)
class Texts:
    """Which examples have the same text, nearly the same, and the same label.

    Attributes:
        examples: those of all splits.
        exact: equal for equal texts, int64, [rows].
        same: equal for texts that are equal when normalized, int64, [rows].
        near: pairs of values of `same` whose texts are nearly equal.
        label: equal for equal labels, int64, [rows].
    """

    examples: Examples
    exact: np.ndarray
    same: np.ndarray
    near: Sequence[Near]
    label: np.ndarray

    @classmethod
    def compare(cls, examples: Examples) -> "Texts":
        """Compare all texts."""
        normalized = list(map(normalize, examples.texts))
        labels = np.unique(examples.labels, axis=0, return_inverse=True)[1].ravel()
        return cls(
            examples,
            number_distinct(examples.texts),
            number_distinct(normalized),
            find_near(list(dict.fromkeys(normalized))),
            labels,
        )

    def near_to(self, present: np.ndarray) -> np.ndarray:
        """Which texts are nearly equal to one that is present, bool, by values of `same`.

        Args:
            present: bool, by values of `same`.
        """
        found = np.zeros(len(present), dtype=bool)
        first, second = self._near_ends
        found[first[present[second]]] = True
        found[second[present[first]]] = True
        return found

    def is_present(self, rows: slice) -> np.ndarray:
        """Which texts the rows have, bool, by values of `same`."""
        present = np.zeros(self.same.max() + 1, dtype=bool)
        present[self.same[rows]] = True
        return present

    @cached_property
    def first_rows(self) -> np.ndarray:
        """The first row of each value of `same`."""
        return np.unique(self.same, return_index=True)[1]

    @cached_property
    def _near_ends(self) -> tuple[np.ndarray, np.ndarray]:
        ends = np.array([[pair.first, pair.second] for pair in self.near], dtype=np.int64).reshape(-1, 2)
        return ends[:, 0], ends[:, 1]


def within_splits(texts: Texts) -> dict[str, dict[str, Any]]:
    """By split: how many of its examples repeat another one.

    `num_distinct` and `num_distinct_normalized` texts of `num_examples`; `num_repeated`: examples whose text stands
    in an earlier row too, of which `num_repeated_with_label` have its label as well; `repeated`: their numbers;
    `num_near`: examples whose text is nearly equal to another one, but not equal when normalized; and examples of each.
    """
    examples, found = texts.examples, {}
    for split in examples.splits:
        rows = examples.rows_of(split)
        exact, same = texts.exact[rows], texts.same[rows]
        repeated = _repeated(exact)
        both = number_distinct(zip(exact.tolist(), texts.label[rows].tolist(), strict=True))
        present = texts.is_present(rows)
        near = texts.near_to(present)[same]
        found[split] = {
            "num_examples": len(exact),
            "num_distinct": len(np.unique(exact)),
            "num_distinct_normalized": len(np.unique(same)),
            "num_repeated": int(repeated.sum()),
            "num_repeated_with_label": int(_repeated(both).sum()),
            "num_near": int(near.sum()),
            "repeated": examples.numbers(np.flatnonzero(repeated) + rows.start, split),
            "most_frequent": [_describe_group(examples, group) for group in _largest(exact, rows.start)],
            "same_letters": [
                _describe_group(examples, group) for group in _spelled_differently(texts, rows, MAX_SHOWN)
            ],
            "nearly_equal": _near_pairs(texts, present, present, rows, rows),
        }
    return found


def between_splits(texts: Texts) -> list[dict[str, Any]]:
    """For each two splits: the examples of the later one whose text stands in the earlier one.

    `num_exact`: whose text is there; `num_normalized`: those, and those whose text is there when normalized;
    `num_near`: further ones, whose text is nearly equal to one there. Of the exact ones `num_long`: of at least
    `MIN_LETTERS` letters, which hardly coincide by chance; `num_other_label`: whose labels there are not simply their
    own; `num_looked_up`: whose own label is the most frequent one there, which a model scores that only remembers.
    """
    examples, found = texts.examples, []
    for earlier, later in combinations(examples.splits, 2):
        known, rows = examples.rows_of(earlier), examples.rows_of(later)
        is_exact, in_earlier = np.isin(texts.exact[rows], texts.exact[known]), texts.is_present(known)
        is_same = in_earlier[texts.same[rows]]
        is_near = texts.near_to(in_earlier)[texts.same[rows]] & ~is_same
        exact = np.flatnonzero(is_exact) + rows.start
        labels_there = _label_counts(texts, known, set(texts.exact[exact].tolist()))
        other = [row for row in exact.tolist() if set(labels_there[texts.exact[row]]) != {texts.label[row]}]
        looked_up = [row for row in exact.tolist() if _most_frequent(labels_there[texts.exact[row]], texts.label[row])]
        found.append(
            {
                "split": later,
                "in": earlier,
                "num_examples": rows.stop - rows.start,
                "num_exact": len(exact),
                "num_long": sum(num_letters(normalize(examples.texts[row])) >= MIN_LETTERS for row in exact.tolist()),
                "num_other_label": len(other),
                "num_looked_up": len(looked_up),
                "num_normalized": int(is_same.sum()),
                "num_near": int(is_near.sum()),
                "exact": examples.numbers(exact, later),
                "normalized": examples.numbers(np.flatnonzero(is_same & ~is_exact) + rows.start, later),
                "near": examples.numbers(np.flatnonzero(is_near) + rows.start, later),
                "examples": _matches(texts, _longest(examples, set(exact.tolist()) - set(other)), known),
                "examples_other_label": _matches(texts, _longest(examples, other), known),
                "nearly_equal": _near_pairs(
                    texts, in_earlier & ~texts.is_present(rows), texts.is_present(rows) & ~in_earlier, known, rows
                ),
            }
        )
    return found


def contradictions(texts: Texts) -> dict[str, dict[str, Any]]:
    """By split, and over `all` of several: texts that bear more than one label.

    `num_texts` and their `num_examples`; `num_outvoted`: examples whose label is not the most frequent one of their
    text, at least so many labels being wrong if one is right; `num_texts_normalized`: texts that are equal when
    normalized and bear more than one label. Empty texts count. Of the examples shown, `most_frequent` has those with
    the most examples of a rarer label.
    """
    examples = texts.examples
    ranges = {split: examples.rows_of(split) for split in examples.splits}
    if len(ranges) > 1:
        ranges["all"] = slice(0, len(examples))
    found = {}
    for name, rows in ranges.items():
        groups = _contradicting(texts.exact, texts.label, rows)
        counts = [Counter(texts.label[group].tolist()) for group in groups]
        outvoted = [count.total() - max(count.values()) for count in counts]
        by_count = sorted(range(len(groups)), key=outvoted.__getitem__, reverse=True)[:MAX_SHOWN]
        by_length = _by_length(examples, groups)[:MAX_SHOWN]
        numbers = {} if name == "all" else {"numbers": examples.numbers(sorted(chain(*groups)), name)}
        found[name] = {
            **numbers,
            "num_texts": len(groups),
            "num_examples": sum(map(len, groups)),
            "num_outvoted": sum(outvoted),
            "num_texts_normalized": len(_contradicting(texts.same, texts.label, rows)),
            "most_frequent": [_describe_group(examples, groups[index]) for index in by_count],
            "longest": [_describe_group(examples, group) for group in by_length],
        }
    return found


def _by_length(examples: Examples, groups: list[np.ndarray]) -> list[np.ndarray]:
    """The groups with the longest texts first, which coincidence explains least."""
    return sorted(groups, key=lambda group: len("".join(examples.texts[group[0]])), reverse=True)


def _repeated(ids: np.ndarray) -> np.ndarray:
    """Which values have occurred before, bool, [values]."""
    repeated = np.ones(len(ids), dtype=bool)
    repeated[np.unique(ids, return_index=True)[1]] = False
    return repeated


def _groups(ids: np.ndarray, start: int = 0) -> list[np.ndarray]:
    """The rows of each value that occurs more than once.

    Args:
        ids: [rows].
        start: the number of the first row.
    """
    order = np.argsort(ids, kind="stable")
    ends = np.flatnonzero(np.diff(ids[order], append=-1)) + 1
    return [group + start for group in np.split(order, ends[:-1]) if len(group) > 1]


def _largest(ids: np.ndarray, start: int) -> list[np.ndarray]:
    return sorted(_groups(ids, start), key=len, reverse=True)[:MAX_SHOWN]


def _spelled_differently(texts: Texts, rows: slice, count: int) -> list[np.ndarray]:
    """Groups that are equal only when normalized, a row of each spelling, the longest texts first."""
    groups = []
    for group in _groups(texts.same[rows], rows.start):
        spellings = group[np.sort(np.unique(texts.exact[group], return_index=True)[1])]
        if len(spellings) > 1:
            groups.append(spellings)
    return _by_length(texts.examples, groups)[:count]


def _contradicting(ids: np.ndarray, labels: np.ndarray, rows: slice) -> list[np.ndarray]:
    groups = _groups(ids[rows], rows.start)
    return [group for group in groups if len(np.unique(labels[group])) > 1]


def _label_counts(texts: Texts, rows: slice, wanted: set[int]) -> Mapping[int, Counter]:
    """How often each of the wanted texts has each label in the rows."""
    counts: dict[int, Counter] = {text: Counter() for text in wanted}
    for text, label in zip(texts.exact[rows].tolist(), texts.label[rows].tolist(), strict=True):
        if text in counts:
            counts[text][label] += 1
    return counts


def _most_frequent(counts: Counter, label: int) -> bool:
    """Whether no other label is as frequent."""
    return all(counts[label] > count for other, count in counts.items() if other != label) and counts[label] > 0


def _longest(examples: Examples, rows: Iterable[int]) -> list[int]:
    """The rows with the longest texts, which coincidence explains least; each text once."""
    by_text = {examples.texts[row]: row for row in sorted(rows, reverse=True)}
    return sorted(by_text.values(), key=lambda row: (-len("".join(examples.texts[row])), row))[:MAX_SHOWN]


def _describe_group(examples: Examples, group: np.ndarray) -> dict[str, Any]:
    """The number of a group's rows, its labels with theirs, and the first rows."""
    labels = Counter(map(examples.label_name, group.tolist()))
    return {
        "num_examples": len(group),
        "labels": dict(labels.most_common()),
        "examples": [examples.describe(row) for row in group[:MAX_ROWS_OF_GROUP].tolist()],
    }


def _matches(texts: Texts, shown: Sequence[int], known: slice) -> list[dict[str, Any]]:
    """Rows with the rows of `known` that have their text."""
    wanted: dict[int, list[int]] = {texts.exact[row]: [] for row in shown}
    for row in (np.flatnonzero(np.isin(texts.exact[known], list(wanted))) + known.start).tolist():
        wanted[texts.exact[row]].append(row)
    examples = texts.examples
    return [
        examples.describe(
            row, also=[examples.describe(other) for other in wanted[texts.exact[row]][:MAX_ROWS_OF_GROUP]]
        )
        for row in shown
    ]


def _near_pairs(
    texts: Texts, first: np.ndarray, second: np.ndarray, rows: slice, other_rows: slice
) -> list[dict[str, Any]]:
    """Pairs of nearly equal texts, one of `first` and one of `second`, those with the most letters first.

    Args:
        first, second: bool, by values of `same`.
        rows, other_rows: where a row with each of them is taken from.
    """
    examples = texts.examples

    def row_of(text: int, within: slice) -> int:
        return int(np.flatnonzero(texts.same[within] == text)[0]) + within.start

    def oriented() -> Iterator[tuple[int, int, float]]:
        for one, two, similarity in texts.near:
            if first[one] and second[two]:
                yield one, two, similarity
            elif first[two] and second[one]:
                yield two, one, similarity

    def letters(pair: tuple[int, int, float]) -> int:
        return len("".join(examples.texts[texts.first_rows[pair[0]]]))

    return [
        {
            "similarity": round(similarity, 3),
            "examples": [examples.describe(row_of(one, rows)), examples.describe(row_of(two, other_rows))],
        }
        for one, two, similarity in sorted(oriented(), key=letters, reverse=True)[:MAX_SHOWN]
    ]
