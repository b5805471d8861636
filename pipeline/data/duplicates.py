"""Equal texts within and between splits. Texts are compared letter by letter."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from datasets import Dataset

CHUNK_SIZE = 10_000  # rows in memory


def text_digests(rows: Dataset, text_columns: Sequence[str]) -> np.ndarray:
    """A number for each text or pair of texts, uint64, [rows]; equal texts have equal numbers.

    64 bits: that any two of a million different texts share a number has a probability of 3e-8.
    """
    digests = np.empty(len(rows), dtype=np.uint64)
    start = 0
    for chunk in rows.select_columns(list(text_columns)).iter(CHUNK_SIZE):
        for index, texts in enumerate(zip(*(chunk[column] for column in text_columns), strict=True), start):
            digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
            digests[index] = int.from_bytes(digest, "little")
        start += len(chunk[text_columns[0]])
    return digests


def occurs_in(rows: Dataset, others: Iterable[Dataset], text_columns: Sequence[str]) -> np.ndarray:
    """Whether the text of each row occurs in any of the other splits, bool, [rows]."""
    seen = [text_digests(other, text_columns) for other in others]
    return np.isin(text_digests(rows, text_columns), np.concatenate(seen))


def without_duplicates(train: Dataset, held_out: Iterable[Dataset], text_columns: Sequence[str]) -> Dataset:
    """The rows whose text stands in no held-out split, and of equal ones the first."""
    digests = text_digests(train, text_columns)
    first = np.zeros(len(train), dtype=bool)
    first[np.unique(digests, return_index=True)[1]] = True
    held = [text_digests(each, text_columns) for each in held_out]
    return train.select(np.flatnonzero(first & ~np.isin(digests, np.concatenate(held))))
