"""Rows of a table with the labels that a classifier gives them, shared out among processes where there are several."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.data.columns import shown
from pipeline.data.tables import BadRow, Block
from pipeline.runtime.distributed import is_distributed, is_rank_zero

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier, Prediction
    from pipeline.tasks import Task

NUM_NAMED = 10  # problems that are named
SUFFIX = "_predicted"  # of a column of ours, if the table has one of its name


class Labels:
    """Tables with labels, in the order of the blocks. A row without text keeps its place and gets no label.

    With several processes each of them must iterate: each labels its share of every table, and rank 0 gets all.

    Attributes:
        schema: the columns of the blocks, and ours behind them: label, probability, the probability of each class,
            truncated; of a regression only label, a number, and truncated.
        renamed: the names that our columns have because the blocks have columns of theirs.
        num_read, num_labelled, num_problems: rows so far.
        problems: why rows could not be read or labelled, the first `NUM_NAMED` of them.
    """

    def __init__(
        self,
        classifier: "Classifier",
        blocks: Iterable[Block],
        schema: pa.Schema,
        text_columns: Sequence[str],
        source: Path,
        share: bool = False,
    ) -> None:
        """Join the process group, if the rows are to be shared out.

        Args:
            classifier: of single texts or of pairs, as there are `text_columns`.
            blocks: the same in all processes.
            schema: of their rows.
            text_columns: one or two.
            source: of the blocks, for messages.
            share: whether processes that were launched together share the rows.
        """
        self.num_read = self.num_labelled = self.num_problems = 0
        self.problems: list[BadRow] = []
        self._classifier, self._blocks, self._source = classifier, blocks, source
        self._text_columns = list(text_columns)
        self._share = share and is_distributed()
        fields = label_fields(classifier.task)
        names = free_names(fields.names, schema.names)
        self.renamed = {old: new for old, new in zip(fields.names, names, strict=True) if old != new}
        self._fields = [field.with_name(name) for field, name in zip(fields, names, strict=True)]
        self.schema = pa.schema([*schema, *self._fields])
        if self._share:
            import torch.distributed

            torch.distributed.init_process_group("gloo")  # predictions are few bytes, also of a GPU

    def names(self) -> list[str]:
        """Label, probability if there is one, and texts: what a line on the terminal has."""
        own = [self.renamed.get(name, name) for name in ("label", "probability")]
        return [*(name for name in own if name in {field.name for field in self._fields}), *self._text_columns]

    def __iter__(self) -> Iterator[pa.Table]:
        num_rows = self._classifier.max_batch_tokens  # enough texts to sort them by length into batches
        for block in self._blocks:
            self.num_read += len(block.bad_rows)
            self._add_problems(block.bad_rows)
            for start in range(0, block.rows.num_rows, num_rows):
                labelled = self._label(block.rows.slice(start, num_rows), block.lines[start : start + num_rows])
                if labelled is not None:
                    yield labelled

    def _label(self, rows: pa.Table, lines: Sequence[int]) -> pa.Table | None:
        texts = list(zip(*(rows.column(name).to_pylist() for name in self._text_columns), strict=True))
        problems = [_text_problem(each, self._text_columns) for each in texts]
        good = [
            text if len(text) > 1 else text[0] for text, problem in zip(texts, problems, strict=True) if not problem
        ]
        predictions = self._predict(good)
        self.num_read += len(texts)
        self.num_labelled += len(good)
        self._add_problems(
            [BadRow(self._source, line, problem) for line, problem in zip(lines, problems, strict=True) if problem]
        )
        if predictions is None:
            return None
        rest = iter(predictions)
        values = [_values(None if problem else next(rest), len(self._fields)) for problem in problems]
        columns = zip(*values, strict=True)
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, self._fields, strict=True)]
        return pa.Table.from_arrays([*rows.columns, *arrays], schema=self.schema)

    def _predict(self, texts: list[Any]) -> "list[Prediction] | None":
        """The predictions of all texts; None in other processes than rank 0."""
        if not self._share:
            return list(self._classifier.predict(texts))
        from torch import distributed

        rank, num_processes = distributed.get_rank(), distributed.get_world_size()
        mine = list(self._classifier.predict(texts[rank::num_processes]))
        shares: list[Any] | None = [None] * num_processes if is_rank_zero() else None
        distributed.gather_object(mine, shares)
        if shares is None:
            return None
        predictions: list[Any] = [None] * len(texts)
        for rank, share in enumerate(shares):
            predictions[rank::num_processes] = share
        return predictions

    def _add_problems(self, problems: Sequence[BadRow]) -> None:
        self.num_problems += len(problems)
        self.problems += problems[: NUM_NAMED - len(self.problems)]


def label_fields(task: "Task") -> pa.Schema:
    """Names and types of what a prediction adds to a row."""
    if task.problem_type == "regression":
        return pa.schema({"label": pa.float64(), "truncated": pa.bool_()})
    names = ["probability", *task.class_names]
    return pa.schema([("label", pa.string()), *((name, pa.float64()) for name in names), ("truncated", pa.bool_())])


def free_names(names: Sequence[str], taken: Iterable[str]) -> list[str]:
    """The names, with a suffix where they are taken already."""
    found: list[str] = []
    for name in names:
        while name in set(chain(taken, found)):
            name += SUFFIX
        found.append(name)
    return found


def _values(prediction: "Prediction | None", num_columns: int) -> list[Any]:
    """The values of `label_fields`."""
    if prediction is None:
        return [None] * num_columns
    if prediction.probability is None:
        return [*prediction.probabilities.values(), prediction.truncated]
    return [prediction.label, prediction.probability, *prediction.probabilities.values(), prediction.truncated]


def _text_problem(texts: Sequence[Any], columns: Sequence[str]) -> str | None:
    for text, column in zip(texts, columns, strict=True):
        if not isinstance(text, str):
            return f"has no text in `{column}`" if text is None else f"has {shown(text)} in `{column}`, not text"
    return None
