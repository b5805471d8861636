"""Label errors: flipped labels come first; weak predictions accuse nobody; a run's own predictions are read."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pipeline.audit.label_errors import describe_suspects, read_predictions
from pipeline.audit.quick_model import quick_predictions
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

pytest.importorskip("cleanlab")

WORDS = {
    "sport": "축구 야구 골키퍼 홈런 경기장 감독 결승전 심판".split(),
    "food": "김치 된장 비빔밥 국수 식당 요리사 반찬 양념".split(),
    "sky": "구름 햇살 소나기 무지개 바람 눈보라 안개 천둥".split(),
}
NAMES = tuple(WORDS)


def topics(count: int, seed: int = 1) -> list[tuple[str, int]]:
    """Texts whose words tell their class."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        label = generator.randrange(len(NAMES))
        rows.append((" ".join(generator.choices(WORDS[NAMES[label]], k=6)), label))
    return rows


def flip(rows: list[tuple[str, int]], numbers: list[int]) -> list[tuple[str, int]]:
    return [
        (text, (label + 1) % len(NAMES)) if number in numbers else (text, label)
        for number, (text, label) in enumerate(rows, start=1)
    ]


def groups(examples) -> np.ndarray:
    return np.arange(len(examples))


def test_flipped_labels_come_first(make_examples) -> None:
    flipped = {"train": list(range(7, 600, 20)), "test": list(range(5, 200, 20))}
    splits = {"train": flip(topics(600), flipped["train"]), "test": flip(topics(200, seed=2), flipped["test"])}
    examples = make_examples(SingleLabelClassification(NAMES), **splits)
    predictions = quick_predictions(examples, groups(examples))
    np.testing.assert_allclose(predictions.sum(axis=1), 1, rtol=1e-6)
    found = describe_suspects(examples, predictions)
    for split, rows in splits.items():
        suspects = found[split]["suspects"]
        correct = [suspect for suspect in suspects if suspect["number"] in flipped[split]]
        assert len(correct) >= 0.9 * len(flipped[split])  # found
        assert len(correct) >= 0.9 * len(suspects)  # and few others with them
        assert all(suspect in correct for suspect in suspects[: len(flipped[split]) // 2])  # none of them at the top
        for suspect in correct:
            text, label = rows[suspect["number"] - 1]
            assert suspect["texts"] == [text]
            assert suspect["label"] == NAMES[label]
            assert suspect["suggested"] == NAMES[(label - 1) % 3]
            assert suspect["probability"] == suspect["score"] < 0.5 < suspect["probability_of_suggested"]
        scores = [suspect["score"] for suspect in found[split]["suspects"]]
        assert scores == sorted(scores)
        labels = [label for _, label in rows]
        inside = predictions[examples.rows_of(split)].argmax(axis=1)
        assert found[split]["agreement"] == pytest.approx(cohen_kappa_score(labels, inside))
        assert found[split]["accuracy"] == pytest.approx(np.mean(inside == labels))
        assert found[split]["num_suspects"] == len(suspects)


def test_no_example_is_judged_by_a_model_that_has_seen_it(make_examples) -> None:
    """Texts without anything in common, with random labels: only a model that remembers could know them."""
    generator = random.Random(3)
    rows = [
        ("".join(generator.choices("가나다라마바사아자차카타파하", k=12)), generator.randrange(2)) for _ in range(400)
    ]
    examples = make_examples(train=rows + rows, test=rows[:50])
    repeated = np.tile(np.arange(400), 2)
    predictions = quick_predictions(examples, np.concatenate([repeated, np.arange(50)]))
    right = predictions.argmax(axis=1) == examples.labels
    assert 0.4 < right[:800].mean() < 0.6
    assert right[800:].mean() > 0.95  # of test nothing is left out: it occurs in train
    weak = describe_suspects(examples, predictions)["train"]
    assert weak["suspects"] is weak["num_suspects"] is None
    assert abs(weak["agreement"]) < 0.2


def test_texts_without_letters_are_not_judged(make_examples) -> None:
    rows = [*topics(120), ("", 0), ("!!", 1), ("", 2)]
    examples = make_examples(SingleLabelClassification(NAMES), train=rows)
    found = describe_suspects(examples, quick_predictions(examples, groups(examples)))["train"]
    assert found["num_judged"] == 120
    assert not any(suspect["number"] > 120 for suspect in found["suspects"])


def test_several_labels_are_judged_class_by_class(make_examples) -> None:
    generator = random.Random(5)
    rows = []
    for _ in range(300):
        has = [float(generator.random() < 0.5) for _ in NAMES]
        words = [
            word for name, one in zip(NAMES, has, strict=True) if one for word in generator.choices(WORDS[name], k=4)
        ]
        rows.append((" ".join([*words, "그리고"]), has))
    rows[9] = (rows[9][0], [1 - rows[9][1][0], *rows[9][1][1:]])
    examples = make_examples(MultiLabelClassification(NAMES), train=rows)
    predictions = quick_predictions(examples, groups(examples))
    found = describe_suspects(examples, predictions)["train"]
    first = found["suspects"][0]
    assert first["number"] == 10
    assert first["suggested"] == ("− sport" if rows[9][1][0] else "+ sport")
    assert set(found["agreement"]) == set(NAMES)
    assert min(found["agreement"].values()) > 0.8
    assert "accuracy" not in found


def test_a_number_far_from_its_prediction_comes_first(make_examples) -> None:
    rows: list = [(text, float(label) + 0.01 * index) for index, (text, label) in enumerate(topics(200))]
    rows[20] = (rows[20][0], 30.0)
    examples = make_examples(Regression(("score",)), train=rows)
    predictions = quick_predictions(examples, groups(examples))
    exact = np.array([[value] for _, value in rows])
    exact[20] = 1.0
    found = describe_suspects(examples, exact + np.random.default_rng(1).normal(0, 0.1, exact.shape))["train"]
    assert [suspect["number"] for suspect in found["suspects"]] == [21]
    assert found["suspects"][0]["label"] == "30"
    assert "probability" not in found["suspects"][0]
    assert predictions.shape == (200, 1)
    assert describe_suspects(examples, np.zeros((200, 1)))["train"]["suspects"] is None


def test_a_class_that_is_nowhere_is_no_mistake(make_examples) -> None:
    examples = make_examples(SingleLabelClassification((*NAMES, "none")), train=topics(120))
    found = describe_suspects(examples, quick_predictions(examples, groups(examples)))["train"]
    assert found["agreement"] > 0.9


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_texts_is_no_mistake(make_examples, count: int) -> None:
    """All in one fold: there is nothing to learn from for train, and all of train for test."""
    examples = make_examples(SingleLabelClassification(NAMES), train=topics(count), test=topics(1))
    predictions = quick_predictions(examples, np.zeros(count + 1, dtype=np.int64))
    assert np.isnan(predictions[:count]).all()
    assert np.isfinite(predictions[count:]).all()
    assert set(describe_suspects(examples, predictions)) == {"test"}


# A run's own predictions.


def write(folder: Path, lines: list[dict]) -> Path:
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def line(split: str, text: str, label: int, *probabilities: float) -> dict:
    by_name = dict(zip(NAMES, probabilities, strict=True))
    return {"split": split, "text": text, "label": NAMES[label], "predicted": "food", "probabilities": by_name}


def test_stored_predictions_find_their_rows(make_examples, tmp_path: Path) -> None:
    """Validation was split off train; of equal rows each prediction has one."""
    train, test = [("가", 0), ("나", 1), ("가", 0), ("다", 2)], [("라", 1), ("가", 0)]
    examples = make_examples(SingleLabelClassification(NAMES), train=train, test=test)
    lines = [
        line("validation", "다", 2, 0.1, 0.2, 0.7),
        line("validation", "가", 0, 0.5, 0.3, 0.2),
        line("test", "가", 0, 0.6, 0.3, 0.1),
        line("test", "라", 1, 0.0, 1.0, 0.0),
    ]
    found = read_predictions(write(tmp_path, lines), examples)
    nan = [np.nan] * 3
    expected = [[0.5, 0.3, 0.2], nan, nan, [0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [0.6, 0.3, 0.1]]
    np.testing.assert_array_equal(found, expected)
    judged = describe_suspects(examples, found)
    assert {split: about["num_judged"] for split, about in judged.items()} == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line("test", "라", 1, 0, 1, 0), line("test", "없다", 0, 1, 0, 0)], "line 2: the data has no such example"),
        ([line("test", "라", 0, 0, 1, 0)], "line 1: the data has no such example"),
        ([line("test", "라", 1, 0, 1, 0)] * 2, "line 2: the data has no such example"),
        ([{"split": "test", "text": "라", "label": "food", "probabilities": {"a": 1}}], "cannot be read"),
        ([{"split": "test"}], "cannot be read"),
    ],
)
def test_predictions_of_other_data_are_refused(make_examples, tmp_path: Path, lines: list[dict], message: str) -> None:
    examples = make_examples(SingleLabelClassification(NAMES), train=[("가", 0)], test=[("라", 1)])
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path, lines), examples)


def test_a_run_without_predictions_says_how_to_write_them(make_examples, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate_model.py --model"):
        read_predictions(tmp_path, make_examples(train=[("가", 0)]))
