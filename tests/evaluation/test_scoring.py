"""Splits are scored once, test with and without the texts that were seen."""

from types import SimpleNamespace

import numpy as np
import pytest
from support import TASK
from support.runs import examples

from pipeline.evaluation.scoring import score_splits


class Predicting:
    """Stands for a Trainer: the logits of each split are given, and each split may be predicted once."""

    def __init__(self, **splits: tuple[np.ndarray, np.ndarray]) -> None:
        self.splits = splits

    def predict(self, rows: object, metric_key_prefix: str) -> SimpleNamespace:
        logits, labels = self.splits.pop(metric_key_prefix)
        return SimpleNamespace(predictions=logits, label_ids=labels)


VALIDATION, TEST = examples(TASK, 200, 1), examples(TASK, 100, 2)


def score(seen: np.ndarray | None, tune: bool = False):
    return score_splits(
        Predicting(validation=VALIDATION, test=TEST), TASK, dict.fromkeys(("validation", "test")), seen=seen, tune=tune
    )


def test_unseen_texts_are_scored_by_themselves() -> None:
    seen = np.arange(100) % 10 == 3
    _, scores, logits = score(seen)
    assert list(scores) == ["validation", "test", "test_unseen"]
    assert scores["test"] == {**TASK.evaluate(*TEST), "num_seen": 10}
    kept = [index for index in range(100) if index % 10 != 3]
    assert scores["test_unseen"] == TASK.evaluate(TEST[0][kept], TEST[1][kept])
    assert logits["test"] is TEST[0]


@pytest.mark.parametrize("seen", [None, np.zeros(100, dtype=bool), np.ones(100, dtype=bool)])
def test_nothing_is_scored_twice_where_no_text_or_every_text_was_seen(seen: np.ndarray | None) -> None:
    _, scores, _ = score(seen)
    assert list(scores) == ["validation", "test"]
    assert scores["test"].get("num_seen") == (None if seen is None else seen.sum())


def test_what_is_tuned_on_validation_holds_for_test() -> None:
    sharp = VALIDATION[0] * 4, VALIDATION[1]
    task, scores, _ = score_splits(
        Predicting(validation=sharp, test=TEST), TASK, dict.fromkeys(("validation", "test")), tune=True
    )
    assert task == TASK.tune(*sharp) != TASK
    assert scores["test"] == task.evaluate(*TEST)
