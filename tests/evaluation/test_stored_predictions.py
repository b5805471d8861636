"""The predictions that a run has stored are read back as they were written."""

from pathlib import Path

import numpy as np
import pytest
from support.stored_runs import draw_logits, save_run

from pipeline.evaluation.stored_predictions import StoredPredictions, encode, read_predictions, read_rows
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

SINGLE = SingleLabelClassification(("부정", "중립", "긍정"), ("premise", "hypothesis"), temperature=2.0)
MULTI = MultiLabelClassification(("욕설", "혐오", "비꼼"), thresholds=(0.5, 0.3, 0.9))
NUMBER = Regression(("점수",))


def test_a_single_label_of_pairs(tmp_path: Path) -> None:
    logits = {"validation": draw_logits(SINGLE, 4, 1), "test": draw_logits(SINGLE, 6)}
    labels = {"validation": np.array([0, 1, 2, 0]), "test": np.array([2, 1, 0, 0, 1, 2])}
    seen = np.array([False, True, False, False, True, False])
    run = save_run(tmp_path / "run", SINGLE, logits, labels, seen)
    stored = read_predictions(run)
    assert stored.run == run
    assert stored.task == SINGLE
    assert len(stored) == 6
    assert stored.texts[2] == ("premise test 2", "hypothesis test 2")
    assert stored.labels == ["긍정", "중립", "부정", "부정", "중립", "긍정"]
    assert stored.references.tolist() == labels["test"].tolist()
    assert stored.decisions.tolist() == logits["test"].argmax(axis=1).tolist()
    assert np.array_equal(stored.probabilities, SINGLE.probabilities(logits["test"]))
    assert stored.in_training is not None
    assert stored.in_training.tolist() == seen.tolist()
    validation = read_predictions(run, "validation")
    assert validation.references.tolist() == [0, 1, 2, 0]
    assert validation.in_training is None
    assert [row["split"] for row in read_rows(run)] == ["validation"] * 4 + ["test"] * 6


def test_several_labels_with_their_thresholds(tmp_path: Path) -> None:
    logits, labels = draw_logits(MULTI, 5), np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
    stored = read_predictions(save_run(tmp_path, MULTI, {"test": logits}, {"test": labels}))
    assert stored.labels[:3] == ["", "욕설", "욕설|혐오|비꼼"]
    assert stored.references.tolist() == labels.astype(bool).tolist()
    expected = 1 / (1 + np.exp(-logits.astype(float))) >= np.array([0.5, 0.3, 0.9])
    assert stored.decisions.tolist() == expected.tolist()
    assert stored.task == MULTI


def test_numbers_keep_the_digits_of_the_prediction(tmp_path: Path) -> None:
    logits, labels = draw_logits(NUMBER, 5), np.array([0.0, 1.5, 2.25, 4.2, 5.0], dtype=np.float32)
    stored = read_predictions(save_run(tmp_path, NUMBER, {"test": logits}, {"test": labels}))
    assert stored.references.tolist() == [0.0, 1.5, 2.25, 4.2, 5.0]
    assert stored.decisions.tolist() == logits[:, 0].astype(float).tolist()


def test_a_selection_keeps_the_rows_together(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 1, 2])
    seen = np.array([True, False, False, True, False])
    stored = read_predictions(save_run(tmp_path, SINGLE, {"test": draw_logits(SINGLE, 5)}, {"test": labels}, seen))
    few = stored.select([3, 0])
    assert isinstance(few, StoredPredictions)
    assert few.texts == [stored.texts[3], stored.texts[0]]
    assert few.references.tolist() == [1, 0]
    assert few.predicted == [stored.predicted[3], stored.predicted[0]]
    assert few.probabilities.tolist() == stored.probabilities[[3, 0]].tolist()
    assert few.in_training is not None
    assert few.in_training.tolist() == [True, True]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere has no predictions.jsonl: there is no such folder"):
        read_predictions(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"evaluate_model.py --model .* writes it"):
        read_predictions(tmp_path)
    run = save_run(tmp_path / "run", SINGLE, {"test": draw_logits(SINGLE, 3)}, {"test": np.array([0, 1, 2])})
    with pytest.raises(UserError, match=r"predictions.jsonl has no examples of the split validation"):
        read_predictions(run, "validation")
    path = run / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    for broken in ("{", "[]", '{"label": "부정"}'):
        path.write_text("\n".join([lines[0], broken, lines[2]]), encoding="utf-8")
        with pytest.raises(UserError, match=r"predictions.jsonl, line 2 cannot be read"):
            read_predictions(run)
    path.write_text(lines[0].replace("hypothesis", "text"), encoding="utf-8")
    with pytest.raises(UserError, match=r"was not written by scripts/evaluate_model.py with the model in"):
        read_predictions(run)
    (run / "config.json").unlink()
    with pytest.raises(UserError, match=r"config.json cannot be read; expected the folder of a run"):
        read_predictions(run)
    with pytest.raises(UserError, match="a label is none of the model's, 부정, 중립, 긍정: '모름'"):
        encode(SINGLE, ["모름"])
