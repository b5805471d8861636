"""What a corpus says of itself. One corpus is one file in `pipeline/data/corpora`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

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
        files: by split: `train` and `test`.
        card: what cards say of it.
        subfolder: of `--corpus_root_dir`, where the files are; the corpus' name if empty.
        layout: what a file looks like, for the message that it is missing.
        bundled_model: a phrase for `--help`, if the corpus comes with a model of its own name (`write_model`).
        notice: logged when the corpus or its model is used; "" if there is nothing to warn of.
    """

    summary: ClassVar[str]
    task: ClassVar[Task]
    files: ClassVar[Mapping[str, SourceFile]]
    card: ClassVar[CorpusCard]
    subfolder: ClassVar[str] = ""
    layout: ClassVar[str] = ""
    bundled_model: ClassVar[str] = ""
    notice: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The value of `--corpus_name`: the name of the file that defines the corpus."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def read_file(self, path: Path) -> Iterator[Dataset]:
        """Read one split block by block: the task's text columns and `label`, in file order. See `blocks`."""

    def folder(self, root_dir: Path, cache_dir: Path) -> Path:
        """Where the files are. A corpus that is generated writes them into `cache_dir` first, if they are not there."""
        return root_dir.expanduser().resolve() / (self.subfolder or self.name)

    def url(self, file: SourceFile) -> str | None:
        """Where a file is downloaded from; None: the user puts it there."""
        return None

    def check(self, path: Path, file: SourceFile, sha256: str) -> None:
        """Check that the file of one split is what it should be.

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
        return [file.name for file in self.files.values() if not (folder / file.name).is_file()]

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
        paths = {split: folder / file.name for split, file in self.files.items()}
        for path in paths.values():
            if path.exists() and not path.is_file():
                raise UserError(f"{path} is not a file; expected the examples of one split. Move it away.")
        urls = {file: url for file in self.files.values() if (url := self.url(file))}
        missing = [file for split, file in self.files.items() if not paths[split].is_file()]
        if out_of_reach := [file for file in missing if file not in urls or not download]:
            raise UserError(self._missing(folder / out_of_reach[0].name, expects_own=out_of_reach[0] not in urls))
        wanted = urls if force_download else {file: urls[file] for file in missing}
        if wanted and download:
            download_files(wanted, folder, self.card.title.en, self.card.source_url, replace=force_download)
        digests = {split: file_sha256(path) for split, path in paths.items()}
        for split, file in self.files.items():
            self.check(paths[split], file, digests[split])
        return CorpusFiles(folder, digests)

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
        """Rows as blocks of bounded size: the columns of `features`, a class by its name or its number.

        Raises:
            UserError: a row does not fit, such as one with an unknown label.
        """
        from datasets import Dataset

        features, numbered = self.features(), enumerate(rows, start=1)
        while block := list(islice(numbered, BLOCK_SIZE)):
            for number, row in block:
                try:
                    features.encode_example(row)
                except (KeyError, TypeError, ValueError) as error:
                    raise UserError(f"{path}, example {number}: {error}; found {row}") from error
            yield Dataset.from_list([row for _, row in block], features=features)

    def read_blocks(self, files: CorpusFiles) -> dict[str, Iterator[Dataset]]:
        """Read each split block by block, so that memory does not grow with the files."""
        return {split: self.read_file(files.folder / file.name) for split, file in self.files.items()}

    def read(self, files: CorpusFiles) -> DatasetDict:
        """Read all splits into memory."""
        from datasets import DatasetDict, concatenate_datasets

        return DatasetDict(
            {split: concatenate_datasets(list(blocks)) for split, blocks in self.read_blocks(files).items()}
        )

    def describe(self, files: CorpusFiles) -> dict[str, Any]:
        """Origin of the data, for run.json."""
        return {"name": self.name, "sha256": files.sha256}
