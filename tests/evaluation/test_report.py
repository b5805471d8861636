"""The tables that a person reads at the end of a run and of an evaluation."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from support import TASK, runs

from pipeline.evaluation.report import closing_table, evaluation_table, log_arguments
from pipeline.tasks import SingleLabelClassification

VALIDATION, TEST = runs.scores(runs.VALIDATION), runs.scores(runs.TEST)


def width(line: str) -> int:
    """Columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


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
    assert len({width(line) for line in lines}) == 1


def test_columns_are_aligned_with_fullwidth_names(tmp_path: Path) -> None:
    """ＡＢＣ takes as many columns as 가나다, and is another class of width in Unicode."""
    task = SingleLabelClassification(("ＡＢＣ", "가나다"))
    scores = task.evaluate(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 1]))
    assert len({width(line) for line in table(evaluation_table({"test": scores}, task, tmp_path))}) == 1


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


def test_only_paths_that_exist_are_listed(tmp_path: Path) -> None:
    output, features = tmp_path / "run", tmp_path / "features"
    output.mkdir()
    features.mkdir()
    for name in ("results.json", "run.json", "README.md"):
        (output / name).touch()

    def listed() -> dict[str, str]:
        text = closing_table({"checkpoint_chosen_on": "test", "test": TEST}, TASK, output, features)
        return dict(line.split() for line in text.splitlines() if line.startswith("  ") and "/" in line)

    expected = {
        "model": str(output),
        "results": str(output / "results.json"),
        "settings": str(output / "run.json"),
        "card": str(output / "README.md"),
        "features": str(features),
    }
    assert listed() == expected
    (output / "runs").mkdir()  # TensorBoard's
    assert listed() == expected | {"curves": str(output / "runs")}


def test_every_argument_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        log_arguments({"data": {"max_length": 128, "cache_dir": None}, "model": {"model_name_or_path": "a-b/c-d"}})
    assert [record.getMessage().split() for record in caplog.records] == [
        ["data", "arguments:", "max_length=128,", "cache_dir=None"],
        ["model", "arguments:", "model_name_or_path=a-b/c-d"],
    ]
