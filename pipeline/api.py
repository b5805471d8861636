"""The corpus and its features for other experiments: `from pipeline import load_corpus, load_features`."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.arguments import DataArguments, ModelArguments
from pipeline.data.corpora import get_corpus
from pipeline.prepare import cache_dir_of, fetch_sources, prepare

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_corpus(
    corpus_name: str = "nsmc", corpus_root_dir: str | Path = "~/Korpora", *, cache_dir: str | Path | None = None
) -> "DatasetDict":
    """A corpus as text, verified: `train` and `test`, for NSMC with the columns `text` (string) and `label` (int).

    Args:
        corpus_name: as `--corpus_name`.
        corpus_root_dir: Korpora's folder; missing files are downloaded there.
        cache_dir: where a corpus that is generated is written.

    Raises:
        pipeline.runtime.errors.UserError: files are missing and cannot be downloaded, malformed, or not the known ones.
    """
    corpus = get_corpus(corpus_name)
    data = DataArguments(corpus_name=corpus_name, cache_dir=str(cache_dir) if cache_dir else None)
    return corpus.read(corpus.fetch(Path(corpus_root_dir), cache_dir_of(data)))


def load_features(
    model_name_or_path: str = "beomi/kcbert-base",
    max_length: int = 128,
    *,
    corpus_name: str = "nsmc",
    corpus_root_dir: str | Path = "~/Korpora",
    model_revision: str = "main",
    cache_dir: str | Path | None = None,
) -> "DatasetDict":
    """A corpus as token ids, built once and then memory-mapped: the folder that the scripts use as well.

    Its columns are those of `load_corpus` and `input_ids` (lists of int32, not padded).

    Args:
        model_name_or_path: a model on the Hub or a folder; only its tokenizer is needed.
        max_length: in tokens; longer texts are truncated.
        corpus_name, corpus_root_dir, cache_dir: as for `load_corpus`.
        model_revision: branch, tag or commit of the model on the Hub.

    Raises:
        pipeline.runtime.errors.UserError: as `load_corpus`; or the model is missing or has fewer positions.
    """
    data = DataArguments(
        corpus_name=corpus_name,
        corpus_root_dir=str(corpus_root_dir),
        max_length=max_length,
        cache_dir=str(cache_dir) if cache_dir else None,
    )
    model = ModelArguments(model_name_or_path, model_revision, from_scratch=True)
    return prepare(data, fetch_sources(data, model)).features
