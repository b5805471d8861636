"""Values of a label column -> labels: the kind of task, a stable order of classes, and a message for each mistake."""

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.labels import MAX_CLASSES, LabelEncoder, LabelSurvey, canonical, encoder_of, make_encoder
from pipeline.runtime.errors import UserError

COLUMN = ("label",)


def survey(values: Sequence[Any]) -> LabelSurvey:
    found = LabelSurvey()
    for value in values:
        if isinstance(value, list) or canonical(value):
            found.add(value)
    return found


def encoder(train: Sequence[Any], *, columns: Sequence[str] = COLUMN, **options: Any) -> LabelEncoder:
    test = options.pop("test", None)
    surveys = {"train": survey(train)} | ({"test": survey(test)} if test else {})
    return make_encoder(surveys, columns, **options)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((1, "1"), ("1", "1"), (" 1 ", "1"), (1.0, "1"), ("1.0", "1"), ("-0.0", "0"), (1.5, "1.5")),
        *((True, "true"), ("FALSE", "false"), ("긍정", "긍정"), ("a b", "a b"), ("1_000", "1_000"), ("01", "01")),
        *((None, ""), (math.nan, ""), ("", ""), ("  ", "")),
    ],
)
def test_what_means_the_same_is_equal(value: Any, text: str) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["긍정", "부정"] * 3, "single_label_classification", ("긍정", "부정")),
        ([10, 9, 2, 1] * 3, "single_label_classification", ("1", "2", "9", "10")),  # by value, not as text
        (["10", "9", "2"] * 3, "single_label_classification", ("2", "9", "10")),
        ([1.0, 0.0, 1.0], "single_label_classification", ("0", "1")),
        ([True, False, True], "single_label_classification", ("false", "true")),
        ([["화남", "슬픔"], [], ["슬픔"]], "multi_label_classification", ("슬픔", "화남")),
        (["b|a", "a", "", "c"], "multi_label_classification", ("a", "b", "c")),
        ([["a|b"], ["c"]], "multi_label_classification", ("a|b", "c")),  # in a list nothing separates
        ([0.5, 1, 2], "regression", ("label",)),
        (["0.5", "1", "2"], "regression", ("label",)),
    ],
)
def test_the_kind_of_task_and_its_classes(values: list, kind: str, classes: tuple[str, ...]) -> None:
    found = encoder(values)
    assert (found.problem_type, found.class_names) == (kind, classes)


def test_a_kind_that_is_given_is_taken() -> None:
    assert encoder([1, 2, 3], problem_type="regression").encode("2") == 2.0
    separated = encoder(["a|b", "c"], problem_type="single_label_classification")
    assert separated.class_names == ("a|b", "c")
    alone = encoder(["a", "b"], problem_type="multi_label_classification")
    assert alone.encode("b") == [0.0, 1.0]


