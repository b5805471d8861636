"""The tables that a person reads at the end of a run and of an evaluation."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import TASK, runs

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.evaluation.report import (
    closing_table,
    describe_examples,
    describe_labels,
    describe_model,
    evaluation_table,
    label_table,
    log_arguments,
    opening_screen,
)
from pipeline.runtime.terminal import display_width
from pipeline.tasks import SingleLabelClassification, create_task

VALIDATION, TEST = runs.scores(runs.VALIDATION), runs.scores(runs.TEST)


def table(text: str) -> list[str]:
    return text.strip("\n").split("\n\n")[0].split("\n")


def test_every_score_is_in_its_row_and_column(tmp_path: Path) -> None:
    header, *rows = table(evaluation_table({"validation": VALIDATION, "test": TEST}, TASK, tmp_path))
    assert header.split() == ["validation", "test"]
    found = {" ".join(row.split()[:-2]): row.split()[-2:] for row in rows}
    expected = dict(TASK.table_rows(VALIDATION))
    assert found == {name.strip(): [expected[name], value] for name, value in TASK.table_rows(TEST)}
    assert found["precision 부정"][0] == f"{50 / 53:.4f}"
    assert found["recall 부정"][0] == f"{50 / 61:.4f}"


def test_columns_are_aligned_with_korean_names(tmp_path: Path) -> None:
    lines = table(evaluation_table({"validation": VALIDATION, "test": TEST}, TASK, tmp_path))
    assert any("부정" in line for line in lines)
    assert len({display_width(line) for line in lines}) == 1


def test_columns_are_aligned_with_fullwidth_names(tmp_path: Path) -> None:
    """ＡＢＣ takes as many columns as 가나다, and is another class of width in Unicode."""
    task = SingleLabelClassification(("ＡＢＣ", "가나다"))
    scores = task.evaluate(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 1]))
    assert len({display_width(line) for line in table(evaluation_table({"test": scores}, task, tmp_path))}) == 1


# The confusion matrix.


def matrix(text: str) -> list[str]:
    (found,) = (block for block in text.split("\n\n") if block.startswith("Confusion matrix"))
    return found.split("\n")


def test_the_confusion_matrix_is_of_the_test_examples(tmp_path: Path) -> None:
    results = {"checkpoint_chosen_on": "validation", "validation": VALIDATION, "test": TEST}
    for text in (closing_table(results, TASK, tmp_path, tmp_path), evaluation_table(results, TASK, tmp_path)):
        assert matrix(text) == [
            "Confusion matrix of test; row: label, column: prediction",
            "      부정  긍정",
            "부정   300    20",
            "긍정    70   210",
        ]
    title, *rows = matrix(evaluation_table({"validation": VALIDATION}, TASK, tmp_path))
    assert title.startswith("Confusion matrix of validation;")
    assert rows[1].split() == ["부정", "50", "11"]


def test_a_task_without_a_confusion_matrix_has_none(tmp_path: Path) -> None:
    names = tuple(map(str, range(1000)))
    for task, references in (
        (create_task("regression", ("점수",)), np.arange(4.0)),
        (SingleLabelClassification(names), np.arange(1000)),
    ):
        logits = np.arange(4.0)[:, None] if task.num_labels == 1 else np.eye(1000)
        text = evaluation_table({"test": task.evaluate(logits, references)}, task, tmp_path)
        assert "Confusion" not in text
        assert len(text.splitlines()) < 40


def test_long_class_names_leave_the_matrix_in_shape(tmp_path: Path) -> None:
    task = SingleLabelClassification(("아주 아주 아주 아주 긴 이름", "b"))
    rows = matrix(evaluation_table({"test": task.evaluate(np.eye(2), np.array([0, 1]))}, task, tmp_path))[1:]
    assert len({display_width(row) for row in rows}) == 1
    assert display_width(rows[0]) < 40


@pytest.mark.parametrize(
    ("chosen_on", "results", "said"),
    [
        ("validation", {"validation": VALIDATION, "test": TEST}, "chosen on the validation examples"),
        ("test", {"test": TEST}, "chosen on the test examples, so the test score is biased"),
    ],
)
def test_the_split_that_chose_the_checkpoint_is_said(tmp_path: Path, chosen_on: str, results: dict, said: str) -> None:
    text = closing_table({"checkpoint_chosen_on": chosen_on, **results}, TASK, tmp_path, tmp_path)
    assert table(text)[0].split() == list(results)
    assert said in text
    diagnosed = closing_table({"checkpoint_chosen_on": chosen_on, **results}, TASK, tmp_path, tmp_path, "Only 부정.")
    assert "Only 부정." in diagnosed.splitlines()
    assert "None" not in text


def test_unseen_test_texts_have_a_column_of_their_own(tmp_path: Path) -> None:
    results = {"validation": VALIDATION, "test": {**TEST, "num_seen": 1234}, "test_unseen": VALIDATION}
    text = closing_table({"checkpoint_chosen_on": "validation", **results}, TASK, tmp_path, tmp_path)
    header, examples, *_ = table(text)
    assert header.split() == ["validation", "test", "unseen"]
    assert examples.split()[1:] == [f"{split['num_examples']:,}" for split in results.values()]
    assert "1,234 test texts stand in the training or validation examples too" in text
    results = {"checkpoint_chosen_on": "validation", "validation": VALIDATION, "test": {**TEST, "num_seen": 0}}
    assert "stand" not in closing_table(results, TASK, tmp_path, tmp_path)
    results["test"]["num_seen"] = TEST["num_examples"]
    assert "All test texts stand in" in closing_table(results, TASK, tmp_path, tmp_path)


def test_only_paths_that_exist_are_listed(tmp_path: Path) -> None:
    output, features = tmp_path / "run", tmp_path / "features"
    output.mkdir()
    features.mkdir()
    for name in ("results.json", "run.json", "README.md"):
        (output / name).touch()

    def listed() -> dict[str, str]:
        text = closing_table({"checkpoint_chosen_on": "test", "test": TEST}, TASK, output, features)
        return dict(line.split() for line in text.splitlines() if line.startswith("  ") and "/" in line)

    (output / "train.log").touch()
    expected = {
        "log": str(output / "train.log"),
        "model": str(output),
        "results": str(output / "results.json"),
        "settings": str(output / "run.json"),
        "card": str(output / "README.md"),
        "features": str(features),
    }
    assert listed() == expected
    (output / "runs").mkdir()  # TensorBoard's
    assert listed() == expected | {"curves": str(output / "runs")}


# Before training.

LABELS = {
    "train": {"num_examples": 3800, "label_counts": {"부정": 2850, "긍정": 950}},
    "test": {"num_examples": 1000, "label_counts": {"부정": 500, "긍정": 500}},
}
TOKENS = {
    "train": {"num_examples": 4000, "num_cut": 12, "tokens": {"mean": 10.94, "median": 11.0, "p95": 18.0, "max": 1290}},
    "test": {"num_examples": 1000, "num_cut": 0, "tokens": {"mean": 11.2, "median": 11.0, "p95": 19.0, "max": 26}},
}
EXAMPLE = {"texts": ["정말 재밌다"], "tokens": ["[CLS]", "정말", "재밌다", "[SEP]"], "label": "긍정"}


def screen(**changes: object) -> str:
    values = {
        **{"name": "리뷰", "task": TASK, "labels": LABELS, "statistics": TOKENS, "max_length": 64, "long_text": "head"},
        **{"report": {}, "model": "kcbert", "changed": {}, "examples": [EXAMPLE]},
        **changes,
    }
    return opening_screen(**values)


def test_the_screen_before_training() -> None:
    changed = {"max_length": 64, "learning_rate": 5e-4, "logging_steps": 25.0, "report_to": ["tensorboard", "wandb"]}
    assert (
        screen(changed=changed)
        == """
