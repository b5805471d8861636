"""What a corpus says of itself. One corpus is one file in `pipeline/data/corpora`."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pipeline.data.download import SourceFile, download_files, file_sha256
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

if TYPE_CHECKING:  # slow to import; the options need a corpus' name and task before anything slow
    from datasets import Dataset, DatasetDict, Features

BLOCK_SIZE = 10_000  # rows that are in memory at once


class Bilingual(NamedTuple):
    """A text of a card."""

    ko: str
    en: str


NOTHING = Bilingual("", "")


@dataclass(frozen=True)
class CorpusCard:
    """What model and dataset cards say of a corpus.

    Attributes:
        title: its proper name.
        texts: what its texts are, in the plural.
        about: what the corpus is, as a noun phrase.
        license: a sentence.
        labels: where its labels come from, as a sentence.
        limits: Markdown list items: what a user of the model should know of the data.
        hub_id: its name on the Hub, if it has one.
        license_id: by the Hub's identifiers, if known.
        source_url: where it is from.
        tags: for the Hub.
    """

    title: Bilingual
    texts: Bilingual
    about: Bilingual
    license: Bilingual
    labels: Bilingual = NOTHING
    limits: Bilingual = NOTHING
    hub_id: str | None = None
    license_id: str | None = None
    source_url: str | None = None
    tags: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """As JSON has it; `from_description` makes an equal card of it."""
        return asdict(self)

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        """The card of a run, from its run.json."""
        texts = {"title", "texts", "about", "license", "labels", "limits"}
        values: dict[str, Any] = {
            name: Bilingual(*value) if name in texts else value for name, value in described.items()
        }
        return cls(**{**values, "tags": tuple(values["tags"])})


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus on this machine, checked.

    Attributes:
        folder: where they are.
        sha256: hex digest of each split's bytes, which decide what the rows are.
    """

    folder: Path
    sha256: dict[str, str]