def test_labels_are_encoded() -> None:
    assert encoder([3, 1, 2] * 2).encode("3") == 2
    assert encoder(["b|a", "c"]).encode("c | a") == [1.0, 0.0, 1.0]
    assert encoder(["b|a", "c"]).encode("") == [0.0, 0.0, 0.0]
    assert encoder([0.5, 1.5]).encode("-1e3") == -1000.0
    columns = make_encoder({}, ("화남", "슬픔"))
    assert columns.encode(["1", 0]) == [1.0, 0.0]
    assert columns.encode([True, "false"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("make", "value", "reason"),
    [
        (lambda: encoder(["a", "b"]), "", "has no label"),
        (lambda: encoder(["a", "b"]), "c", "has the label 'c'; known are a, b"),
        (lambda: encoder([0.5, 1.5]), "x", "'x', which is not a number"),
        (lambda: encoder([0.5, 1.5]), "nan", "which is not a number"),
        (lambda: make_encoder({}, ("화남", "슬픔")), [1, 2], "has '2' in `슬픔`, not 0 or 1"),
    ],
)
def test_a_label_that_does_not_fit_says_why(make: Any, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        make().encode(value)
    assert not isinstance(caught.value, UserError)  # the row is named by who reads it


def test_classes_are_renamed_in_their_order_or_ordered_by_their_names() -> None:
    assert encoder([1, 0, 1], class_names=["부정", "긍정"]).class_names == ("부정", "긍정")
    ordered = encoder(["중립", "긍정", "부정"] * 2, class_names=["부정", "중립", "긍정"])
    assert [ordered.encode(name) for name in ("부정", "중립", "긍정")] == [0, 1, 2]
    with pytest.raises(UserError, match=r"1 different names; expected one for each of 2, in this order: 0, 1"):
        encoder([1, 0], class_names=["부정"])
    with pytest.raises(UserError, match="1 different names"):
        encoder([1, 0], class_names=["부정", "부정"])


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (["a"] * 5, {}, r"all 5 training rows have the label 'a'; there is nothing to tell apart"),
        (["", None], {}, "no row has a label"),
        ([f"이것은 글 {i}" for i in range(80)], {}, r"80 distinct values in 80 rows.*look like texts"),
        ([f"t{i % 1500}" for i in range(5000)], {}, r"more than 1,000 distinct values in 5,000 rows"),
        (list(range(1500)) * 3, {}, "quantities: --problem_type regression"),
        (["a", "1"], {"problem_type": "regression"}, r"needs numbers; found 'a'"),
        ([["a"], ["b"]], {"problem_type": "single_label_classification"}, "lists of labels"),
        (["a", "b"], {"test": ["a", "c", "c", "d"]}, r"test has labels that train.*\n  c \(2 rows\)\n  d"),
        (["a|b", "b"], {"test": ["a|c"]}, r"\n  c \(1 rows\)"),
    ],
)  # fmt: skip
def test_values_that_are_no_classes_are_refused(values: list, options: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        encoder(values, **options)
    assert "--label_column label" in str(caught.value)


def test_several_columns_are_several_labels() -> None:
    with pytest.raises(UserError, match="a b are 2 columns, which is multi_label_classification, not regression"):
        make_encoder({}, ("a", "b"), "regression")
    assert make_encoder({}, ("b", "a"), class_names=["비", "에이"]).class_names == ("비", "에이")


def test_memory_does_not_grow_with_the_values() -> None:
    found = survey([f"text {number}" for number in range(5 * MAX_CLASSES)])
    assert len(found.counts) == len(found.parts) == MAX_CLASSES + 1
    assert found.num_rows == 5 * MAX_CLASSES


def test_data_to_evaluate_on_has_the_models_labels_by_name_or_by_number() -> None:
    names = encoder_of("single_label_classification", ("부정", "긍정"), COLUMN)
    assert [names.encode(value) for value in ("긍정", 1, "0", "부정")] == [1, 1, 0, 0]
    stars = encoder_of("single_label_classification", ("1", "2", "3"), COLUMN)
    assert stars.encode(1) == 0  # a name that is a number means the name
    with pytest.raises(ValueError, match="'4'"):
        stars.encode(4)
    assert encoder_of("multi_label_classification", ("a", "b"), COLUMN).encode("b") == [0.0, 1.0]
    assert encoder_of("multi_label_classification", ("a", "b"), ("x", "y")).encode([0, 1]) == [0.0, 1.0]
    assert encoder_of("regression", ("score",), COLUMN).encode("2.5") == 2.5
    with pytest.raises(UserError, match="names 3 columns; the model has 2 labels: a, b"):
        encoder_of("multi_label_classification", ("a", "b"), ("x", "y", "z"))


SIMPLE = st.one_of(st.text(max_size=5), st.integers(-5, 5), st.floats(width=16), st.booleans(), st.none())
VALUES = st.lists(st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3)), max_size=30)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES, VALUES, st.randoms(use_true_random=False))
def test_any_values_give_an_encoder_of_all_of_them_or_a_message(train: list, test: list, order: random.Random) -> None:
    try:
        found = encoder(train, test=test)
    except UserError:
        return
    for value in train + test:
        if isinstance(value, list) or canonical(value):
            label = found.encode(value)
            if found.problem_type == "single_label_classification":
                assert found.values[label] == canonical(value)
    shuffled = order.sample(train, len(train))
    assert encoder(shuffled, test=test) == found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]),  # fractions, as transformers and our own datasets have
        ([[1, 0], [0, 1], [0, 0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),  # a number that is there twice
        ([[True, False], [False, True]], [[1.0, 0.0], [0.0, 1.0]]),
        ([[1, 0], [0, 1], [0]], [[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]),  # the numbers of classes
    ],
)
def test_lists_of_0_and_1_for_each_class(rows: list[list], expected: list[list[float]]) -> None:
    survey = LabelSurvey()
    for row in rows:
        survey.add(row)
    found = make_encoder({"train": survey}, ["label"])
    assert found.problem_type == "multi_label_classification"
    assert [found.encode(row) for row in rows] == expected
    names = make_encoder({"train": survey}, ["label"], class_names=["가", "나"])
    assert names.class_names == ("가", "나")
    assert encoder_of(names.problem_type, names.class_names, ["label"]).encode([0.0, 1.0]) == [0.0, 1.0]


@pytest.mark.parametrize("other", [[1, 0], [0, 2, 1], ["가", "나", "다"], []])
def test_lists_of_0_and_1_of_other_lengths_are_named(other: list) -> None:
    survey = LabelSurvey()
    for row in ([1, 0, 1], other):
        survey.add(row)
    with pytest.raises(UserError, match="0 and 1, one for each class, but not in every row"):
        make_encoder({"train": survey}, ["label"])
