"""A resume is compared with the run that it continues: whatever decides the result is named if it differs."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.arguments import DataArguments, ModelArguments, TrainingArguments
from pipeline.config.parser import public_arguments
from pipeline.runtime.errors import UserError
from pipeline.training.checkpoints import write_manifest
from pipeline.training.resume_settings import check_resume_settings, result_settings

SOURCES = {"corpus": {"name": "nsmc", "sha256": {"train": "aa", "test": "bb"}}, "model": {"commit": "cc"}}
CONFIG = {"hidden_size": 32, "_name_or_path": "here", "transformers_version": "5.24.0"}


def settings(sources: dict = SOURCES, features: str = "nsmc-128-dd", config: dict = CONFIG, **options: Any) -> dict:
    """What decides the result of a run with the book's settings, but for these options."""
    groups = []
    for kind in (DataArguments, ModelArguments, TrainingArguments):
        given = {name: value for name, value in options.items() if name in kind.__dataclass_fields__}
        groups.append(kind(**given, **({"output_dir": "run"} if kind is TrainingArguments else {})))
    return result_settings(public_arguments(*groups), sources, features, config)


def origin(**changes: Any) -> dict[str, Any]:
    return {"processes": 1, "device": "cpu", "precision": "no", "settings": settings(), **changes}


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """A checkpoint of a run with the book's settings."""
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, {**origin(), "evaluation_due": False})
    return str(tmp_path)


CHANGES: dict[str, dict[str, Any]] = {
    name: {name: value}
    for name, value in {
        **{"corpus_name": "quickstart", "validation_fraction": 0.1, "validation_seed": 8, "max_length": 64},
        **{"batching": "longest", "model_name_or_path": "klue/roberta-base", "model_revision": "v1"},
        **{"from_scratch": True, "global_batch_size": 64, "num_train_epochs": 5, "max_steps": 100},
        **{"learning_rate": 1e-4, "gamma": 0.8, "optim": "adamw_torch", "lr_scheduler_type": "linear"},
        **{"weight_decay": 0.01, "max_grad_norm": 1.0, "adam_beta1": 0.8, "adam_beta2": 0.99},
        **{"adam_epsilon": 1e-6, "label_smoothing_factor": 0.1, "seed": 8, "data_seed": 8},
        **{"train_sampling_strategy": "sequential", "metric_for_best_model": "accuracy"},
    }.items()
}
CHANGES["config_overrides"] = {"config_overrides": "hidden_size=64", "from_scratch": True}
CHANGES["warmup_steps"] = {"warmup_steps": 10, "lr_scheduler_type": "linear"}
CHANGES["optim_args"] = {"optim_args": "a=1", "optim": "adamw_torch"}
CHANGES["lr_scheduler_kwargs"] = {"lr_scheduler_kwargs": {"num_cycles": 2}, "lr_scheduler_type": "cosine"}
CHANGES["eval_steps"] = {"eval_steps": 100, "eval_strategy": "steps", "save_strategy": "steps", "save_steps": 100}
CHANGES["eval_strategy"] = CHANGES["eval_steps"]
CHANGES["load_best_model_at_end"] = {"load_best_model_at_end": False}


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_that_decides_the_result_is_compared(checkpoint: str, name: str) -> None:
    with pytest.raises(UserError, match="was written with other settings") as error:
        check_resume_settings(checkpoint, origin(settings=settings(**CHANGES[name])), allow_changed=False)
    named = {line.strip().split(":")[0] for line in str(error.value).splitlines() if " in the checkpoint, now " in line}
    assert name in named
    assert named <= CHANGES[name].keys() | {"save_steps", "save_strategy"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"sources": {**SOURCES, "corpus": {"name": "nsmc", "sha256": {"train": "ee", "test": "bb"}}}},
            'train corpus (SHA-256): "aa" in the checkpoint, now "ee"',
        ),
        ({"sources": {**SOURCES, "model": {"commit": "ff"}}}, 'model commit: "cc" in the checkpoint, now "ff"'),
        (
            {"features": "nsmc-128-ee"},
            'features (corpus, tokenizer, length): "nsmc-128-dd" in the checkpoint, now "nsmc-128-ee"',
        ),
        ({"config": {**CONFIG, "hidden_size": 64}}, "config.hidden_size: 32 in the checkpoint, now 64"),
        ({"config": {}}, "config.hidden_size: 32 in the checkpoint, now null"),
    ],
)
def test_corpus_tokenizer_and_model_are_compared(checkpoint: str, changes: dict, line: str) -> None:
    with pytest.raises(UserError) as error:
        check_resume_settings(checkpoint, origin(settings=settings(**changes)), allow_changed=False)
    assert [text for text in str(error.value).splitlines() if "in the checkpoint" in text] == [f"  {line}"]


@pytest.mark.parametrize(
    "options",
    [
        {"cache_dir": "elsewhere", "corpus_root_dir": "elsewhere"},
        {"logging_steps": 7, "save_total_limit": 9, "per_device_eval_batch_size": 8},
        {"config": {**CONFIG, "_name_or_path": "there", "transformers_version": "5.25.0"}},
    ],
)
def test_what_does_not_decide_the_result_may_change(
    checkpoint: str, options: dict, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_resume_settings(checkpoint, origin(settings=settings(**options)), allow_changed=False)
    assert caplog.text == ""


def test_other_settings_can_be_allowed(checkpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    changed = origin(settings=settings(global_batch_size=64, gamma=0.5))
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_resume_settings(checkpoint, changed, allow_changed=True)
    assert "  global_batch_size: 32 in the checkpoint, now 64\n  gamma: 0.9 in the checkpoint, now 0.5" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("processes", 2, "with process(es) 1, now 2"),
        ("device", "cuda", "with device cpu, now cuda"),
        ("precision", "bf16", "with precision no, now bf16"),
    ],
)
def test_what_changes_only_the_rounding_is_a_warning(
    checkpoint: str, name: str, value: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pipeline"):
        check_resume_settings(checkpoint, origin(**{name: value}), allow_changed=False)
    (record,) = caplog.records
    assert said in record.getMessage()


def test_settings_survive_json() -> None:
    """They are compared with what a manifest holds."""
    assert json.loads(json.dumps(settings())) == settings()
