"""The data stages in a row: the files of corpus and model, then the tokenizer and the tokenized corpus."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.arguments import DataArguments, ModelArguments
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.data.corpus import CorpusFiles, CorpusSpec
from pipeline.data.hub_dataset import HubDataset
from pipeline.data.own_data import OwnDataOptions, OwnFiles
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.runtime.build_once import default_cache_dir
from pipeline.runtime.errors import UserError, collect_errors
from pipeline.tasks import Task

if TYPE_CHECKING:  # slow to import; files that are missing are reported before
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pipeline.data.features import Features

logger = logging.getLogger(__name__)

TRY_WITHOUT_NETWORK = (
    "To see the pipeline work without a network:\n  accelerate launch scripts/train.py --recipe quickstart"
)


@dataclass(frozen=True)
class Sources:
    """The files that a run starts from, on this machine and checked."""

    corpus: CorpusSpec
    corpus_files: CorpusFiles
    model_files: ModelFiles


@dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    sources: Sources
    tokenizer: "PreTrainedTokenizerBase"
    features: "Features"

    @property
    def task(self) -> Task:
        """What is to be learnt."""
        return self.features.task

    def select_splits(self, data: DataArguments, limit: int | None = None) -> dict[str, "Dataset"]:
        """The rows that the options select, as `pipeline.data.splits.select_splits` does; at most `limit` of each."""
        from pipeline.data.splits import select_splits

        return select_splits(
            self.features.splits,
            self.task,
            data.validation_fraction,
            data.validation_seed,
            test_fraction=data.test_fraction,
            drop_duplicates=data.drop_duplicates,
            limit=limit,
        )

    def describe(self) -> dict[str, Any]:
        """Origin of data and model, for run.json. Everything that cards say of the data is in it."""
        sources, features = self.sources, self.features
        return {
            "corpus": {
                **sources.corpus.describe(sources.corpus_files),
                "task": self.task.describe(),
                "report": features.report,
            },
            "features": {
                "folder": str(features.folder),
                "num_examples": features.splits.num_rows,
                "statistics": features.statistics,
            },
            "model": {
                "name": sources.model_files.name,
                "commit": sources.model_files.commit,
                "pretrained": sources.model_files.weights,
            },
        }


def create_corpus(data: DataArguments, expected: Task | None = None) -> CorpusSpec:
    """The corpus that the options name: files, a dataset of the Hub, or one of `pipeline.data.corpora`.

    Args:
        data: the options.
        expected: the task of a model that is evaluated on own data, whose labels are then the model's.

    Raises:
        UserError: there are no such files, or the corpus has no such labels.
    """
    label_column = tuple(data.label_column or ())
    if not data.is_own_data:
        corpus = get_corpus(data.corpus_name)
        return corpus.select(" ".join(label_column)) if label_column else corpus
    options = OwnDataOptions(
        text_column=tuple(data.text_column or ()),
        label_column=label_column,
        problem_type=data.problem_type,
        class_names=tuple(data.class_names or ()),
        skip_bad_rows=data.skip_bad_rows,
        expected=expected,
    )
    if data.dataset_name:
        return HubDataset(data.name, data.dataset_name, data.dataset_config_name, data.dataset_revision, options)
    return OwnFiles(data.name, data.files, options)


def fetch_sources(data: DataArguments, model: ModelArguments, expected: Task | None = None) -> Sources:
    """Find or download the files of corpus and model. Imports nothing slow.

    Args:
        data: which corpus.
        model: which model.
        expected: as for `create_corpus`.

    Raises:
        UserError: something is missing; one message for both.
    """
    if data.files and not data.train_file and not expected:
        raise UserError(f"--{min(data.files)}_file without --train_file: there is nothing to train on.")
    cache_dir = cache_dir_of(data)
    model_name, weights = model.model_name_or_path, not model.from_scratch
    if model_name in corpus_names() and get_corpus(model_name).bundled_model:
        model_name, weights = str(get_corpus(model_name).write_model(cache_dir)), False
    used = {model.model_name_or_path, *([] if data.is_own_data else [data.corpus_name])} & set(corpus_names())
    for notice in {get_corpus(name).notice for name in used} - {""}:
        logger.warning(notice)

    def fetch_corpus() -> tuple[CorpusSpec, CorpusFiles]:
        corpus = create_corpus(data, expected)
        root_dir = Path(data.corpus_root_dir)
        return corpus, corpus.fetch(root_dir, cache_dir, force_download=data.force_download)

    try:
        (corpus, corpus_files), model_files = collect_errors(
            fetch_corpus, partial(fetch_model, model_name, model.model_revision, weights=weights, onnx=False)
        )
    except UserError as error:
        if "could not be downloaded" not in str(error):
            raise
        raise UserError(f"{error}\n\n{TRY_WITHOUT_NETWORK}") from error
    return Sources(corpus, corpus_files, model_files)


def prepare(data: DataArguments, sources: Sources) -> Prepared:
    """Load the tokenizer, and build or open the tokenized corpus.

    Raises:
        UserError: the tokenizer cannot be read or does not fit --max_length, or the cache cannot be written.
    """
    from pipeline.data.features import load_features
    from pipeline.modeling.loading import load_tokenizer

    tokenizer = load_tokenizer(sources.model_files, data.max_length)
    features = load_features(
        sources.corpus,
        sources.corpus_files,
        tokenizer,
        data.max_length,
        long_text=data.long_text,
        clean=data.clean,
        cache_dir=cache_dir_of(data),
        overwrite_cache=data.overwrite_cache,
    )
    return Prepared(sources, tokenizer, features)


def cache_dir_of(data: DataArguments) -> Path:
    """The folder for tokenized corpora."""
    return Path(data.cache_dir).expanduser() if data.cache_dir else default_cache_dir()
