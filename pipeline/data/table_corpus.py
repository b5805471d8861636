"""Corpora whose files are tables with a header: csv or tsv."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.data import csv_rows
from pipeline.data.corpus import BLOCK_SIZE, CorpusSpec
from pipeline.data.download import SourceFile
from pipeline.data.labels import LabelEncoder
from pipeline.data.text_files import inspect_text
from pipeline.runtime.errors import UserError

if TYPE_CHECKING:  # slow to import
    from datasets import Dataset

UNQUOTED_TSV: Final = csv_rows.Dialect("\t", is_quoted=False)  # quotation marks are characters like others
QUOTED_TSV: Final = csv_rows.Dialect("\t", is_quoted=True)
CSV: Final = csv_rows.Dialect(",", is_quoted=True)


class TableCorpus(CorpusSpec):
    """A corpus of tables. The columns that `task.text_columns` names hold the texts.

    Attributes:
        label: the column of the labels. With `label_columns`, whose names are columns too, that of `task`.
        label_values: what stands there for each class, in the order of `task.class_names`; empty: their names. Several
            labels of one text are joined by "|".
        dialect: how columns are separated.
    """

    label: str = "label"
    label_values: tuple[str, ...] = ()
    dialect: csv_rows.Dialect = UNQUOTED_TSV
    remedy: str = "Mend the file."  # for the message that it is malformed

    def read_label(self, value: str) -> Any:
        """The label of a row, from what stands in the file.

        Raises:
            ValueError: it is none; the text says what was found, as the end of a sentence about the row.
        """
        names = self.task.class_names
        return LabelEncoder(self.task.problem_type, self.label_values or names, names).encode(value)

    def read_file(self, path: Path) -> Iterator[Dataset]:
        import pyarrow as pa

        from pipeline.data.arrow_folder import dataset_from_table

        features, rows = self.features(), self._rows(path)
        while block := list(islice(rows, BLOCK_SIZE)):
            columns = [list(column) for column in zip(*block, strict=True)]
            yield dataset_from_table(pa.table(columns, schema=features.arrow_schema), features)

    def check(self, path: Path, file: SourceFile, sha256: str) -> None:
        if file.sha256 and sha256 != file.sha256:
            deque(self._rows(path), maxlen=0)  # names the line, if one is malformed
        super().check(path, file, sha256)

    def _rows(self, path: Path) -> Iterator[tuple[Any, ...]]:
        """The texts and the label of each row.

        Raises:
            UserError: the file is malformed; the text names file, line and reason.
        """

        def fail(line: int, reason: str) -> UserError:
            return UserError(f"{path}, line {line}: {reason}.\n  {self.remedy}")

        file, columns = inspect_text(path), [*self.task.text_columns, self.label_column or self.label]
        header = csv_rows.read_header(file, self.dialect)
        if missing := [name for name in columns if name not in header]:
            raise fail(1, f"expected a header with the columns {', '.join(columns)}; {missing[0]} is not in {header}")
        indices = [header.index(name) for name in columns]
        for row in csv_rows.read_rows(file, self.dialect):
            if row.problem:
                raise fail(row.line, row.problem)
            *texts, value = (row.cells[index] for index in indices)
            try:
                label = self.read_label(value)
            except ValueError as error:
                raise fail(row.line, str(error)) from error
            yield *texts, label


class KorporaCorpus(TableCorpus):
    """A corpus that Korpora has under the same name: its files are fetched from where Korpora fetches them."""

    remedy = "Move the file away and run again to fetch the official one. For your own data: --train_file."

    def url(self, file: SourceFile) -> str:
        information = f"{self.name.upper()}_FETCH_INFORMATION"
        entries = getattr(importlib.import_module(f"Korpora.korpus_{self.name}"), information)
        return next(entry["url"] for entry in entries if entry["destination"] == f"{self.name}/{file.name}")
