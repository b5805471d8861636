"""A series of seeds: its options, its folder, and what its scores are worth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluation.seeds import (
    check_words,
    describe_series,
    open_series,
    series_table,
    split_options,
    summarize,
)
from pipeline.runtime.errors import UserError

WORDS = ["--recipe", "quickstart", "--learning_rate", "1e-4"]


def finish(folder: Path, accuracy: dict[str, float], metric: str = "loss", chosen_on: str = "validation") -> None:
    """A finished run of two classes, with these accuracies by split; F1 is a tenth less, the loss 1 - accuracy."""
    folder.mkdir(parents=True)
    config = {"problem_type": "single_label_classification", "id2label": {0: "a", 1: "b"}}
    training = {"metric_for_best_model": metric, "greater_is_better": metric != "loss"}
    results = {
        split: {
            **{"accuracy": value, "f1_macro": value - 0.1, "loss": 1 - value},
            "per_class": {"a": {"f1": 1 - value}, "b": {"f1": value}},
        }
        for split, value in accuracy.items()
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run.json").write_text(json.dumps({"arguments": {"training": training}}))
    (folder / "results.json").write_text(json.dumps({"checkpoint_chosen_on": chosen_on, **results}))


def test_the_options_of_the_series_are_taken_out() -> None:
    options, words = split_options(
        ["--learning_rate", "1e-4", "--seeds", "3", "1", "--launcher", "a 'b c'", "--output_dir", "o", "--bf16"]
    )
    assert options.seeds == [3, 1]
    assert options.launcher == ["a", "b c"]
    assert options.output_dir == "o"
    assert words == ["--learning_rate", "1e-4", "--bf16"]
    assert split_options(["--seeds", "1", "2"])[0].launcher == ["accelerate", "launch"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "--seeds is given 0 times"),
        ("--seeds 1", "--seeds 1: expected two or more numbers from 0 on, each once"),
        ("--seeds 1 2 1", "expected two or more numbers from 0 on, each once"),
        ("--seeds 1 -1", "expected two or more numbers"),
        ("--seeds 1 2 --seeds 3 4", "--seeds is given 2 times"),
        ("--seeds 1 2 --seed 3", "--seed is not for a series of seeds: --seeds names them"),
        ("--seeds 1 2 --seed=3", "--seed is not for a series"),
        ("--seeds 1 2 --output_dir a --output_dir b", "--output_dir is given 2 times"),
        ("--seeds 1 2 --output_dir a --output_dir=b", "--output_dir is given 2 times"),
        ("--seeds 1 2 --resume_from_checkpoint auto", "--resume_from_checkpoint is not for a series"),
        ("--seeds 1 2 --overwrite_output_dir", "--overwrite_output_dir is not for a series"),
        ("--seeds 1 2 --push_to_hub", "--push_to_hub is not for a series"),
        ("--seeds 1 2 --launcher=", "--launcher is empty"),
    ],
)
def test_what_a_series_cannot_have(line: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        split_options(line.split())


def test_options_are_checked_by_the_parser_of_training() -> None:
    with pytest.raises(UserError, match="unknown option --learning_rat"):
        check_words(["--learning_rat", "1"], [1, 2], None)
    with pytest.raises(UserError, match="--output_dir is empty"):
        check_words(WORDS, [1, 2], "")
    assert check_words(WORDS, [1, 2], "here") == Path("here")
    assert check_words(WORDS, [1, 2], None) == Path("outputs/quickstart-seeds")


def test_a_series_goes_on_with_the_same_options_alone(tmp_path: Path) -> None:
    series = open_series(tmp_path, [1, 2], WORDS)
    assert series["seeds"] == [1, 2]
    assert series["options"]["learning_rate"] == 1e-4
    (tmp_path / "seeds.json").write_text(json.dumps(series))
    (tmp_path / "seed-1").mkdir()
    assert open_series(tmp_path, [1, 2], ["--learning_rate", "0.0001", "--recipe", "quickstart"]) == series
    assert open_series(tmp_path, [3, 2], WORDS)["seeds"] == [1, 2, 3]
    with pytest.raises(UserError) as caught:
        open_series(tmp_path, [1, 2], [*WORDS, "--learning_rate", "2e-4", "--num_train_epochs", "5"])
    assert "  learning_rate: 0.0001 before, now 0.0002\n" in str(caught.value)
    assert "  num_train_epochs: the default before, now 5.0\n" in str(caught.value)


@pytest.mark.parametrize("there", ["seed-1", "results.json"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(UserError, match="holds runs that are no series"):
        open_series(tmp_path, [1, 2], WORDS)


def test_mean_deviation_and_interval_by_scipy() -> None:
    values = [0.90, 0.93, 0.91, 0.95]
    found = summarize(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["interval"] == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    assert summarize([0.9]) == {"mean": 0.9, "sd": None, "interval": None}


def test_the_best_is_chosen_by_validation_alone(tmp_path: Path) -> None:
    scores = {1: (0.90, 0.97), 2: (0.94, 0.91), 3: (0.92, 0.99)}
    for seed, (validation, test) in scores.items():
        finish(tmp_path / f"seed-{seed}", {"validation": validation, "test": test})
    series = describe_series(tmp_path, [1, 2, 3, 4])
    assert series["finished"] == [1, 2, 3]
    assert series["best"] == {"seed": 2, "metric": "loss", "value": pytest.approx(0.06)}
    assert series["scores"]["test"]["accuracy"]["values"] == {"1": 0.97, "2": 0.91, "3": 0.99}
    assert series["scores"]["validation"]["f1_macro"]["mean"] == pytest.approx(0.82)
    assert set(series["scores"]) == {"validation", "test"}
    table = series_table(series, tmp_path)
    assert f"Best by validation loss, 0.0600: seed 2, {tmp_path / 'seed-2'}" in table
    row = next(line for line in table.splitlines() if line.startswith("test accuracy"))
    assert row.split()[2:7] == ["0.9700", "0.9100", "0.9900", "0.9567", "0.0416"]


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 2), ("eval_f1_macro", 2), ("f1_a", 1)])
def test_the_metric_that_selected_the_checkpoints_decides(tmp_path: Path, metric: str, best: int) -> None:
    for seed, accuracy in ((1, 0.90), (2, 0.94)):
        finish(tmp_path / f"seed-{seed}", {"validation": accuracy, "test": accuracy}, metric)
    assert describe_series(tmp_path, [1, 2])["best"]["seed"] == best


def test_none_is_best_where_test_examples_chose(tmp_path: Path) -> None:
    for seed in (1, 2):
        finish(tmp_path / f"seed-{seed}", {"test": 0.9 + seed / 100}, chosen_on="test")
    series = describe_series(tmp_path, [1, 2])
    assert series["best"] is None
    assert "none is named best" in series_table(series, tmp_path)


def test_nothing_is_finished(tmp_path: Path) -> None:
    assert describe_series(tmp_path, [1, 2]) == {"finished": [], "scores": {}, "best": None}