class CorpusSpec(ABC):
    """A corpus: where its files come from, what is in them, and what is to be learnt from them.

    Attributes:
        summary: a phrase for `--help`.
        task: columns, labels, loss, metrics.
        label_columns: the tasks of a corpus that has labels of several kinds, by the value of `--label_column`; `task`
            is the one without that option.
        files: by split: `train` and `test`, and `validation` if the corpus has one. A split may have several files,
            whose rows follow one another.
        card: what cards say of it.
        subfolder: of `--corpus_root_dir`, where the files are; the corpus' name if empty.
        is_generated: whether `folder` writes the files, so that `--corpus_root_dir` would do nothing.
        layout: what a file looks like, for the message that it is missing.
        bundled_model: a phrase for `--help`, if the corpus comes with a model of its own name (`write_model`).
        notice: logged when the corpus or its model is used; "" if there is nothing to warn of.
        report: what was seen while the files were read, for run.json and the terminal.
    """

    summary: str
    task: Task
    label_columns: Mapping[str, Task] = {}
    files: Mapping[str, SourceFile | tuple[SourceFile, ...]]
    card: CorpusCard
    subfolder: str = ""
    is_generated: bool = False
    layout: str = ""
    bundled_model: str = ""
    notice: str = ""
    report: Mapping[str, Any] = {}
    label_column: str = ""  # of `label_columns`, as `select` was told

    @property
    def name(self) -> str:
        """The value of `--corpus_name`: the name of the file that defines the corpus."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def read_file(self, path: Path) -> Iterator[Dataset]:
        """Read one file block by block: the task's text columns and `label`, in file order. See `blocks`."""

    def select(self, label_column: str) -> Self:
        """The corpus with the labels of one of `label_columns`.

        Raises:
            UserError: it has no such labels.
        """
        if label_column not in self.label_columns:
            known = ", ".join(self.label_columns)
            expected = f"expected one of {known}" if known else "it has one kind of labels; leave the option out"
            raise UserError(f"--label_column is {label_column}, which {self.name} does not have; {expected}.")
        selected = copy.copy(self)
        selected.task, selected.label_column = self.label_columns[label_column], label_column
        return selected

    def options(self) -> dict[str, Any]:
        """What decides the rows, besides the files' bytes: part of the key of the tokenized corpus."""
        return {"label_column": self.label_column} if self.label_columns else {}

    def resolve(self, files: CorpusFiles) -> Self:
        """The corpus with its task and its report known, which of a user's own data only its content tells.

        Raises:
            UserError: the content is not what a task can be made of.
        """
        return self

    def folder(self, root_dir: Path, cache_dir: Path) -> Path:
        """Where the files are. A corpus that is generated writes them into `cache_dir` first, if they are not there."""
        return root_dir.expanduser().resolve() / (self.subfolder or self.name)

    def url(self, file: SourceFile) -> str | None:
        """Where a file is downloaded from; None: the user puts it there."""
        return None

    def check(self, path: Path, file: SourceFile, sha256: str) -> None:
        """Check that a file is what it should be.

        Raises:
            UserError: it is malformed (file, line and reason are named), or not the one that is known.
        """
        if file.sha256 and sha256 != file.sha256:
            raise UserError(
                f"{path} is not the official {self.card.title.en} file: its sha256 is {sha256}, not {file.sha256}. "
                "Move the file away and run again to fetch the official one."
            )

    def missing_files(self, root_dir: Path) -> list[str]:
        """The names of files that are not on this machine and would be downloaded."""
        folder = root_dir.expanduser() / (self.subfolder or self.name)
        files = chain.from_iterable(self.split_files().values())
        return [file.name for file in files if not (folder / file.name).is_file()]

    def split_files(self) -> dict[str, tuple[SourceFile, ...]]:
        """The files of each split, in the order of their rows."""
        return {split: files if isinstance(files, tuple) else (files,) for split, files in self.files.items()}

    def write_model(self, cache_dir: Path) -> Path:
        """The folder of the model that comes with the corpus (see `bundled_model`), written first if need be."""
        raise NotImplementedError

    def fetch(
        self, root_dir: Path, cache_dir: Path, *, download: bool = True, force_download: bool = False
    ) -> CorpusFiles:
        """Find the files, downloading or generating what is missing, and check them.

        Args:
            root_dir: `--corpus_root_dir`.
            cache_dir: for a corpus that is generated.
            download: fetch missing files; otherwise a missing file is an error.
            force_download: fetch the files again even if they are there.

        Raises:
            UserError: a file is missing, malformed or not the one that is known.
        """
        folder = self.folder(root_dir, cache_dir)
        paths = {file: folder / file.name for file in chain.from_iterable(self.split_files().values())}
        for path in paths.values():
            if path.exists() and not path.is_file():
                raise UserError(f"{path} is not a file; expected the examples of one split. Move it away.")
        urls = {file: url for file in paths if (url := self.url(file))}
        missing = [file for file, path in paths.items() if not path.is_file()]
        if out_of_reach := [file for file in missing if file not in urls or not download]:
            raise UserError(self._missing(folder / out_of_reach[0].name, expects_own=out_of_reach[0] not in urls))
        wanted = urls if force_download else {file: urls[file] for file in missing}
        if wanted and download:
            download_files(wanted, folder, self.card.title.en, self.card.source_url, replace=force_download)
        digests = {file: file_sha256(path) for file, path in paths.items()}
        for file, path in paths.items():
            self.check(path, file, digests[file])
        sha256 = {split: joint_sha256([digests[file] for file in each]) for split, each in self.split_files().items()}
        return CorpusFiles(folder, sha256)

    def _missing(self, path: Path, *, expects_own: bool) -> str:
        if not expects_own:
            return f"{path} is missing."
        layout = f", {self.layout}" if self.layout else ""
        return (
            f"{path} is missing. Expected your own examples there{layout}; --corpus_root_dir names the folder above "
            f"{path.parent.name}/."
        )

    def features(self) -> Features:
        """The columns of a row."""
        from datasets import Features, Value

        text = {column: Value("string") for column in self.task.text_columns}
        return Features({**text, "label": self.task.label_feature})

    def blocks(self, path: Path, rows: Iterable[dict[str, Any]]) -> Iterator[Dataset]:
        """Rows as blocks of bounded size, each with the text columns and `label`.

        Args:
            path: the file, for messages.
            rows: `label` is the name or the number of a class; of several labels 0 or 1 for each; or a number.

        Raises:
            UserError: a row cannot be made, for a key or a value in the file, or it does not fit, such as one with an
                unknown label.
        """
        from datasets import Dataset

        features, checked = self.features(), self._checked(path, rows)
        while block := list(islice(checked, BLOCK_SIZE)):
            yield Dataset.from_list(block, features=features)

    def _checked(self, path: Path, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        features, iterator, row = self.features(), iter(rows), None
        for number in count(1):
            try:
                row = None
                row = next(iterator)
                features.encode_example(row)
                if missing := [name for name, value in row.items() if value is None]:
                    raise ValueError(f"{missing[0]} is missing")
                if self.task.problem_type == "multi_label_classification" and len(row["label"]) != self.task.num_labels:
                    raise ValueError(f"label has {len(row['label'])} values, not {self.task.num_labels}")
            except StopIteration:
                return
            except (KeyError, TypeError, ValueError) as error:
                reason = repr(error) if isinstance(error, KeyError) else str(error)
                found = f"; found {row}" if row else ""
                raise UserError(f"{path}, example {number}: {reason}{found}") from error
            yield row

    def read_blocks(self, files: CorpusFiles) -> dict[str, Iterator[Dataset]]:
        """Read each split block by block, so that memory does not grow with the files."""
        return {
            split: chain.from_iterable(self.read_file(files.folder / file.name) for file in parts)
            for split, parts in self.split_files().items()
        }

    def read(self, files: CorpusFiles) -> DatasetDict:
        """Read all splits into memory."""
        from datasets import DatasetDict, concatenate_datasets

        return DatasetDict(
            {split: concatenate_datasets(list(blocks)) for split, blocks in self.read_blocks(files).items()}
        )

    def describe(self, files: CorpusFiles) -> dict[str, Any]:
        """Origin of the data, for run.json."""
        return {"name": self.name, "sha256": files.sha256, "card": self.card.describe()}


def joint_sha256(digests: Sequence[str]) -> str:
    """The hex digest of several files, from that of each; of one file its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
