"""Files and labels -> tokenizer and model. The only caller of `from_pretrained`."""

from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.errors import UserError
from pipeline.fetch import ModelFiles

NO_CODE = {"trust_remote_code": False}  # left unsaid, transformers asks at the terminal whether to run a model's code
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError)


def load_tokenizer(files: ModelFiles, max_seq_length: int | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer, and check that the model has a position for each of `max_seq_length` tokens.

    Args:
        files: where it is.
        max_seq_length: how long texts may get, which is kept with the tokenizer, so that a saved model is used with
            the length that it was trained with; None: as the tokenizer has it.

    Raises:
        UserError: the model has fewer positions, or the files cannot be read.
    """
    most = positions(load_config(files))
    if max_seq_length and max_seq_length > most:
        raise UserError(
            f"--max_seq_length {max_seq_length} is more than the {most} positions that {files.name} has. "
            f"Use at most {most}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except Exception as error:  # the Rust tokenizers raise plain Exception for a file that is cut
        raise UserError(f"the tokenizer in {files.folder} cannot be read: {error}") from error
    if max_seq_length:
        tokenizer.model_max_length = max_seq_length
    return tokenizer


def load_model(files: ModelFiles, labels: list[str], config_overrides: str | None = None) -> PreTrainedModel:
    """Load the classifier in float32, or draw it at random where `files.weights` is false.

    The classification head is always drawn at random: seed torch first.

    Args:
        files: where it is.
        labels: names of the classes, which go into the config, so that users see them and not LABEL_0.
        config_overrides: changes to the config, as `num_hidden_layers=4,hidden_size=256`.

    Raises:
        UserError: the files cannot be read, have no classifier, or `config_overrides` names what the config lacks.
    """
    config = load_config(files)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    try:
        if config_overrides:
            config.update_from_string(config_overrides)
        if not files.weights:
            return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        return AutoModelForSequenceClassification.from_pretrained(
            files.folder, config=config, dtype=torch.float32, local_files_only=True, **NO_CODE
        )
    except UNREADABLE as error:
        raise UserError(f"the model in {files.folder} cannot be loaded: {error}") from error


def load_config(files: ModelFiles) -> PreTrainedConfig:
    """Load the config, checking that it can be read."""
    try:
        return AutoConfig.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{files.folder / 'config.json'} cannot be read: {error}") from error


def positions(config: PreTrainedConfig) -> int:
    """How many tokens fit."""
    return config.max_position_embeddings - first_position(config)


def first_position(config: PreTrainedConfig) -> int:
    """The number of a text's first position. RoBERTa's come after its padding token's number (modeling_roberta.py)."""
    return config.pad_token_id + 1 if "roberta" in config.model_type else 0
