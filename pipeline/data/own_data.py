"""The user's own data: tables whose columns and labels are found by looking at them."""

from __future__ import annotations

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.data.columns import RESERVED, choose_label_columns, choose_text_columns, counted, shown
from pipeline.data.corpus import Bilingual, CorpusCard, CorpusFiles, CorpusSpec
from pipeline.data.download import file_sha256
from pipeline.data.labels import AUTO, LabelEncoder, LabelSurvey, canonical, encoder_of, make_encoder
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task, create_task

if TYPE_CHECKING:  # slow to import; files that are missing are reported before
    from datasets import Dataset

    from pipeline.data.tables import BadRow, Table

NUM_SHOWN = 10  # rows that a message names
SPLIT_NAMES = {  # of a dataset with splits, by ours
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
LICENSE = Bilingual("데이터의 라이선스는 알려져 있지 않습니다.", "The licence of the data is not known.")
LIMITS = Bilingual(
    "- 레이블이 텍스트와 맞는지는 확인하지 않았습니다.\n"
    "- 학습한 것과 다른 종류의 텍스트에서는 성능이 다를 수 있습니다.\n",
    "- Whether labels fit their texts was not checked.\n- Other kinds of text may give other scores.\n",
)


@dataclass(frozen=True)
class OwnDataOptions:
    """How the tables are read: the options of the same names.

    Attributes:
        expected: the task of a model that is evaluated; the labels are then its own, whatever the data has.
    """

    text_column: tuple[str, ...] = ()
    label_column: tuple[str, ...] = ()
    problem_type: str = AUTO
    class_names: tuple[str, ...] = ()
    skip_bad_rows: bool = False
    expected: Task | None = None


@dataclass
class _BadRows:
    """The first rows that cannot be used, and how many there are."""

    count: int = 0
    first: list[BadRow] = field(default_factory=list)

    def add(self, rows: Sequence[BadRow], count: int | None = None) -> None:
        self.count += len(rows) if count is None else count
        self.first += rows[: NUM_SHOWN - len(self.first)]

    def message(self) -> str:
        return f"{self.count:,} row(s) cannot be used:\n{counted(map(str, self.first), self.count)}"


class OwnData(CorpusSpec):
    """A corpus whose task is known once its tables are read (`resolve`)."""

    summary = "your own data"
    name = ""
    # What `resolve` has found.
    opened: Mapping[str, Sequence[Table]]
    encoder: LabelEncoder
    read_labels_from: Sequence[str]

    def __init__(self, name: str, card: CorpusCard, options: OwnDataOptions) -> None:
        self.name, self.card, self.given = name, card, options

    @abstractmethod
    def tables(self, files: CorpusFiles) -> dict[str, list[Table]]:
        """The tables of each split, in the order of their rows; `train` first."""

    def read_file(self, path: Path) -> Iterator[Dataset]:
        raise NotImplementedError  # `read_blocks` reads the tables

    def options(self) -> dict[str, Any]:
        return {**vars(self.given), "expected": self.given.expected and self.given.expected.describe()}

    def resolve(self, files: CorpusFiles) -> Self:
        """Look at every row once: which columns there are, what the labels are, and which rows cannot be used.

        Raises:
            UserError: columns or labels are not found or do not fit; or rows cannot be used and `skip_bad_rows` is not
                set, with the first of them and their number.
        """
        given, tables = self.given, self.tables(files)
        text_columns, label_columns = self._choose_columns(tables)
        bad = _BadRows()
        try:
            encoder = self._make_encoder(tables, text_columns, label_columns, bad)
        except UserError as error:  # which bad rows may be the reason of
            raise UserError(f"{bad.message()}\n\n{error}" if bad.count else str(error)) from error
        if bad.count and not given.skip_bad_rows:
            raise UserError(f"{bad.message()}\n  Mend them, or leave them out with --skip_bad_rows.")
        resolved = copy.copy(self)
        resolved.opened, resolved.encoder, resolved.read_labels_from = tables, encoder, label_columns
        task = given.expected or create_task(encoder.problem_type, encoder.class_names)
        resolved.task = replace(task, text_columns=text_columns)
        resolved.report = {
            "text_columns": list(text_columns),
            "label_columns": list(label_columns),
            "problem_type": task.problem_type,
            "notes": [note for table in chain(*tables.values()) for note in table.notes],
            "num_rows_left_out": bad.count,
            "rows_left_out": [str(row) for row in bad.first],
        }
        return resolved

    def read_blocks(self, files: CorpusFiles) -> dict[str, Iterator[Dataset]]:
        """Read each split block by block; of a corpus that `resolve` has returned."""
        return {split: self._read_split(tables) for split, tables in self.opened.items()}

    def _make_encoder(
        self,
        tables: Mapping[str, Sequence[Table]],
        text_columns: Sequence[str],
        label_columns: Sequence[str],
        bad: _BadRows,
    ) -> LabelEncoder:
        """Read all rows: what their labels are; those that cannot be used are added to `bad`."""
        given, encoder = self.given, None
        if given.expected:
            encoder = encoder_of(given.expected.problem_type, given.expected.class_names, label_columns)
        elif len(label_columns) > 1:
            encoder = make_encoder({}, label_columns, given.problem_type, given.class_names)
        surveys = {split: LabelSurvey() for split in tables}
        unlabelled = _BadRows()
        for split, table in ((split, table) for split, each in tables.items() for table in each):
            for rows in _read(table, text_columns, label_columns):
                bad.add(rows.bad)
                for line, label in zip(rows.lines, rows.labels, strict=True):
                    if not encoder and (isinstance(label, list) or canonical(label)):
                        surveys[split].add(label)
                    elif not encoder:
                        unlabelled.add([_bad_row(table, line, "has no label")])
                    elif problem := _label_problem(encoder, label):
                        bad.add([_bad_row(table, line, problem)])
        encoder = encoder or make_encoder(surveys, label_columns, given.problem_type, given.class_names)
        if encoder.problem_type != "multi_label_classification":  # where no label at all is one of the possibilities
            bad.add(unlabelled.first, unlabelled.count)
        return encoder

    def _read_split(self, tables: Sequence[Table]) -> Iterator[Dataset]:
        import pyarrow as pa

        from pipeline.data.arrow_folder import dataset_from_table

        features, columns = self.features(), self.task.text_columns
        for table in tables:
            for rows in _read(table, columns, self.read_labels_from):
                kept, labels = [], []
                for index, label in enumerate(rows.labels):
                    try:
                        labels.append(self.encoder.encode(label))
                    except ValueError:
                        continue  # `resolve` has counted it
                    kept.append(index)
                if kept:
                    texts = [[texts[index] for index in kept] for texts in rows.texts]
                    yield dataset_from_table(pa.table([*texts, labels], schema=features.arrow_schema), features)

    def _choose_columns(self, tables: Mapping[str, Sequence[Table]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns of texts and labels, which every table must have."""
        text_columns, label_columns, expected = self.given.text_column, self.given.label_column, self.given.expected
        for table in chain(*tables.values()):
            example, source = _first_row(table), str(table.path)
            if expected and not label_columns and expected.problem_type != "single_label_classification":
                # The names of a number, and of labels that had a column each, are those of the columns.
                label_columns = expected.class_names if set(expected.class_names) <= example.keys() else ()
            label_columns = choose_label_columns(label_columns, example, source)
            if not text_columns and expected and set(expected.text_columns) <= example.keys():
                text_columns = expected.text_columns
            text_columns = choose_text_columns(text_columns, example, source)
            if both := set(text_columns) & set(label_columns):
                raise UserError(f"--text_column and --label_column both name {min(both)}; expected different columns.")
        if expected and len(text_columns) != len(expected.text_columns):
            raise UserError(
                f"the model reads {len(expected.text_columns)} text(s) an example, and the data has "
                f"{len(text_columns)}: {', '.join(text_columns)}. Name the right one(s) with --text_column."
            )
        if taken := set(text_columns) & set(RESERVED):
            raise UserError(f"--text_column {min(taken)}: the pipeline keeps this name for itself. Rename the column.")
        return text_columns, label_columns


@dataclass
class _Rows:
    """Rows of a table: their lines, their texts by column and their label values; and the rows that have no text."""

    lines: list[int]
    texts: list[list[str]]
    labels: list[Any]
    bad: list[BadRow]


def _read(table: Table, text_columns: Sequence[str], label_columns: Sequence[str]) -> Iterator[_Rows]:
    for block in table.blocks([*text_columns, *label_columns]):
        columns = {name: block.rows.column(name).to_pylist() for name in (*text_columns, *label_columns)}
        bad, good = list(block.bad_rows), []
        for index, line in enumerate(block.lines):
            problem = next((p for name in text_columns if (p := _text_problem(columns[name][index], name))), None)
            if problem:
                bad.append(_bad_row(table, line, problem))
            else:
                good.append(index)
        labels = [columns[name] for name in label_columns]
        yield _Rows(
            lines=[block.lines[index] for index in good],
            texts=[[columns[name][index] for index in good] for name in text_columns],
            labels=[labels[0][i] if len(labels) == 1 else [each[i] for each in labels] for i in good],
            bad=sorted(bad, key=lambda row: row.line),
        )


def _text_problem(value: Any, column: str) -> str | None:
    if isinstance(value, str):
        return None
    return f"has no text in `{column}`" if value is None else f"has {shown(value)} in `{column}`, not text"


def _label_problem(encoder: LabelEncoder, label: Any) -> str | None:
    try:
        encoder.encode(label)
    except ValueError as error:
        return str(error)
    return None


def _bad_row(table: Table, line: int, reason: str) -> BadRow:
    from pipeline.data.tables import BadRow

    return BadRow(table.path, line, reason)


def _first_row(table: Table) -> dict[str, Any]:
    """The columns with the values of the first row that has any."""
    for block in table.blocks():
        if len(block.rows):
            return block.rows.slice(0, 1).to_pylist()[0]
    raise UserError(f"{table.path}: no row can be read.")


class OwnFiles(OwnData):
    """Files of the user's: csv, tsv, json, jsonl, parquet, xlsx, or a folder of `save_to_disk`.

    Args:
        name: of the data, in the names of folders and in cards.
        files: names and patterns by split.
        options: how they are read.
    """

    def __init__(self, name: str, files: Mapping[str, Sequence[str]], options: OwnDataOptions) -> None:
        from pipeline.data.tables import expand_files

        self.paths = {split: expand_files(patterns) for split, patterns in files.items() if patterns}
        names = ", ".join(f"`{path.name}`" for paths in self.paths.values() for path in paths[:3])
        super().__init__(name, own_card(name, names), options)

    def fetch(
        self, root_dir: Path, cache_dir: Path, *, download: bool = True, force_download: bool = False
    ) -> CorpusFiles:
        digests = {split: [_path_sha256(path) for path in paths] for split, paths in self.paths.items()}
        for split, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if same := set(digests.get(split, ())) & set(digests.get(other, ())):
                path = self.paths[other][digests[other].index(min(same))]
                raise UserError(f"--{other}_file {path} has the same content as a file of --{split}_file.")
        sha256 = {
            split: each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
            for split, each in digests.items()
        }
        return CorpusFiles(next(iter(self.paths.values()))[0].parent, self._by_own_splits(sha256))

    def tables(self, files: CorpusFiles) -> dict[str, list[Table]]:
        from pipeline.data.tables import open_table

        if splits := self._splits_of_folder():
            return {split: [open_table(self.paths["train"][0], name)] for split, name in splits.items()}
        return {split: [open_table(path) for path in paths] for split, paths in self.paths.items()}

    def missing_files(self, root_dir: Path) -> list[str]:
        return []

    def _splits_of_folder(self) -> dict[str, str]:
        """The splits of a saved `DatasetDict` that is given alone, by our names."""
        from pipeline.data.tables import list_splits

        alone = list(self.paths) == ["train"] and len(self.paths["train"]) == 1
        names = list_splits(self.paths["train"][0]) if alone and self.paths["train"][0].is_dir() else []
        return own_splits(names, str(self.paths["train"][0])) if names else {}

    def _by_own_splits(self, sha256: dict[str, str]) -> dict[str, str]:
        return {split: f"{sha256['train']}:{name}" for split, name in self._splits_of_folder().items()} or sha256


def own_splits(names: Sequence[str], source: str) -> dict[str, str]:
    """The splits of a dataset under our names: train, and validation and test if it has them.

    Raises:
        UserError: it has no train.
    """
    splits = {
        ours: theirs
        for ours, known in SPLIT_NAMES.items()
        if (theirs := next((name for name in names if name.lower() in known), None))
    }
    if "train" not in splits:
        raise UserError(f"{source} has the splits {', '.join(names)}; expected one named train.")
    return splits


def own_card(title: str, source: str) -> CorpusCard:
    """What cards say of data of which nothing else is known."""
    return CorpusCard(
        title=Bilingual(title, title),
        texts=Bilingual("텍스트", "texts"),
        about=Bilingual(f"사용자가 준비한 데이터({source})", f"Data of the user's own ({source})"),
        license=LICENSE,
        limits=LIMITS,
    )


def _path_sha256(path: Path) -> str:
    if not path.is_dir():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    parts = [f"{file.relative_to(path)} {file_sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
