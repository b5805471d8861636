"""Texts that something is odd about: empty ones, other scripts, broken encodings, remains of web pages."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.audit.examples import MAX_SHOWN, Examples

HANGUL = "가-힣"
JAMO = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\ud7b0-\ud7fb"

_LETTER = re.compile(r"[^\W\d_]")
_SYLLABLE = re.compile(f"[{HANGUL}]")
_KOREAN = re.compile(f"[{HANGUL}{JAMO}]")
_NOT_JAMO = re.compile(rf"[^\W\d_{JAMO}]")
_CONJOINING = re.compile("[\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_PRIVATE = re.compile(r"[\ue000-\uf8ff]")
_MARKUP = re.compile(
    r"&(?:[a-z]{2,8}|#\d{2,6}|#x[0-9a-f]{2,5});"  # &quot; &#39;
    r"|</?(?:a|b|br|div|em|font|i|img|li|ol|p|script|span|strong|table|td|tr|u|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_URL = re.compile(r"https?://|www\.[a-z0-9-]+\.", re.IGNORECASE)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# An e-mail address, or a Korean mobile number.
_PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.[a-z]{2,}|(?<!\d)01[016789][-. ]?\d{3,4}[-. ]?\d{4}(?!\d)", re.IGNORECASE)


def is_misread(text: str) -> bool:
    """Whether a Korean text was decoded by the wrong encoding: encoded back, it is Korean by the right one.

    UTF-8 read as Latin-1, Windows-1252 or CP949, and CP949 read as Latin-1. The whole text has to be Korean by the
    right encoding, and a text that is Korean as it stands counts only if the other reading is UTF-8, which chance
    hardly makes.
    """
    if not _NOT_ASCII.search(text):
        return False
    for wrong, right in (("latin-1", "utf-8"), ("cp1252", "utf-8"), ("cp949", "utf-8"), ("latin-1", "cp949")):
        try:
            mended = text.encode(wrong).decode(right)
        except UnicodeError:
            continue
        if len(_SYLLABLE.findall(mended)) >= 2 and (right == "utf-8" or not _KOREAN.search(text)):
            return True
    return False


CHECKS: dict[str, Callable[[str], Any]] = {
    "empty": lambda text: not text.strip(),
    "no_letters": lambda text: text.strip() and not _LETTER.search(text),
    "only_jamo": lambda text: _LETTER.search(text) and not _NOT_JAMO.search(text),
    "not_korean": lambda text: _LETTER.search(text) and not _KOREAN.search(text),
    "replacement": lambda text: "\ufffd" in text,
    "misread": is_misread,
    "decomposed": lambda text: _CONJOINING.search(text) and unicodedata.normalize("NFC", text) != text,
    "control": _CONTROL.search,
    "private": _PRIVATE.search,
    "markup": _MARKUP.search,
    "url": _URL.search,
    "personal": _PERSONAL.search,
}


def odd_texts(examples: Examples) -> dict[str, dict[str, Any]]:
    """By check: how many examples of each split it finds, their numbers, and the first of them.

    Of a pair it is enough that one text is odd. Personal data is masked in the examples: pages are passed on.
    """
    texts = [(text,) if isinstance(text, str) else text for text in examples.texts]
    found: dict[str, dict[str, Any]] = {}
    for name, check in CHECKS.items():
        odd = np.array([any(map(check, each)) for each in texts], dtype=bool)
        rows = {
            split: (np.flatnonzero(odd[examples.rows_of(split)]) + start).tolist()
            for split, start in examples.starts.items()
        }
        found[name] = {
            "num_examples": {split: len(each) for split, each in rows.items()},
            "numbers": {split: examples.numbers(each, split) for split, each in rows.items()},
            "examples": [examples.describe(row) for each in rows.values() for row in each[:MAX_SHOWN]][:MAX_SHOWN],
        }
    for example in found["personal"]["examples"]:
        example["texts"] = [_PERSONAL.sub(_masked, text) for text in example["texts"]]
    return found


def _masked(found: re.Match) -> str:
    return found[0][:2] + "•" * (len(found[0]) - 2)
