"""Which columns hold texts and labels: common names are recognized, anything else is asked for."""

import pytest

from pipeline.data.columns import choose_label_columns, choose_text_columns
from pipeline.runtime.errors import UserError


def example(*names: str) -> dict[str, str]:
    return {name: f"값 {name}" for name in names}


@pytest.mark.parametrize(
    ("columns", "texts", "labels"),
    [
        (("id", "document", "label"), ("document",), ("label",)),
        (("리뷰", "감정"), ("리뷰",), ("감정",)),
        (("Sentence1", "SENTENCE2", "gold_label"), ("Sentence1", "SENTENCE2"), ("gold_label",)),
        (("question1", "question2", "target"), ("question1", "question2"), ("target",)),
        ((" text ", "labels"), (" text ",), ("labels",)),
        (("sentence1", "sentence", "label"), ("sentence",), ("label",)),  # half a pair is no pair
    ],
)
def test_common_names_are_recognized(columns: tuple, texts: tuple, labels: tuple) -> None:
    assert choose_text_columns((), example(*columns), "a.csv") == texts
    assert choose_label_columns((), example(*columns), "a.csv") == labels


def test_what_the_user_names_is_taken() -> None:
    row = example("text", "x", "y", "label", "a", "b")
    assert choose_text_columns(("x",), row, "a.csv") == ("x",)
    assert choose_text_columns(("y", "x"), row, "a.csv") == ("y", "x")
    assert choose_label_columns(("b", "a"), row, "a.csv") == ("b", "a")


@pytest.mark.parametrize(
    ("choose", "given", "columns", "reason"),
    [
        (choose_text_columns, (), ("text", "review", "label"), "several columns may be the text: text, review. Name"),
        (choose_text_columns, (), ("sentence1", "sentence2", "text"), "sentence1 \\+ sentence2, text"),
        (choose_text_columns, (), ("body", "label"), "no column has a name by which the text is known"),
        (choose_label_columns, (), ("text", "stars"), "no column has a name by which the label is known"),
        (choose_label_columns, (), ("text", "label", "target"), "several columns may be the label: label, target"),
        (choose_text_columns, ("txt",), ("text", "label"), "--text_column txt: a.csv has no such column"),
        (choose_label_columns, ("lable",), ("text", "label"), "--label_column lable: a.csv has no such column"),
        (choose_text_columns, ("a", "b", "c"), ("a", "b", "c"), "expected one column, or the two of a pair"),
        (choose_text_columns, ("a", "a"), ("a", "b"), "expected one column, or the two of a pair"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_made_lists_the_columns(choose, given: tuple, columns: tuple, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        choose(given, example(*columns), "a.csv")
    if "expected one column" not in reason:
        for column in columns:
            assert f"{column}  값 {column}" in " ".join(str(caught.value).split(" " * 3)) or f"값 {column}" in str(
                caught.value
            )


def test_example_values_are_short_and_on_one_line() -> None:
    with pytest.raises(UserError) as caught:
        choose_text_columns((), {"body": "한 줄\n" * 100, "n": 3, "none": None}, "a.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert all(len(line) < 80 for line in lines[2:])


def test_values_of_columns_with_korean_names_are_aligned() -> None:
    with pytest.raises(UserError) as caught:
        choose_text_columns(["x"], {"제목": "가", "text1": "나"}, "a.csv")
    assert str(caught.value).splitlines()[-2:] == ["    제목   가", "    text1  나"]
