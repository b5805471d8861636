"""Columns of a terminal, in which Korean takes two and a combining mark none."""

import pytest

from pipeline.runtime.terminal import align, display_width, shorten, wrap


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("부정", 4),
        ("ＡＢＣ", 6),  # fullwidth, another class of width in Unicode
        ("👍", 2),
        ("각", 2),  # a syllable in one character
        ("e\u0301", 1),  # a letter and a combining accent
        ("a\u200db", 2),  # a joiner
        ("", 0),
    ],
)
def test_columns_of_a_text(text: str, width: int) -> None:
    assert display_width(text) == width


@pytest.mark.parametrize("width", range(2, 12))
def test_a_text_is_cut_to_its_columns(width: int) -> None:
    text = "긍정 or 부정"
    cut = shorten(text, width)
    assert display_width(cut) <= width
    assert cut == text if width >= 12 else cut.endswith("…")
    assert display_width(cut) >= width - 1  # a Korean syllable may not fit


def test_a_text_that_fits_is_kept() -> None:
    assert shorten("긍정", 4) == "긍정"


def test_a_cell_is_one_line_without_control_characters() -> None:
    assert shorten("a\n\tb\x1b[31mc\0d", 40) == "a b [31mc d"


def test_phrases_are_wrapped_by_columns() -> None:
    assert wrap(["긍정", "ab", "c", "너무 긴 말", "d"], 10) == ["긍정  ab", "c", "너무 긴 말", "d"]
    assert wrap([], 10) == []


def test_tables_are_aligned_to_the_left_and_then_to_the_right() -> None:
    assert align([["", "train", "긍정"], ["부정", "1", "22"], ["abc", "1,000", "3"]]) == [
        "      train  긍정",
        "부정      1    22",
        "abc   1,000     3",
    ]
