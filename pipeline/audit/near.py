"""Texts that are nearly the same: candidates by MinHash (Broder 1997) and banded hashing, each of them verified."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from pipeline.data.tokenization import Text

GRAM = 3  # letters
THRESHOLD = 0.8  # of the Jaccard similarity
MIN_LETTERS = 10  # of an example; of a shorter one a single letter more is already another text
# With 16 bands of 4 values, a pair of similarity 0.8 is missed once in 4,500: (1 - 0.8 ** 4) ** 16.
NUM_VALUES, NUM_BANDS, SEED = 64, 16, 7
CHUNK_SIZE = 10_000
MAX_NEIGHBOURS = 20  # a text with more is compared, but no longer compared with: templates would take quadratic time


class Near(NamedTuple):
    """Two texts that are nearly the same, the earlier one first, and their Jaccard similarity."""

    first: int
    second: int
    similarity: float


def find_near(texts: Sequence[Text]) -> list[Near]:
    """Pairs of texts whose sets of three letters in a row have a Jaccard similarity of at least 0.8.

    Both texts of a pair have to be as near. No pair is returned that is not; one is missed with the probability above,
    or if it is among more than `MAX_NEIGHBOURS` of its kind.

    Args:
        texts: distinct, normalized. Those of fewer than `MIN_LETTERS` letters, or without any, have no near ones.
    """
    from rensa import RMinHash, RMinHashLSH  # of the extra `audit`

    table = RMinHashLSH(THRESHOLD, NUM_VALUES, NUM_BANDS)
    long_enough = (index for index, text in enumerate(texts) if num_letters(text) >= MIN_LETTERS)
    found = []
    while chunk := list(islice(long_enough, CHUNK_SIZE)):
        tokens = [_tagged_grams(texts[index]) for index in chunk]
        for index, signature in zip(chunk, RMinHash.from_token_sets(tokens, NUM_VALUES, SEED), strict=True):
            near = list(islice(_verified(texts, index, sorted(table.query(signature))), MAX_NEIGHBOURS))
            found += near
            if len(near) < MAX_NEIGHBOURS:
                table.insert(index, signature)
    return found


def similarity(first: Text, second: Text) -> float:
    """The Jaccard similarity of two texts' sets of letters; of two pairs that of their less similar texts."""
    if isinstance(first, str):
        ours, theirs = grams(first), grams(str(second))
        return len(ours & theirs) / len(ours | theirs)
    return min(similarity(one, other) for one, other in zip(first, second, strict=True))


def grams(text: str) -> set[str]:
    """The letters of a text, three in a row each; of a shorter text itself."""
    return {text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1))}


def num_letters(text: Text) -> int:
    """The letters and digits of a normalized text; 0 if it has none and was left as it is."""
    letters = "".join(text)
    return len(letters) if letters.isalnum() else 0


def _tagged_grams(text: Text) -> list[str]:
    """Those of both texts of a pair in one list, told apart.

    Of disjoint sets, the similarity of the unions is at least that of the less similar sets: no pair is lost by it.
    """
    if isinstance(text, str):
        return list(grams(text))
    return [f"{tag}{gram}" for tag, each in enumerate(text) for gram in grams(each)]


def _verified(texts: Sequence[Text], index: int, candidates: Sequence[int]) -> Iterator[Near]:
    for other in candidates:
        if (found := similarity(texts[other], texts[index])) >= THRESHOLD:
            yield Near(other, index, found)
