"""The examples of all splits in one row, as the audit reads them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from pipeline.data.splits import labels_of
from pipeline.data.tokenization import Text
from pipeline.tasks import Task

MAX_SHOWN = 10  # examples of a finding


@dataclass(frozen=True)
class Examples:
    """The examples of all splits, one split after the other. An example's index here is called its row.

    Attributes:
        texts: [rows], strings, or tuples of two if the task reads pairs.
        labels: [rows, ...], as in the dataset.
        starts: the first row of each split by its name, in the splits' order.
        task: what is learnt.
    """

    texts: Sequence[Text]
    labels: np.ndarray
    starts: Mapping[str, int]
    task: Task

    @property
    def splits(self) -> list[str]:
        """The names of the splits, in the order of their rows."""
        return list(self.starts)

    def __len__(self) -> int:
        return len(self.texts)

    def rows_of(self, split: str) -> slice:
        """The rows of a split."""
        starts = [*self.starts.values(), len(self)]
        index = self.splits.index(split)
        return slice(starts[index], starts[index + 1])

    def place(self, row: int) -> tuple[str, int]:
        """The split of a row, and its number in it, from 1."""
        split = max((name for name, start in self.starts.items() if start <= row), key=self.starts.__getitem__)
        return split, row - self.starts[split] + 1

    def label_name(self, row: int) -> str:
        """What the label of a row is called."""
        return self.task.label_name(self.labels[row])

    def describe(self, row: int, **more: Any) -> dict[str, Any]:
        """A row for a person: `split`, `number` in it from 1, `texts`, `label`, and what else is said of it."""
        split, number = self.place(row)
        text = self.texts[row]
        texts = [text] if isinstance(text, str) else list(text)
        return {"split": split, "number": number, "texts": texts, "label": self.label_name(row), **more}

    def numbers(self, rows: Iterable[int], split: str) -> list[int]:
        """The numbers of rows in their split, from 1."""
        return [int(row) - self.starts[split] + 1 for row in rows]


def collect_examples(splits: Mapping[str, Dataset], task: Task) -> Examples:
    """The examples of a corpus.

    Args:
        splits: each with the task's text columns and `label`. A split without rows is left out.
    """
    splits = {name: rows for name, rows in splits.items() if len(rows)}
    columns = [[rows[name][:] for name in task.text_columns] for rows in splits.values()]
    texts = [text for each in columns for text in (each[0] if len(each) == 1 else zip(*each, strict=True))]
    sizes = np.cumsum([0, *map(len, splits.values())])
    return Examples(
        texts,
        np.concatenate([labels_of(rows) for rows in splits.values()]),
        dict(zip(splits, sizes.tolist(), strict=False)),
        task,
    )


def number_distinct(values: Iterable[Hashable]) -> np.ndarray:
    """The values as numbers in the order of their first appearance, equal ones alike: int64, [values]."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
