"""Numbers and texts as a page shows them."""

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from pipeline.pages.render import MAX_LETTERS, number, percent, readable, render_page


@pytest.mark.parametrize(
    ("share", "digits", "expected"),
    [
        (0.03142, None, "3.14\u00a0%"),
        (0.5, None, "50.0\u00a0%"),
        (0, None, "0\u00a0%"),
        (1, None, "100\u00a0%"),
        (0.25, 0, "25\u00a0%"),
        (0.00001, None, "0.00\u00a0%"),
    ],
)
def test_percent(share: float, digits: int | None, expected: str) -> None:
    assert percent(share, digits) == expected


def test_number() -> None:
    assert number(1234567) == "1,234,567"
    assert number(1.25, 1) in ("1.2", "1.3")


def test_hidden_characters_are_named_and_the_rest_is_escaped() -> None:
    assert readable("가<b>\u200b&") == '가&lt;b&gt;<span class="hidden">U+200B</span>&amp;'
    assert readable("한 줄\n다음 줄\t끝") == "한 줄\n다음 줄\t끝"
    assert escape(readable("<")) == "&lt;"  # is not escaped twice


def test_a_long_text_is_cut() -> None:
    assert readable("가" * MAX_LETTERS) == "가" * MAX_LETTERS
    shown = readable("가" * (MAX_LETTERS + 1))
    assert len(shown) == MAX_LETTERS
    assert shown.endswith("가…")


def test_a_value_that_is_missing_is_an_error_of_ours() -> None:
    with pytest.raises(UndefinedError):
        render_page("pipeline.audit", "audit.html", found={}, findings=[], num_suspects=1)
