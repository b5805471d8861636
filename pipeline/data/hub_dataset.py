"""A dataset of the Hugging Face Hub, whose columns and labels are found by looking at it."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.data.corpus import Bilingual, CorpusCard, CorpusFiles
from pipeline.data.download import file_sha256
from pipeline.data.own_data import OwnData, OwnDataOptions, own_card, own_splits
from pipeline.runtime.errors import UserError

if TYPE_CHECKING:  # slow to import
    from datasets import DatasetDict

    from pipeline.data.tables import Table

logger = logging.getLogger(__name__)


class HubDataset(OwnData):
    """A dataset by its name on the Hub. `datasets` keeps it in its cache, and finds it there without a network.

    Args:
        name: in the names of folders and in cards.
        repo_id: USER/NAME.
        config_name: which configuration; None if there is one.
        revision: branch, tag or commit.
        options: how the tables are read.
    """

    def __init__(
        self, name: str, repo_id: str, config_name: str | None, revision: str, options: OwnDataOptions
    ) -> None:
        self.repo_id, self.config_name, self.revision = repo_id, config_name, revision
        super().__init__(name, _card(name, repo_id), options)
        self.loaded: DatasetDict | None = None

    def fetch(
        self, root_dir: Path, cache_dir: Path, *, download: bool = True, force_download: bool = False
    ) -> CorpusFiles:
        dataset = self._load(force_download)
        splits = own_splits(list(dataset), f"--dataset_name {self.repo_id}")
        files = {
            ours: [Path(file["filename"]) for file in dataset[theirs].cache_files] for ours, theirs in splits.items()
        }
        sha256 = {split: _digest(paths) for split, paths in files.items()}
        return CorpusFiles(next(iter(files.values()))[0].parent, sha256)

    def tables(self, files: CorpusFiles) -> "dict[str, list[Table]]":
        from pipeline.data.tables import table_of_dataset

        dataset = self._load(False)
        splits = own_splits(list(dataset), f"--dataset_name {self.repo_id}")
        name = Path(f"{self.repo_id}/{self.config_name or ''}")
        return {ours: [table_of_dataset(name / theirs, dataset[theirs])] for ours, theirs in splits.items()}

    def _load(self, force_download: bool) -> "DatasetDict":
        if self.loaded is None or force_download:
            self.loaded = _as_user_error(self.repo_id, lambda: self._load_dataset(force_download))
        return self.loaded

    def _load_dataset(self, force_download: bool) -> Any:
        from datasets import load_dataset

        mode = "force_redownload" if force_download else None
        return load_dataset(self.repo_id, self.config_name, revision=self.revision, download_mode=mode)


def _card(name: str, repo_id: str) -> CorpusCard:
    """What cards say of the dataset. `datasets` also loads folders by this option; their paths stay here."""
    if Path(repo_id).exists():
        return own_card(name, f"`{Path(repo_id).name}`")
    return replace(
        own_card(name, ""),
        about=Bilingual(f"Hugging Face Hub의 데이터셋 `{repo_id}`", f"The dataset `{repo_id}` of the Hugging Face Hub"),
        license=Bilingual("라이선스는 그 데이터셋의 페이지에 있습니다.", "Its page has its licence."),
        hub_id=repo_id,
        source_url=f"https://huggingface.co/datasets/{repo_id}",
    )


def _as_user_error(repo_id: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # the libraries raise many kinds for what a name, a network or a file can be
        text = str(error).strip().splitlines()
        raise UserError(
            f"--dataset_name {repo_id} cannot be loaded: {text[0] if text else type(error).__name__}\n"
            "  Check the name and --dataset_config_name; for a private dataset set HF_TOKEN or run `hf auth login`. "
            "Without a network, a dataset that was loaded before is found in the cache."
        ) from error


def _digest(paths: list[Path]) -> str:
    return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()
