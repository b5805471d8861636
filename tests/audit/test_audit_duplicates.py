"""Duplicates and contradictions: every number against plain loops, on made texts."""

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audit import near
from pipeline.audit.audit import held_out
from pipeline.audit.duplicates import Texts, between_splits, contradictions, within_splits
from pipeline.audit.normalizing import normalize
from pipeline.config.parser import parse_arguments
from pipeline.data.splits import select_splits
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

pytest.importorskip("rensa")

LONG = "영화 처음부터 끝까지 지루할 틈이 없이 재미있게 봤습니다 정말 추천합니다"
TEXTS = st.sampled_from(["", "가", "가.", "가 ", "나", "나나나", "나나", "!", LONG, LONG + "!!", LONG + "요", LONG[1:]])
ROWS = st.lists(st.tuples(TEXTS, st.integers(0, 1)), min_size=1, max_size=12)


def compare(*args, **kwargs):
    return Texts.compare(*args, **kwargs)


def is_near(first: str, second: str) -> bool:
    """By the definition: 0.8 of the sets of three letters, of texts with ten letters at least, not equal."""
    first, second = normalize(first), normalize(second)
    if first == second or min(len(first), len(second)) < 10 or not (first + second).isalnum():
        return False
    ours, theirs = ({text[i : i + 3] for i in range(len(text) - 2)} for text in (first, second))
    return len(ours & theirs) >= 0.8 * len(ours | theirs)


@settings(max_examples=60, deadline=None)
@given(train=ROWS, test=ROWS)
def test_numbers_are_those_of_plain_loops(make_examples, train, test) -> None:
    splits = {"train": train, "test": test}
    texts = compare(make_examples(**splits))

    for split, about in within_splits(texts).items():
        rows = splits[split]
        seen, repeated, with_label = [], [], 0
        for number, (text, label) in enumerate(rows, start=1):
            if text in [earlier for earlier, _ in seen]:
                repeated.append(number)
            with_label += (text, label) in seen
            seen.append((text, label))
        assert about["num_examples"] == len(rows)
        assert about["num_distinct"] == len({text for text, _ in rows}) == len(rows) - about["num_repeated"]
        assert about["num_distinct_normalized"] == len({normalize(text) for text, _ in rows})
        assert about["repeated"] == repeated
        assert about["num_repeated_with_label"] == with_label
        assert about["num_near"] == sum(any(is_near(text, other) for other, _ in rows) for text, _ in rows)

    (pair,) = between_splits(texts)
    exact = [n for n, (text, _) in enumerate(test, start=1) if text in [other for other, _ in train]]
    same = [
        n for n, (text, _) in enumerate(test, start=1) if normalize(text) in [normalize(other) for other, _ in train]
    ]
    there = [{label for other, label in train if other == test[n - 1][0]} for n in exact]
    assert (pair["split"], pair["in"], pair["num_examples"]) == ("test", "train", len(test))
    assert pair["exact"] == exact
    assert pair["num_exact"] == len(exact)
    assert pair["num_long"] == sum(test[n - 1][0].startswith((LONG, LONG[1:])) for n in exact)
    assert pair["num_normalized"] == len(same)
    assert pair["normalized"] == sorted(set(same) - set(exact))
    assert pair["num_other_label"] == sum({test[n - 1][1]} != labels for n, labels in zip(exact, there, strict=True))
    looked_up = 0
    for n in exact:
        votes = Counter(label for other, label in train if other == test[n - 1][0])
        looked_up += votes[test[n - 1][1]] > votes[1 - test[n - 1][1]]
    assert pair["num_looked_up"] == looked_up
    near_rows = [
        n for n, (text, _) in enumerate(test, start=1) if n not in same and any(is_near(text, o) for o, _ in train)
    ]
    assert pair["near"] == near_rows
    assert pair["num_near"] == len(near_rows)

    for split, about in contradictions(texts).items():
        rows = train + test if split == "all" else splits[split]
        votes = {text: Counter(label for other, label in rows if other == text) for text, _ in rows}
        both = {text: count for text, count in votes.items() if len(count) > 1}
        assert about["num_texts"] == len(both)
        assert about["num_examples"] == sum(count.total() for count in both.values())
        assert about["num_outvoted"] == sum(min(count.values()) for count in both.values())
        if split != "all":
            assert about["numbers"] == [n for n, (text, _) in enumerate(rows, start=1) if text in both]
        normal = {normalize(t): {y for o, y in rows if normalize(o) == normalize(t)} for t, _ in rows}
        assert about["num_texts_normalized"] == sum(len(labels) > 1 for labels in normal.values())


