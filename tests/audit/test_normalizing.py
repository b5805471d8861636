"""When two texts have the same letters."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit.normalizing import normalize


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("정말 좋아요!!!", "정말좋아요~"),
        ("ㅋㅋㅋ", "ㅋㅋㅋㅋㅋㅋ"),
        ("Good", "good."),
        ("와아아아", "와아아아아"),
        (unicodedata.normalize("NFD", "좋다"), "좋다"),
        ("a_b", "ab"),
        (" ...", "... "),
    ],
)
def test_the_same_letters(first: str, second: str) -> None:
    assert normalize(first) == normalize(second)
    assert normalize((first, "둘")) == normalize((second, "둘"))


@pytest.mark.parametrize(
    ("first", "second"), [("좋다", "조타"), ("...", "!!"), ("ㅋ", "ㅋㅋ"), ("10점", "11점"), ("", "."), ("👍", "👎")]
)
def test_other_letters(first: str, second: str) -> None:
    assert normalize(first) != normalize(second)


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
