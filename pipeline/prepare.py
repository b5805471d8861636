"""The data stages in a row: the files of corpus and model, then the tokenizer and the tokenized corpus."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.arguments import DataArguments, ModelArguments
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.data.corpus import CorpusFiles, CorpusSpec
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.runtime.build_once import default_cache_dir
from pipeline.runtime.errors import UserError, collect_errors

if TYPE_CHECKING:  # slow to import; files that are missing are reported before
    from datasets import DatasetDict
    from transformers import PreTrainedTokenizerBase

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
    features: "DatasetDict"
    folder: Path

    def describe(self) -> dict[str, Any]:
        """Origin of data and model, for run.json."""
        model = self.sources.model_files
        return {
            "corpus": self.sources.corpus.describe(self.sources.corpus_files),
            "features": {"folder": str(self.folder), "num_examples": self.features.num_rows},
            "model": {"name": model.name, "commit": model.commit, "pretrained": model.weights},
        }


def fetch_sources(data: DataArguments, model: ModelArguments) -> Sources:
    """Find or download the files of corpus and model. Imports nothing slow.

    Raises:
        UserError: something is missing; one message for both.
    """
    corpus, cache_dir = get_corpus(data.corpus_name), cache_dir_of(data)
    model_name, weights = model.model_name_or_path, not model.from_scratch
    if model_name in corpus_names() and get_corpus(model_name).bundled_model:
        model_name, weights = str(get_corpus(model_name).write_model(cache_dir)), False
    names = {data.corpus_name, model.model_name_or_path} & set(corpus_names())
    for notice in {get_corpus(name).notice for name in names} - {""}:
        logger.warning(notice)
    try:
        corpus_files, model_files = collect_errors(
            partial(corpus.fetch, Path(data.corpus_root_dir), cache_dir, force_download=data.force_download),
            partial(fetch_model, model_name, model.model_revision, weights=weights),
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
    from pipeline.data.tokenization import load_features
    from pipeline.modeling.loading import load_tokenizer

    tokenizer = load_tokenizer(sources.model_files, data.max_length)
    features, folder = load_features(
        sources.corpus,
        sources.corpus_files,
        tokenizer,
        data.max_length,
        cache_dir=cache_dir_of(data),
        overwrite_cache=data.overwrite_cache,
    )
    return Prepared(sources, tokenizer, features, folder)


def cache_dir_of(data: DataArguments) -> Path:
    """The folder for tokenized corpora."""
    return Path(data.cache_dir).expanduser() if data.cache_dir else default_cache_dir()
