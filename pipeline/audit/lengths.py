"""How long the texts are, in letters and in tokens, and how many are longer than what the model reads of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipeline.audit.examples import MAX_SHOWN, Examples
from pipeline.data.tokenization import CHUNK_SIZE, TextEncoder

NUM_BINS = 40  # of the histogram
TAIL = 0.002  # share of the examples that are longer than the histogram is wide


def lengths_in_letters(examples: Examples) -> dict[str, Any]:
    """By split: mean, median, 95 % and longest, in characters; of pairs both texts together."""
    letters = np.fromiter((len("".join(text)) for text in examples.texts), np.int64, len(examples))
    return {
        "splits": _by_split(examples, letters),
        "histogram": _histogram(letters),
        "longest": _ends(examples, letters),
    }


def lengths_in_tokens(
    examples: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int, *, long_text: str, clean: str
) -> dict[str, Any]:
    """By split: mean, median, 95 % and longest, special tokens included; what is longer than `max_length`, and what the
    vocabulary does not have.

    `num_cut` examples, `share_of_tokens_cut` of all tokens, `num_with_unknown` examples with an unknown token;
    `examples_with_unknown` are those of the largest share.

    Args:
        tokenizer, max_length, long_text, clean: as for `TextEncoder`.
    """
    encoder = TextEncoder(
        tokenizer, max_length, long_text=long_text, pairs=len(examples.task.text_columns) == 2, clean=clean
    )
    counts = list(_counts(encoder, tokenizer.unk_token_id, examples.texts))
    tokens, unknown = (np.concatenate(each) for each in zip(*counts, strict=True))
    splits = _by_split(examples, tokens)
    for split, about in splits.items():
        rows = examples.rows_of(split)
        about["num_cut"] = int((tokens[rows] > max_length).sum())
        about["share_of_tokens_cut"] = float((tokens[rows] - max_length).clip(min=0).sum() / tokens[rows].sum())
        about["num_with_unknown"] = int((unknown[rows] > 0).sum())
        about["cut"] = examples.numbers(np.flatnonzero(tokens[rows] > max_length) + rows.start, split)
    share = unknown / tokens
    with_unknown = [row for row in np.argsort(-share, kind="stable")[:MAX_SHOWN].tolist() if unknown[row]]
    return {
        "splits": splits,
        "histogram": _histogram(tokens),
        "longest": _ends(examples, tokens),
        "examples_with_unknown": [examples.describe(row, unknown=int(unknown[row])) for row in with_unknown],
    }


def _counts(encoder: TextEncoder, unknown: int | None, texts: Sequence[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each chunk the tokens of every example, before anything is cut, and the unknown ones among those read."""
    for start in range(0, len(texts), CHUNK_SIZE):
        encoded = encoder.encode(texts[start : start + CHUNK_SIZE])
        is_unknown = encoded.input_ids == (-1 if unknown is None else unknown)
        example = np.repeat(np.repeat(np.arange(len(encoded.num_tokens)), encoded.num_windows), encoded.lengths)
        yield encoded.num_tokens, np.bincount(example, is_unknown, len(encoded.num_tokens)).astype(np.int64)


def _by_split(examples: Examples, lengths: np.ndarray) -> dict[str, dict[str, Any]]:
    found = {}
    for split in examples.splits:
        own = lengths[examples.rows_of(split)]
        median, p95 = np.quantile(own, [0.5, 0.95], method="inverted_cdf").tolist()
        found[split] = {"mean": round(float(own.mean()), 2), "median": median, "p95": p95, "max": int(own.max())}
    return found


def _histogram(lengths: np.ndarray) -> dict[str, Any]:
    """Counts of bins of equal width from 0 on, the last with everything beyond it."""
    widest = int(np.quantile(lengths, 1 - TAIL)) + 1
    width = max(1, -(-widest // NUM_BINS))
    counts = np.bincount(np.minimum(lengths // width, NUM_BINS - 1), minlength=1)
    return {"bin_width": width, "counts": counts.tolist()}


def _ends(examples: Examples, lengths: np.ndarray) -> list[dict[str, Any]]:
    longest = np.argsort(-lengths, kind="stable")[:MAX_SHOWN].tolist()
    return [examples.describe(row, length=int(lengths[row])) for row in longest]
