"""Tokenizer and model from files: with the task's names, in float32, and no longer than the model reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import TASK
from transformers import AutoConfig, AutoModelForSequenceClassification, BertForSequenceClassification
from transformers import pipeline as transformers_pipeline

from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import first_position, load_config, load_model, load_tokenizer, num_positions
from pipeline.runtime.errors import UserError
from pipeline.tasks import SingleLabelClassification


def test_pretrained_weights_are_loaded(saved: Path) -> None:
    model = load_model(fetch_model(str(saved)), TASK)
    assert isinstance(model, BertForSequenceClassification)
    for name, tensor in load_file(saved / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert model.dtype == torch.float32


def test_half_precision_weights_are_trained_in_float32(folder: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    assert load_model(fetch_model(str(folder)), TASK).dtype == torch.float32


def test_the_saved_model_speaks_of_the_tasks_classes(folder: Path, tmp_path: Path) -> None:
    """Also without this project: its labels are names, in the order of their numbers."""
    load_model(fetch_model(str(folder)), TASK).save_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    assert config.id2label == {0: "부정", 1: "긍정"}
    assert config.label2id == {"부정": 0, "긍정": 1}
    assert config.problem_type == "single_label_classification"
    classify = transformers_pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    (answers,) = classify(["연기가 정말 좋았다"])
    probabilities = {answer["label"]: answer["score"] for answer in answers}
    assert set(probabilities) == {"부정", "긍정"}
    assert sum(probabilities.values()) == pytest.approx(1)


def test_a_task_of_three_classes(quickstart: tuple[Path, Path]) -> None:
    task = SingleLabelClassification(("화남", "기쁨", "슬픔"))
    model = load_model(fetch_model(str(quickstart[1]), weights=False), task)
    assert model.classifier.out_features == 3
    assert model.config.id2label == {0: "화남", 1: "기쁨", 2: "슬픔"}


def test_the_longest_length_stays_with_the_tokenizer(folder: Path) -> None:
    load_tokenizer(fetch_model(str(folder)), 64).save_pretrained(folder)
    assert load_tokenizer(fetch_model(str(folder))).model_max_length == 64


def test_from_scratch_with_another_shape(quickstart: tuple[Path, Path]) -> None:
    model = load_model(fetch_model(str(quickstart[1]), weights=False), TASK, "num_hidden_layers=1,hidden_size=32")
    assert (model.config.num_hidden_layers, model.bert.embeddings.word_embeddings.weight.shape[1]) == (1, 32)


def test_config_overrides_that_the_config_lacks(quickstart: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="n_layers"):
        load_model(fetch_model(str(quickstart[1]), weights=False), TASK, "n_layers=1")


def test_too_long_sequences_name_both_numbers(quickstart: tuple[Path, Path]) -> None:
    files = fetch_model(str(quickstart[1]), weights=False)
    assert load_tokenizer(files, 128).model_max_length == 128
    with pytest.raises(UserError, match=r"--max_length 129 is more than the 128 positions of .*model"):
        load_tokenizer(files, 129)


@pytest.mark.parametrize(
    ("model_type", "first", "count"),
    [("bert", 0, 300), ("electra", 0, 300), ("roberta", 2, 298), ("xlm-roberta", 2, 298)],
)
def test_positions(model_type: str, first: int, count: int) -> None:
    config = AutoConfig.for_model(model_type, max_position_embeddings=300, pad_token_id=1)
    assert (first_position(config), num_positions(config)) == (first, count)


@pytest.mark.parametrize("damaged", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files_are_errors_of_the_users(folder: Path, damaged: str) -> None:
    path = folder / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    load = {
        "config.json": load_config,
        "tokenizer.json": load_tokenizer,
        "model.safetensors": lambda files: load_model(files, TASK),
    }
    with pytest.raises(UserError, match=rf"(?s){folder}.* cannot be (read|loaded): "):
        load[damaged](fetch_model(str(folder)))
