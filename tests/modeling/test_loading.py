"""Tokenizer and model from files: with the task's names, in float32, and no longer than the model reads."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import TASK
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification
from transformers import pipeline as transformers_pipeline

from pipeline.modeling.files import ModelFiles, fetch_model
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


@pytest.mark.parametrize("overrides", ["n_layers=1", "num_hidden_layers=abc", "num_hidden_layers", "hidden_size=33"])
def test_config_overrides_that_do_not_fit(quickstart: tuple[Path, Path], overrides: str) -> None:
    with pytest.raises(UserError, match=f"--config_overrides {overrides}"):
        load_model(fetch_model(str(quickstart[1]), weights=False), TASK, overrides)


# Heads.


def test_a_head_of_another_number_of_labels_is_replaced(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same head for the same seed, in one line; everything else is that of the files."""
    task = SingleLabelClassification(tuple("abcdef"))
    heads = []
    for _ in range(2):
        torch.manual_seed(3)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            model = load_model(fetch_model(str(saved)), task)
        (message,) = [record.getMessage() for record in caplog.records]
        assert "classifier.weight is [2, 128], expected [6, 128]" in message
        assert "\n" not in message
        heads.append(model.classifier.weight)
    assert torch.equal(*heads)
    assert heads[0].shape == (6, 128)
    assert 0 < heads[0].std() < 1
    for name, tensor in load_file(saved / "model.safetensors").items():
        assert name.startswith("classifier.") or torch.equal(model.state_dict()[name], tensor)


def test_a_missing_head_is_drawn_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As of a model that is pretrained only; BERT's pooler, which many lack as well, is a part of its head."""
    keep(folder, lambda name: "classifier" not in name and "pooler" not in name)
    with caplog.at_level(logging.INFO):
        load_model(fetch_model(str(folder)), TASK)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "has no classification head (bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias" in message


@pytest.mark.parametrize("damage", ["another number of labels", "no head"])
def test_without_training_the_head_has_to_be_there(folder: Path, damage: str) -> None:
    """It would be drawn at random, and score accordingly."""
    load_model(fetch_model(str(folder)), TASK, new_head=False)
    task = SingleLabelClassification(tuple("abcdef")) if damage == "another number of labels" else TASK
    if damage == "no head":
        keep(folder, lambda name: not name.startswith("classifier"))
    with pytest.raises(UserError, match="it is not fine-tuned for this task"):
        load_model(fetch_model(str(folder)), task, new_head=False)


@pytest.mark.parametrize("new_head", [True, False])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: keep(folder, lambda name: "layer.1." not in name), r"bert\.encoder\.layer\.1\..* is missing"),
        (lambda folder: reshape(folder, vocab_size=77), r"word_embeddings\.weight is \[.*expected \[77, 128\]"),
        (lambda folder: reshape(folder, intermediate_size=48), "intermediate"),
    ],
)
def test_a_checkpoint_of_another_model_is_an_error(folder: Path, change: Callable, named: str, new_head: bool) -> None:
    change(folder)
    with pytest.raises(UserError, match=rf"{folder} cannot be loaded.*{named}"):
        load_model(fetch_model(str(folder)), TASK, new_head=new_head)


def keep(folder: Path, kept: Callable[[str], bool]) -> None:
    """Leave the weights in the file whose names are kept."""
    weights = load_file(folder / "model.safetensors")
    left = {name: tensor for name, tensor in weights.items() if kept(name)}
    assert 0 < len(left) < len(weights)
    save_file(left, folder / "model.safetensors", metadata={"format": "pt"})


def reshape(folder: Path, **changes: object) -> None:
    """Change the config, and not the weights."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_what_an_earlier_training_left_for_prediction_is_forgotten(folder: Path) -> None:
    reshape(folder, classifier={"long_text": "windows"})
    assert not hasattr(load_model(fetch_model(str(folder)), TASK).config, "classifier")
    assert load_model(fetch_model(str(folder)), TASK, new_head=False).config.classifier == {"long_text": "windows"}


# Kinds of model.


@pytest.mark.parametrize("model_type", ["t5", "bart", "vit"])
@pytest.mark.parametrize("load", [load_tokenizer, partial(load_model, task=TASK)])
def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path, model_type: str, load: Callable) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    files = ModelFiles("someone/model", tmp_path, None, weights=False)
    with pytest.raises(UserError, match=f"someone/model is not an encoder.*{model_type}.*Use BERT, ELECTRA, RoBERTa"):
        load(files)


def test_an_onnx_export_is_no_pytorch_model(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.onnx")
    assert fetch_model(str(folder)).weights  # for prediction
    for load in (partial(fetch_model, onnx=False), lambda name: load_model(fetch_model(name), TASK)):
        with pytest.raises(UserError, match=rf"{folder} is an ONNX export.*PyTorch"):
            load(str(folder))


def test_a_tokenizer_without_a_padding_token(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    with pytest.raises(UserError, match="no padding token"):
        load_tokenizer(fetch_model(str(folder)))


@pytest.mark.parametrize(
    ("model_type", "segments", "expected"),
    [("bert", 2, True), ("roberta", 1, False), ("deberta-v2", 0, False), ("distilbert", None, False)],
)
def test_token_types_are_made_for_models_that_tell_segments_apart(
    folder: Path, tmp_path: Path, model_type: str, segments: int | None, expected: bool
) -> None:
    """klue/roberta-base comes with BERT's tokenizer, and has no embedding for the second segment."""
    changes = {} if segments is None else {"type_vocab_size": segments}
    AutoConfig.for_model(model_type, pad_token_id=0, **changes).save_pretrained(folder)
    tokenizer = load_tokenizer(fetch_model(str(folder)))
    assert ("token_type_ids" in tokenizer("가", "나")) == expected
    tokenizer.save_pretrained(tmp_path / "saved")  # as training saves it, for whoever loads it without this project
    assert ("token_type_ids" in AutoTokenizer.from_pretrained(tmp_path / "saved")("가", "나")) == expected


def test_too_long_sequences_name_both_numbers(quickstart: tuple[Path, Path]) -> None:
    files = fetch_model(str(quickstart[1]), weights=False)
    assert load_tokenizer(files, 128).model_max_length == 128
    with pytest.raises(UserError, match=r"--max_length 129 is more than the 128 positions of .*model"):
        load_tokenizer(files, 129)


@pytest.mark.parametrize(
    ("model_type", "first", "count"),
    [
        *[("bert", 0, 300), ("electra", 0, 300), ("roberta", 2, 298), ("xlm-roberta", 2, 298), ("camembert", 2, 298)],
        *[("distilbert", 0, 300), ("modernbert", 0, 300)],
    ],
)
def test_positions(model_type: str, first: int, count: int) -> None:
    config = AutoConfig.for_model(model_type, max_position_embeddings=300, pad_token_id=1)
    assert (first_position(config), num_positions(config)) == (first, count)


def test_models_without_a_limit() -> None:
    assert num_positions(AutoConfig.for_model("xlnet")) is None


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
