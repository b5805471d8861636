"""The corpus and its features for any other experiment: `from pipeline import load_corpus, load_features`."""

from functools import partial
from pathlib import Path

from datasets import DatasetDict

from pipeline import corpus, features
from pipeline.fetch import fetch_model
from pipeline.model import load_tokenizer


def load_corpus(root_dir: str | Path = "~/Korpora", *, official_only: bool = True) -> DatasetDict:
    """NSMC as text: verified, with the two CSV layers around quoted reviews undone.

    Args:
        root_dir: Korpora's folder. What is not in its `nsmc/` is downloaded there.
        official_only: refuse files that are not byte for byte the official ones; False for data of your own.

    Returns:
        `train` (150,000 reviews) and `test` (50,000) with the columns `text` (string) and `label` (ClassLabel: 0 부정,
        1 긍정).

    Raises:
        pipeline.errors.UserError: the files cannot be had, are malformed, or are not the official ones.
    """
    return corpus.read_corpus(corpus.fetch_corpus(root_dir, official_only=official_only))


def load_features(
    model: str = "beomi/kcbert-base",
    max_seq_length: int = 128,
    *,
    root_dir: str | Path = "~/Korpora",
    cache_dir: str | Path | None = None,
    official_only: bool = True,
) -> DatasetDict:
    """NSMC as token ids of a model's tokenizer: made once, memory-mapped from the cache ever after.

    Args:
        model: a model on the Hub or a folder; only its tokenizer is needed.
        max_seq_length: longest review in tokens; longer ones are cut at the end.
        root_dir: as for `load_corpus`.
        cache_dir: where the folder is; in the cache of Hugging Face datasets by default. It is the folder that
            scripts/train.py and scripts/prepare_data.py use as well.
        official_only: as for `load_corpus`.

    Returns:
        `train` and `test` with the columns `text`, `label` and `input_ids` (lists of int32, not padded).

    Raises:
        pipeline.errors.UserError: as for `load_corpus`; or the model cannot be had, or has fewer positions.
    """
    files = corpus.fetch_corpus(root_dir, official_only=official_only)
    tokenizer = load_tokenizer(fetch_model(model, weights=False), max_seq_length)
    return features.load_features(
        partial(corpus.read_blocks, files), files.sha256, tokenizer, max_seq_length, cache_dir=cache_dir
    )[0]
