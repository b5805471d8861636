"""The corpus and its features for other experiments: `from pipeline import load_corpus, load_features`.

Parameters have the names and the meaning of the scripts' options.
"""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.arguments import DataArguments, ModelArguments
from pipeline.config.parser import suggestion
from pipeline.prepare import cache_dir_of, create_corpus, fetch_sources, prepare
from pipeline.runtime.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_corpus(
    corpus_name: str = "nsmc",
    corpus_root_dir: str | Path = "~/Korpora",
    *,
    cache_dir: str | Path | None = None,
    **options: Any,
) -> "DatasetDict":
    """A corpus as text, verified: its splits with the columns of the texts and `label`.

    NSMC has `train` and `test` with the columns `text` (string) and `label` (int).

    Args:
        corpus_name: as `--corpus_name`.
        corpus_root_dir: Korpora's folder; missing files are downloaded there.
        cache_dir: where a corpus that is generated is written.
        options: any other option of the data: `train_file="reviews.csv"`, `label_column="hate"`, `dataset_name=...`.

    Raises:
        pipeline.runtime.errors.UserError: files are missing and cannot be downloaded, malformed, or not the known ones.
    """
    data = _data_arguments(corpus_name, corpus_root_dir, cache_dir, options)
    corpus = create_corpus(data)
    files = corpus.fetch(Path(corpus_root_dir), cache_dir_of(data))
    return corpus.resolve(files).read(files)


def load_features(
    model_name_or_path: str = "beomi/kcbert-base",
    max_length: int = 128,
    *,
    corpus_name: str = "nsmc",
    corpus_root_dir: str | Path = "~/Korpora",
    model_revision: str = "main",
    cache_dir: str | Path | None = None,
    **options: Any,
) -> "DatasetDict":
    """A corpus as token ids, built once and then memory-mapped: the folder that the scripts use as well.

    Its columns are those of `load_corpus` and `input_ids` (lists of int32, not padded); pairs of texts have
    `token_type_ids` too, if the tokenizer makes them.

    Args:
        model_name_or_path: a model on the Hub or a folder; only its tokenizer is needed.
        max_length: in tokens; longer texts are truncated.
        corpus_name, corpus_root_dir, cache_dir, options: as for `load_corpus`.
        model_revision: branch, tag or commit of the model on the Hub.

    Raises:
        pipeline.runtime.errors.UserError: as `load_corpus`; or the model is missing or has fewer positions.
    """
    data = _data_arguments(corpus_name, corpus_root_dir, cache_dir, {"max_length": max_length, **options})
    model = ModelArguments(model_name_or_path, model_revision, from_scratch=True)
    return prepare(data, fetch_sources(data, model)).features.splits


def _data_arguments(
    corpus_name: str, corpus_root_dir: str | Path, cache_dir: str | Path | None, options: dict[str, Any]
) -> DataArguments:
    known = [field.name for field in fields(DataArguments)]
    if unknown := sorted(options.keys() - set(known)):
        raise UserError(f"there is no option {unknown[0]}." + suggestion(unknown[0], known))
    lists = {field.name for field in fields(DataArguments) if "list" in str(field.type)}
    as_given: dict[str, Any] = {
        name: [str(value)] if name in lists and isinstance(value, (str, Path)) else value
        for name, value in options.items()
    }
    return DataArguments(
        corpus_name=corpus_name,
        corpus_root_dir=str(corpus_root_dir),
        cache_dir=str(cache_dir) if cache_dir else None,
        **as_given,
    )
