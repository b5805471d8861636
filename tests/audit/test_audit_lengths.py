"""Lengths against the tokenizer's own call, and labels against plain counts."""

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from pipeline.audit.balance import label_balance
from pipeline.audit.lengths import lengths_in_letters, lengths_in_tokens
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

TEXTS = ["재미있다", "", "정말 재미있는 영화였다 " * 3, "漢字 좋다", "최고", "영화가 지루하다 " * 10, "漢"]


def quantile(lengths: list[int], share: float) -> int:
    """The smallest length that so many examples are no longer than."""
    return next(length for length in sorted(lengths) if sum(each <= length for each in lengths) >= share * len(lengths))


@pytest.mark.parametrize("long_text", ["head", "head_tail", "windows"])
def test_tokens_are_those_of_the_tokenizer(make_examples, quickstart: tuple[Path, Path], long_text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(quickstart[1])
    splits = {"train": [(text, 1) for text in TEXTS], "test": [(text, 0) for text in TEXTS[2:4]]}
    found = lengths_in_tokens(make_examples(**splits), tokenizer, 8, long_text=long_text, clean="none")
    for split, rows in splits.items():
        lengths = [len(tokenizer(text)["input_ids"]) for text, _ in rows]
        about = found["splits"][split]
        assert about["mean"] == round(sum(lengths) / len(lengths), 2)
        assert about["median"] == quantile(lengths, 0.5)
        assert about["p95"] == quantile(lengths, 0.95)
        assert about["max"] == max(lengths)
        assert about["cut"] == [number for number, length in enumerate(lengths, start=1) if length > 8]
        assert about["num_cut"] == len(about["cut"]) > 0
        beyond = sum(max(0, length - 8) for length in lengths)
        assert about["share_of_tokens_cut"] == pytest.approx(beyond / sum(lengths))
    unknown = [tokenizer(text)["input_ids"].count(tokenizer.unk_token_id) for text in TEXTS]
    assert sum(count > 0 for count in unknown) == found["splits"]["train"]["num_with_unknown"] == 2
    shares = [count / len(tokenizer(text)["input_ids"]) for count, text in zip(unknown, TEXTS, strict=True)]
    places = sorted([(-shares[3], "train", 4), (-shares[6], "train", 7), (-shares[3], "test", 2)], key=lambda p: p[0])
    shown = found["examples_with_unknown"]
    assert [(each["split"], each["number"]) for each in shown] == [place[1:] for place in places]
    assert {each["unknown"] for each in shown} == {unknown[3], unknown[6]}
    assert found["longest"][0]["length"] == max(len(tokenizer(text)["input_ids"]) for text in TEXTS)
    assert sum(found["histogram"]["counts"]) == 9


def test_letters_of_pairs_are_counted_together(make_examples) -> None:
    found = lengths_in_letters(make_examples(train=[(("가나", "다"), 0), (("", "라"), 1)]))
    assert found["splits"]["train"] == {"mean": 2.0, "median": 1, "p95": 3, "max": 3}
    assert [each["length"] for each in found["longest"]] == [3, 1]
    assert found["histogram"] == {"bin_width": 1, "counts": [0, 1, 0, 1]}


def test_the_histogram_ends_with_all_longer_texts(make_examples) -> None:
    rows = [("가" * (1 + number % 100), 0) for number in range(1000)] + [("가" * 5000, 1)]
    found = lengths_in_letters(make_examples(train=rows))["histogram"]
    assert sum(found["counts"]) == 1001
    assert len(found["counts"]) * found["bin_width"] < 150
    assert found["counts"][1] == sum(found["bin_width"] <= len(text) < 2 * found["bin_width"] for text, _ in rows)


def test_shares_of_classes_are_compared(make_examples) -> None:
    task = SingleLabelClassification(("a", "b", "c", "d"))
    train = [("가", 0)] * 600 + [("나", 1)] * 300 + [("다", 2)] * 100
    test = [("가", 0)] * 120 + [("나", 1)] * 30 + [("다", 2)] * 50
    found = label_balance(make_examples(task, train=train, test=test))
    assert found["splits"]["train"] == {
        "num_examples": 1000,
        "counts": {"a": 600, "b": 300, "c": 100, "d": 0},
        "missing": ["d"],
        "ratio": 6.0,
        "largest": 0.6,
    }
    pooled = 150 / 1200
    error = np.sqrt(pooled * (1 - pooled) * (1 / 1000 + 1 / 200))
    assert found["difference"]["class"] == "c"
    assert found["difference"]["points"] == pytest.approx(0.15)
    assert found["difference"]["shares"] == pytest.approx([0.1, 0.25])
    assert found["difference"]["standard_errors"] == pytest.approx(0.15 / error)


def test_equal_shares_do_not_differ(make_examples) -> None:
    found = label_balance(make_examples(train=[("가", 0), ("나", 1)], test=[("가", 0), ("나", 1)]))
    assert found["difference"] == {"points": 0.0, "standard_errors": 0.0}


def test_what_has_no_meaning_is_left_out(make_examples) -> None:
    rows = [("가", [1.0, 1.0]), ("나", [0.0, 0.0]), ("다", [1.0, 0.0])]
    (several,) = label_balance(make_examples(MultiLabelClassification(("a", "b")), train=rows))["splits"].values()
    assert several == {"num_examples": 3, "counts": {"a": 2, "b": 1}, "missing": [], "ratio": 2.0, "num_without": 1}
    numbers = make_examples(Regression(("score",)), train=[("가", 1.0), ("나", 4.0)], test=[("가", 2.0)])
    found = label_balance(numbers)
    assert found["difference"] is None
    assert found["splits"]["train"] == {
        **{"num_examples": 2, "counts": {"1": 1, "4": 1}},
        **{"mean": 2.5, "std": 1.5, "smallest": 1.0, "largest": 4.0},
    }