Data: 리뷰, single label classification
                    train         test
  examples          3,800        1,000
  부정      2,850  75.0 %  500  50.0 %
  긍정        950  25.0 %  500  50.0 %
  tokens in train: mean 10.9, median 11, 95 % 18, longest 1,290; 12 (0.3 %) longer than 64: cut
  tokens in test: mean 11.2, median 11, 95 % 19, longest 26; none longer than 64
Model: kcbert
Options that differ from the defaults:
  max_length=64  learning_rate=0.0005  logging_steps=25  report_to=tensorboard wandb
Examples:
  sentence: 정말 재밌다
  tokens:   [CLS] 정말 재밌다 [SEP]
  label:    긍정
"""
    )


@pytest.mark.parametrize(("long_text", "said"), [("head_tail", "cut in the middle"), ("windows", "read in windows")])
def test_what_becomes_of_long_texts(long_text: str, said: str) -> None:
    assert f"12 (0.3 %) longer than 64: {said}" in screen(long_text=long_text)


REPORT = {
    **{"text_columns": ["앞", "뒤"], "label_columns": ["감정"], "problem_type": "regression", "notes": []},
    **{"num_rows_left_out": 0, "rows_left_out": []},
}


def test_what_was_found_in_own_data_is_said() -> None:
    assert "text from" not in screen()
    lines = screen(report=REPORT).splitlines()
    assert lines[2] == "  text from 앞 and 뒤, label from 감정"
    assert lines[3].endswith("test")  # the table follows
    report = {**REPORT, "notes": [f"note {number}" for number in range(7)], "num_rows_left_out": 1234}
    lines = screen(report=report).splitlines()
    assert lines[3:10] == [
        *(f"  note {number}" for number in range(5)),
        *(
            "  ... and 2 more notes, in run.json",
            "  1,234 rows that cannot be used are left out; the first are in run.json",
        ),
    ]


def test_the_screen_is_one_screen() -> None:
    """A thousand classes, long texts in two columns, a hundred options: lines and columns are limited."""
    names = [f"아주 긴 이름을 가진 클래스 {number}" for number in range(1000)]
    labels = {
        split: {"num_examples": 5000, "label_counts": {name: index for index, name in enumerate(names)}}
        for split in ("train", "validation", "test")
    }
    example = {"texts": ["가나다 " * 1000, "b\n" * 1000], "tokens": ["##가나"] * 1000, "label": "라" * 1000}
    changed = {f"option_{number}": ["값"] * 1000 for number in range(20)}
    report = {**REPORT, "label_columns": names, "notes": ["가" * 500] * 1000}
    text = screen(labels=labels, examples=[example, example], changed=changed, report=report)
    assert len(text.splitlines()) < 60
    assert max(map(display_width, text.splitlines())) <= 100


def test_the_largest_classes_are_shown_and_the_rest_summed() -> None:
    counts = {f"class {number}": number for number in range(100)}
    lines = label_table(
        {
            "train": {"num_examples": 4950, "label_counts": counts},
            "test": {"num_examples": 100, "label_counts": dict.fromkeys(counts, 1)},
        }
    )
    assert len(lines) == 2 + 10 + 1
    assert lines[2].split() == ["class", "99", "99", "2.0", "%", "1", "1.0", "%"]
    assert lines[11].split()[:3] == ["class", "90", "90"]
    rest = sum(range(90))
    assert lines[12].split() == [
        "90",
        "other",
        "classes",
        f"{rest:,}",
        f"{100 * rest / 4950:.1f}",
        "%",
        "90",
        "90.0",
        "%",
    ]


@pytest.mark.parametrize("number", [2, 11])
def test_a_few_classes_keep_their_order(number: int) -> None:
    counts = {f"c{index}": index for index in range(number)}
    lines = label_table({"train": {"num_examples": 100, "label_counts": counts}})
    assert [line.split()[0] for line in lines[2:]] == list(counts)


def test_labels_of_each_kind_are_described() -> None:
    assert describe_labels(TASK, np.array([0, 1, 1])) == {"num_examples": 3, "label_counts": {"부정": 1, "긍정": 2}}
    several = create_task("multi_label_classification", ("a", "b"))
    described = describe_labels(several, np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=np.float32))
    assert described == {"num_examples": 4, "label_counts": {"a": 1, "b": 2}}
    assert [line.split() for line in label_table({"train": described})[2:]] == [
        ["a", "1", "25.0", "%"],
        ["b", "2", "50.0", "%"],
    ]


def test_of_numbers_the_range_is_shown() -> None:
    task = create_task("regression", ("점수",))
    labels = {
        split: describe_labels(task, np.array(values, dtype=np.float32))
        for split, values in {"train": [0, 5, 2.5, 2.5], "test": [1, 2]}.items()
    }
    assert labels["train"]["numbers"] == {"mean": 2.5, "smallest": 0, "largest": 5}
    assert [line.split() for line in label_table(labels)] == [
        ["train", "test"],
        ["examples", "4", "2"],
        ["mean", "2.5", "1.5"],
        ["smallest", "0", "1"],
        ["largest", "5", "2"],
    ]


def test_the_model_is_said_with_how_its_batches_are_made() -> None:
    model = SimpleNamespace(num_parameters=lambda: 108_920_000)
    said = [
        describe_model("a/b", model, collator, pretrained=pretrained)
        for collator, pretrained in (
            (PackingCollator(), True),
            (PaddingCollator(0), True),
            (PaddingCollator(0, 64), False),
        )
    ]
    assert said == [
        "a/b, 108.9 million parameters, packed batches, no padding",
        "a/b, 108.9 million parameters, batches padded to their longest example",
        "a/b from random weights, 108.9 million parameters, batches padded to 64",
    ]


def test_the_first_examples_are_described() -> None:
    task = create_task("single_label_classification", ("부정", "긍정"), text_columns=("앞", "뒤"))
    rows = [{"앞": f"가{index}", "뒤": "나", "input_ids": [index, 1], "label": index % 2} for index in range(3)]

    class Features(list):
        def select(self, indices: range) -> list:
            return [self[index] for index in indices]

    tokenizer = SimpleNamespace(convert_ids_to_tokens=lambda ids: [f"t{number}" for number in ids])
    described = describe_examples(Features(rows), tokenizer, task)
    assert described == [
        {"texts": ["가0", "나"], "tokens": ["t0", "t1"], "label": "부정"},
        {"texts": ["가1", "나"], "tokens": ["t1", "t1"], "label": "긍정"},
    ]
    assert len(describe_examples(Features(rows[:1]), tokenizer, task)) == 1
    assert "sentence: 가0 / 나" in screen(examples=described)


def test_every_argument_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    with caplog.at_level(logging.DEBUG, logger="pipeline"):
        log_arguments({"data": {"max_length": 128, "cache_dir": None}, "model": {"model_name_or_path": "a-b/c-d"}})
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}  # for the log file
    assert [record.getMessage().split() for record in caplog.records] == [
        ["data", "arguments:", "max_length=128,", "cache_dir=None"],
        ["model", "arguments:", "model_name_or_path=a-b/c-d"],
    ]
