"""When two texts that differ are still the same text: by their letters alone."""

import re
import unicodedata

from pipeline.data.tokenization import Text

_NO_LETTERS = re.compile(r"[\W_]+")
_REPEATS = re.compile(r"(.)\1+")


def normalize(text: Text) -> Text:
    """The letters and digits of a text: NFC, lower case, without white space and punctuation, runs cut to two.

    `정말 좋아요!!!` and `정말좋아요~` are the same; so are ㅋㅋㅋ and ㅋㅋㅋㅋㅋ. A text without a letter or a digit
    stays as it is, but for white space at its ends: `...` and `!!` are not the same text.
    """
    if not isinstance(text, str):
        first, second = text
        return _normalize(first), _normalize(second)
    return _normalize(text)


def _normalize(text: str) -> str:
    letters = _NO_LETTERS.sub("", unicodedata.normalize("NFC", text).lower())
    return _REPEATS.sub(r"\1\1", letters) or text.strip()
