"""What a run writes about its scores, and what a later evaluation reads of it."""

import importlib.metadata
import json
import logging
import platform
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import TASK

from pipeline.config.parser import parse_arguments
from pipeline.evaluation.results import (
    compare_precision,
    describe_training,
    environment,
    evaluation_settings,
    write_predictions,
)
from pipeline.modeling.files import ModelFiles

SETTINGS = {
    "corpus_name": "nsmc_layout",
    "dataset_revision": "main",
    "problem_type": "auto",
    "skip_bad_rows": False,
    "validation_fraction": 0.1,
    "test_fraction": 0.2,
    "validation_seed": 3,
    "drop_duplicates": False,
    "max_length": 48,
    "long_text": "head_tail",
    "clean": "kcbert",
    "batching": "longest",
    "per_device_eval_batch_size": 16,
    "mixed_precision": "bf16",
}


def options_of(settings: dict) -> list[str]:
    return [word for name, value in settings.items() if name != "mixed_precision" for word in (f"--{name}", str(value))]


@pytest.fixture
def description(tmp_path: Path) -> dict:
    """Of a run in `tmp_path` with `SETTINGS`."""
    words = [
        *options_of(SETTINGS),
        "--recipe",
        "quickstart",
        "--output_dir",
        str(tmp_path),
        "--cache_dir",
        str(tmp_path),
    ]
    data, _, training = parse_arguments([*words, "--corpus_root_dir", str(tmp_path)])
    outcome = SimpleNamespace(metrics={"train_loss": 0.25})
    state = SimpleNamespace(best_model_checkpoint=str(tmp_path / "checkpoint-7"), global_step=9)
    return describe_training(outcome, state, "validation", data, training, "bf16")


def test_the_description_has_the_settings_of_the_final_evaluation(description: dict) -> None:
    assert description == {
        "checkpoint_chosen_on": "validation",
        "training": {"train_loss": 0.25, "steps": 9, "best_checkpoint": "checkpoint-7"},
        "evaluated_with": SETTINGS,
    }


def test_the_description_names_no_path(description: dict, tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(description)


def test_a_run_without_checkpoints() -> None:
    data, _, training = parse_arguments(["--recipe", "quickstart"])
    state = SimpleNamespace(best_model_checkpoint=None, global_step=1)
    described = describe_training(SimpleNamespace(metrics={}), state, "test", data, training, "no")
    assert described["checkpoint_chosen_on"] == "test"
    assert described["training"]["best_checkpoint"] is None


def test_an_evaluation_gets_the_settings_of_the_training(description: dict, tmp_path: Path) -> None:
    data = {"corpus_root_dir": "/corpora", "cache_dir": None, "max_length": 7}
    (tmp_path / "results.json").write_text(json.dumps(description))
    (tmp_path / "run.json").write_text(json.dumps({"arguments": {"data": data, "training": {"seed": 1}}}))
    settings = evaluation_settings(ModelFiles("model", tmp_path, None, True))
    assert settings == {**SETTINGS, "corpus_root_dir": "/corpora", "cache_dir": None}
    parsed, _, training = parse_arguments([], defaults=settings | {"mixed_precision": None})
    assert (parsed.validation_fraction, parsed.batching) == (0.1, "longest")
    assert training.per_device_eval_batch_size == 16


def test_only_known_settings_are_taken_from_a_model(tmp_path: Path) -> None:
    """A model of the Hub must not choose where files are written."""
    evaluated_with = {"max_length": 48, "output_dir": "/etc", "corpus_root_dir": "/etc", "hub_model_id": "you/x"}
    (tmp_path / "results.json").write_text(json.dumps({"evaluated_with": evaluated_with}))
    assert evaluation_settings(ModelFiles("you/model", tmp_path, "0123", True)) == {"max_length": 48}


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "null"])
def test_a_model_without_records_leaves_the_defaults(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    if content is not None:
        (tmp_path / "results.json").write_text(content)
        (tmp_path / "run.json").write_text(content)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        assert evaluation_settings(ModelFiles("model", tmp_path, None, True)) == {}
    assert [record.getMessage().split(" has no ")[0] for record in caplog.records] == [
        str(tmp_path / "results.json"),
        str(tmp_path / "run.json"),
    ]


@pytest.mark.parametrize(("before", "now", "warned"), [("bf16", "no", True), ("no", "no", False), (None, "no", False)])
def test_another_precision_is_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, before: str | None, now: str, warned: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("pipeline"), "propagate", True)
    compare_precision(before, now)
    assert ["--mixed_precision bf16" in record.getMessage() for record in caplog.records] == [True] * warned


def test_the_environment_has_the_versions_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/train.py", "--seed", "1"])
    found = environment(2, "bf16")
    assert (found["processes"], found["mixed_precision"]) == (2, "bf16")
    assert found["command"] == "scripts/train.py --seed 1"
    assert found["python"] == platform.python_version()
    for package in ("torch", "transformers", "datasets", "Korpora", "nsmc-pipeline"):
        assert found["packages"][package] == importlib.metadata.version(package)
    assert found["device"]


def test_predictions_have_the_examples_of_their_split(tmp_path: Path) -> None:
    texts = {
        "validation": [{"text": "하나", "label": 1}],
        "test": [{"text": "둘", "label": 0}, {"text": "셋\n줄", "label": 1}],
    }
    logits = {"validation": np.array([[0.0, 2.0]]), "test": np.array([[0.0, 1.0], [3.0, 3.5]])}
    write_predictions(tmp_path / "predictions.jsonl", logits, texts, TASK)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["split"], line["text"], line["label"], line["predicted"]) for line in lines] == [
        ("validation", "하나", "긍정", "긍정"),
        ("test", "둘", "부정", "긍정"),
        ("test", "셋\n줄", "긍정", "긍정"),
    ]
    for line, split_logits in zip(lines, np.concatenate(list(logits.values())), strict=True):
        assert list(line["probabilities"].values()) == pytest.approx(np.exp(split_logits) / np.exp(split_logits).sum())
    assert list(lines[0]["probabilities"]) == ["부정", "긍정"]
    assert all("in_training" not in line for line in lines)


def test_predictions_say_which_test_texts_were_seen(tmp_path: Path) -> None:
    texts = {key: [{"text": "하나", "label": 1}, {"text": "둘", "label": 0}] for key in ("validation", "test")}
    logits = {key: np.zeros((2, 2)) for key in texts}
    write_predictions(tmp_path / "predictions.jsonl", logits, texts, TASK, np.array([True, False]))
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line.get("in_training") for line in lines] == [None, None, True, False]


def test_predictions_and_texts_must_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer"):
        write_predictions(tmp_path / "a", {"test": np.zeros((2, 2))}, {"test": [{"text": "", "label": 0}]}, TASK)
