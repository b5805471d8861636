"""The data stages in a row, as every script begins: files in place, tokenizer, features."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase

from pipeline.arguments import QUICKSTART, DataArguments, ModelArguments
from pipeline.corpus import CorpusFiles, fetch_corpus, read_blocks
from pipeline.errors import UserError, call_all
from pipeline.features import default_cache_dir, load_features
from pipeline.fetch import ModelFiles, fetch_model
from pipeline.model import load_tokenizer
from pipeline.quickstart import write_quickstart

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What training starts from."""

    corpus: CorpusFiles
    model: ModelFiles
    tokenizer: PreTrainedTokenizerBase
    features: DatasetDict
    folder: Path

    def describe(self) -> dict[str, Any]:
        """Where data and model came from, for the results."""
        return {
            "corpus": {"sha256": self.corpus.sha256, "official_nsmc": self.corpus.official},
            "features": {"folder": str(self.folder), "rows": self.features.num_rows},
            "model": {"name": self.model.name, "commit": self.model.commit, "pretrained": self.model.weights},
        }


def prepare(data: DataArguments, model: ModelArguments) -> Prepared:
    """Bring corpus and model here, then make or open the features.

    Raises:
        UserError: either cannot be had, said for both at once; or they do not fit.
    """
    cache_dir = Path(data.cache_dir).expanduser() if data.cache_dir else default_cache_dir()
    corpus_root, model_name = Path(data.corpus_root_dir), model.model_name_or_path
    own_corpus, own_model = data.corpus_name == QUICKSTART, model_name == QUICKSTART
    if own_corpus or own_model:
        root, folder = write_quickstart(cache_dir)
        corpus_root, model_name = root if own_corpus else corpus_root, str(folder) if own_model else model_name
        logger.warning("The quickstart's data and model are made by this project: its score says nothing of kcbert.")
    try:
        corpus_files, model_files = call_all(
            partial(
                fetch_corpus,
                corpus_root,
                official_only=not (own_corpus or data.allow_modified_corpus),
                force_download=data.force_download and not own_corpus,
            ),
            partial(fetch_model, model_name, model.model_revision, weights=not (model.from_scratch or own_model)),
        )
    except UserError as error:
        if "could not be downloaded" not in str(error):
            raise
        raise UserError(
            f"{error}\n\nTo see the pipeline work with no network at all:\n"
            "  accelerate launch scripts/train.py --recipe quickstart"
        ) from error
    tokenizer = load_tokenizer(model_files, data.max_seq_length)
    features, folder = load_features(
        partial(read_blocks, corpus_files),
        corpus_files.sha256,
        tokenizer,
        data.max_seq_length,
        corpus_name=data.corpus_name,
        cache_dir=cache_dir,
        overwrite_cache=data.overwrite_cache,
    )
    return Prepared(corpus_files, model_files, tokenizer, features, folder)