def test_examples_are_shown_with_place_and_label(make_examples) -> None:
    train = [("짧다", 0), (LONG, 1), ("짧다", 0), (LONG, 0), (LONG + "요", 1)]
    texts = compare(make_examples(train=train, test=[("다르다", 1), (LONG, 0)]))
    (first, second) = within_splits(texts)["train"]["most_frequent"]
    assert {example["number"] for example in first["examples"]} == {1, 3}
    assert first["labels"] == {"no": 2}
    assert second["labels"] == {"yes": 1, "no": 1}
    (pair,) = within_splits(texts)["train"]["nearly_equal"]
    assert pair["similarity"] == round(near.similarity(normalize(LONG), normalize(LONG + "요")), 3)
    assert [example["number"] for example in pair["examples"]] == [2, 5]

    (overlap,) = between_splits(texts)
    assert overlap["examples"] == []
    (match,) = overlap["examples_other_label"]
    assert (match["split"], match["number"], match["label"], match["texts"]) == ("test", 2, "no", [LONG])
    assert [(other["split"], other["number"], other["label"]) for other in match["also"]] == [
        ("train", 2, "yes"),
        ("train", 4, "no"),
    ]
    (group,) = contradictions(texts)["all"]["longest"]
    assert group["num_examples"] == 3
    assert group["labels"] == {"no": 2, "yes": 1}
    assert [(each["split"], each["number"]) for each in group["examples"]] == [("train", 2), ("train", 4), ("test", 2)]


def test_the_longest_contradiction_is_shown_first(make_examples) -> None:
    rows = [("ㅋ", 0), ("ㅋ", 1), ("ㅋ", 1), ("ㅋ", 0), (LONG, 0), (LONG, 1)]
    about = contradictions(compare(make_examples(train=rows)))["train"]
    assert [group["examples"][0]["texts"] for group in about["longest"]] == [[LONG], ["ㅋ"]]
    assert [group["examples"][0]["texts"] for group in about["most_frequent"]] == [["ㅋ"], [LONG]]


def test_labels_of_other_tasks_are_compared_as_wholes(make_examples) -> None:
    several = MultiLabelClassification(("a", "b"))
    rows = [("가", [1.0, 0.0]), ("가", [1.0, 1.0]), ("나", [0.0, 0.0]), ("나", [0.0, 0.0])]
    about = contradictions(compare(make_examples(several, train=rows)))["train"]
    assert (about["num_texts"], about["num_examples"], about["num_outvoted"]) == (1, 2, 1)
    assert about["longest"][0]["labels"] == {"a": 1, "a|b": 1}

    rows = [("가", 1.5), ("가", 1.5), ("나", 2.0), ("나", 2.5)]
    about = contradictions(compare(make_examples(Regression(("score",)), train=rows)))["train"]
    assert about["numbers"] == [3, 4]
    assert about["longest"][0]["labels"] == {"2": 1, "2.5": 1}


def test_a_pair_is_repeated_if_both_texts_are(make_examples) -> None:
    rows = [(("가", "나"), 0), (("나", "가"), 0), (("가", "나"), 0), (("가", "나."), 0)]
    about = within_splits(compare(make_examples(train=rows)))["train"]
    assert about["repeated"] == [3]
    assert about["num_distinct"] == 3
    assert about["num_distinct_normalized"] == 2
    assert about["same_letters"][0]["examples"][1]["texts"] == ["가", "나."]


def test_three_splits_are_compared_two_by_two(make_examples) -> None:
    splits = {"train": [("가", 0)], "validation": [("가", 0), ("나", 1)], "test": [("나", 0), ("다", 1)]}
    found = between_splits(compare(make_examples(**splits)))
    assert [(each["split"], each["in"], each["num_exact"]) for each in found] == [
        ("validation", "train", 1),
        ("test", "train", 0),
        ("test", "validation", 1),
    ]
    assert found[2]["num_other_label"] == 1


@pytest.mark.parametrize("task", [SingleLabelClassification(("no", "yes")), Regression(("score",))])
def test_held_out_examples_are_those_of_training(make_examples, task) -> None:
    """Where they share a text with the rest of train, by the splits that scripts/train.py makes of the same rows."""
    kind = int if task.problem_type == "single_label_classification" else lambda value: 0.1 * value
    rows = [(f"{number % 60}번", kind(number % 2)) for number in range(200)]
    columns = Features({"text": Value("string"), "label": task.label_feature})
    corpus = Dataset.from_dict({"text": [text for text, _ in rows], "label": [y for _, y in rows]}, features=columns)
    data, _, _ = parse_arguments(["--train_file", "a.csv", "--test_fraction", "0.3", "--validation_fraction", "0.2"])
    splits = select_splits({"train": corpus}, task, 0.2, data.validation_seed, test_fraction=0.3)
    examples = make_examples(task, train=rows)
    found = held_out(examples, compare(examples), data)
    assert set(found) == {"validation", "test"}
    for split, about in found.items():
        texts = splits[split]["text"][:]
        assert about["num_examples"] == len(texts)
        assert about["num_exact"] == sum(text in set(splits["train"]["text"][:]) for text in texts) > 0


def test_numbers_are_counted_from_one_in_each_split(make_examples) -> None:
    examples = make_examples(train=[("가", 0)] * 3, test=[("나", 1)] * 2)
    assert [examples.place(row) for row in range(5)] == [
        ("train", 1),
        ("train", 2),
        ("train", 3),
        ("test", 1),
        ("test", 2),
    ]
    assert examples.numbers(np.array([3, 4]), "test") == [1, 2]
