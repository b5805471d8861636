"""Labels behind the columns of a table, in order; rows without text keep their place."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support import TASK

from pipeline.data.tables import BadRow, Block
from pipeline.inference.classifier import Prediction
from pipeline.inference.labelling import Labels, free_names, label_fields
from pipeline.tasks import create_task


class Lengths:
    """Stands in for a classifier: the label tells the text's length."""

    max_batch_tokens = 3

    def __init__(self, task=TASK) -> None:
        self.task = task
        self.seen: list = []

    def predict(self, texts: list):
        self.seen += texts
        for text in texts:
            value = min(len(text), 9) / 10
            values = np.array([1 - value, value][-self.task.num_labels :])
            yield Prediction(**vars(self.task.decide(values)), num_tokens=len(text), truncated=len(text) > 5)


def block(texts: list, first: int = 2, bad_rows: tuple = (), **columns: list) -> Block:
    table = pa.table({"id": list(range(len(texts))), "text": texts, **columns})
    return Block(table, list(range(first, first + len(texts))), list(bad_rows))


def label(blocks: list[Block], columns: tuple[str, ...] = ("text",), task=TASK) -> tuple[list[dict], Labels, Lengths]:
    classifier = Lengths(task)
    labels = Labels(classifier, blocks, blocks[0].rows.schema, columns, Path("a.csv"))
    tables = list(labels)
    assert all(table.schema == labels.schema for table in tables)
    return [row for table in tables for row in table.to_pylist()], labels, classifier


def test_columns_are_kept_and_rows_stay_in_order() -> None:
    texts = ["가" * (number % 8) for number in range(10)]
    rows, labels, classifier = label([block(texts[:7]), block(texts[7:], 9)])
    assert classifier.seen == texts
    assert [row["text"] for row in rows] == texts
    assert [row["id"] for row in rows] == [*range(7), *range(3)]
    assert [row["label"] for row in rows] == [TASK.class_names[len(text) > 5] for text in texts]
    assert [row["truncated"] for row in rows] == [len(text) > 5 for text in texts]
    assert [row[TASK.class_names[1]] for row in rows] == [len(text) / 10 for text in texts]
    assert [row["probability"] for row in rows] == [max(len(text) / 10, 1 - len(text) / 10) for text in texts]
    assert list(rows[0]) == ["id", "text", "label", "probability", *TASK.class_names, "truncated"]
    assert (labels.num_read, labels.num_labelled, labels.num_problems) == (10, 10, 0)


def test_rows_without_text_keep_their_place_and_are_named() -> None:
    bad = [BadRow(Path("a.csv"), number, "broken") for number in range(20, 29)]
    rows, labels, classifier = label([block(["가", None, "나", "다"], bad_rows=bad)])
    assert [row["label"] is None for row in rows] == [False, True, False, False]
    assert [row["truncated"] for row in rows] == [False, None, False, False]
    assert classifier.seen == ["가", "나", "다"]
    assert (labels.num_read, labels.num_labelled, labels.num_problems) == (13, 3, 10)
    assert str(labels.problems[-1]) == "a.csv, line 3: has no text in `text`"


def test_only_the_first_problems_are_kept() -> None:
    bad = [BadRow(Path("a.csv"), number, "broken") for number in range(30)]
    labels = label([block(["가"], bad_rows=bad)])[1]
    assert (labels.num_problems, len(labels.problems)) == (30, 10)


def test_numbers_are_no_texts() -> None:
    rows, labels, _ = label([block([1, 2])])
    assert [row["label"] for row in rows] == [None, None]
    assert labels.problems[0].reason == "has 1 in `text`, not text"


def test_pairs_are_read_from_two_columns() -> None:
    task = create_task("single_label_classification", TASK.class_names, ("text", "other"))
    rows, _, classifier = label([block(["가", "나"], other=["다", None])], ("text", "other"), task)
    assert classifier.seen == [("가", "다")]
    assert [row["label"] is None for row in rows] == [False, True]


def test_a_number_is_written_as_a_number() -> None:
    rows, labels, _ = label([block(["가", "가나"])], task=create_task("regression", ["점수"]))
    assert [(row["label"], row["truncated"]) for row in rows] == [
        (pytest.approx(0.1), False),
        (pytest.approx(0.2), False),
    ]
    assert labels.names() == ["label", "text"]


def test_names_that_the_input_has_get_a_suffix() -> None:
    texts = ["가"]
    rows, labels, _ = label([block(texts, label=["x"], label_predicted=["y"], 긍정=["z"])])
    assert labels.renamed == {"label": "label_predicted_predicted", "긍정": "긍정_predicted"}
    assert (rows[0]["label"], rows[0]["label_predicted"], rows[0]["긍정"]) == ("x", "y", "z")
    assert rows[0]["label_predicted_predicted"] in TASK.class_names
    assert labels.names() == ["label_predicted_predicted", "probability", "text"]
    odd = create_task("single_label_classification", ["label", "truncated"])
    assert free_names(label_fields(odd).names, []) == [
        *("label", "probability", "label_predicted", "truncated", "truncated_predicted")
    ]
