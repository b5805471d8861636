"""Models: found in a folder or in the Hub's cache; what is missing is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, BertForSequenceClassification

from pipeline.errors import UserError
from pipeline.fetch import ModelFiles, fetch_model
from pipeline.model import load_model, load_tokenizer, positions

LABELS = ["부정", "긍정"]


def load_both(files: ModelFiles) -> None:
    load_tokenizer(files, 16)
    load_model(files, LABELS)


@pytest.fixture
def folder(quickstart, tmp_path: Path) -> Path:
    """A small pretrained model in a folder."""
    folder = shutil.copytree(quickstart[1], tmp_path / "model")
    torch.manual_seed(0)
    load_model(fetch_model(str(folder), weights=False), LABELS).save_pretrained(folder)
    return folder


def test_pretrained_weights_are_loaded(folder: Path) -> None:
    model = load_model(fetch_model(str(folder)), LABELS)
    assert isinstance(model, BertForSequenceClassification)
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert model.dtype == torch.float32
    assert model.config.id2label == {0: "부정", 1: "긍정"}
    assert model.config.label2id == {"부정": 0, "긍정": 1}


def test_half_precision_weights_are_trained_in_float32(folder: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    assert load_model(fetch_model(str(folder)), LABELS).dtype == torch.float32


def test_the_longest_length_stays_with_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    load_tokenizer(fetch_model(str(folder)), 64).save_pretrained(folder)
    assert load_tokenizer(fetch_model(str(folder))).model_max_length == 64


def test_from_scratch_with_another_shape(folder: Path) -> None:
    model = load_model(fetch_model(str(folder), weights=False), LABELS, "num_hidden_layers=1,hidden_size=32")
    assert (model.config.num_hidden_layers, model.bert.embeddings.word_embeddings.weight.shape[1]) == (1, 32)


def test_config_overrides_that_the_config_lacks(folder: Path) -> None:
    with pytest.raises(UserError, match="n_layers"):
        load_model(fetch_model(str(folder), weights=False), LABELS, "n_layers=1")


def test_too_long_sequences_name_both_numbers(folder: Path) -> None:
    files = fetch_model(str(folder))
    load_tokenizer(files, 128)
    with pytest.raises(UserError, match=r"129 .*128 positions"):
        load_tokenizer(files, 129)


@pytest.mark.parametrize(("model_type", "expected"), [("bert", 300), ("electra", 300), ("roberta", 298)])
def test_positions(model_type: str, expected: int) -> None:
    config = AutoConfig.for_model(model_type, max_position_embeddings=300, pad_token_id=1)
    assert positions(config) == expected


@pytest.mark.parametrize(
    ("missing", "named"),
    [("config.json", "a config"), ("tokenizer.json", "a tokenizer"), ("model.safetensors", "--from_scratch")],
)
def test_missing_files_are_named(folder: Path, missing: str, named: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(UserError, match=named):
        fetch_model(str(folder))


@pytest.mark.parametrize("damaged", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_files_are_errors_of_the_users(folder: Path, damaged: str) -> None:
    path = folder / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="cannot be"):
        load_both(fetch_model(str(folder)))


@pytest.mark.parametrize("name", ["./no/such", "/no/such/folder", "~/no-such-folder", "a/b/c"])
def test_folders_that_are_not_there(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        fetch_model(name)


def test_names_that_cannot_be() -> None:
    with pytest.raises(UserError, match="neither a folder here nor a name on the Hub"):
        fetch_model("two words")


def cached(folder: Path, name: str, commit: str) -> None:
    """Lay a folder into the Hub's cache as the Hub's client does."""
    repository = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)


def test_without_a_network_the_cache_is_used(folder: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached(folder, "someone/cached", commit)
    files = fetch_model("someone/cached")
    assert files.commit == commit
    assert load_tokenizer(files, 16).is_fast
    load_model(files, LABELS)


@pytest.mark.parametrize("in_cache", ["nothing", "no_weights"])
def test_without_network_and_cache_the_message_says_what_to_do(folder: Path, in_cache: str) -> None:
    if in_cache == "no_weights":
        (folder / "model.safetensors").unlink()
        cached(folder, "someone/no_weights", "0123456789abcdef0123456789abcdef01234568")
    with pytest.raises(UserError) as caught:
        fetch_model(f"someone/{in_cache}")
    for expected in (
        f"someone/{in_cache}",
        "could not be downloaded",
        constants.ENDPOINT,
        "--model FOLDER",
    ):
        assert expected in str(caught.value)


def test_weights_are_not_needed_where_they_are_not_used(quickstart) -> None:
    files = fetch_model(str(quickstart[1]), weights=False)
    assert isinstance(files, ModelFiles)
    with pytest.raises(UserError, match="no weights"):
        fetch_model(str(quickstart[1]))


def test_the_saved_config_has_the_names(folder: Path, tmp_path: Path) -> None:
    load_model(fetch_model(str(folder)), LABELS).save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["id2label"] == {"0": "부정", "1": "긍정"}
