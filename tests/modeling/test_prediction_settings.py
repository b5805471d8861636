"""What prediction repeats of training, in the model's config."""

from dataclasses import replace

from support import TASK
from transformers import BertConfig

from pipeline.modeling.prediction_settings import (
    check_same_labels,
    keep_prediction_settings,
    prediction_settings,
    task_of_config,
)
from pipeline.tasks import MultiLabelClassification

TUNED = MultiLabelClassification(("가", "나"), ("제목", "본문"), thresholds=(0.25, 0.5), temperature=1.5)


def config_of(task) -> BertConfig:
    config = BertConfig(problem_type=task.problem_type, id2label=dict(enumerate(task.class_names)))
    keep_prediction_settings(config, task, clean="kcbert", long_text="windows")
    return config


def test_a_config_gives_its_task_back() -> None:
    config = BertConfig.from_dict(config_of(TUNED).to_dict()).to_dict()
    assert task_of_config(config) == TUNED
    settings = prediction_settings(config)
    assert (settings["clean"], settings["long_text"], settings["temperature"]) == ("kcbert", "windows", 1.5)


def test_defaults_leave_no_trace_even_of_the_model_before() -> None:
    config = config_of(TUNED)
    keep_prediction_settings(config, TASK, clean="none", long_text="head")
    assert "classifier" not in config.to_dict()
    assert prediction_settings(config.to_dict())["temperature"] == 1


def test_data_is_scored_by_what_the_model_was_tuned_to() -> None:
    assert check_same_labels(TUNED, replace(TUNED, thresholds=None, temperature=1.0)) == TUNED
    assert check_same_labels(None, TUNED) == TUNED
