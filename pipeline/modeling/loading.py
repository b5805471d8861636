"""A model's files -> tokenizer and model. The only caller of `from_pretrained`."""

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
from transformers.utils import logging

from pipeline.modeling.files import ModelFiles
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

NO_CODE = {"trust_remote_code": False}  # without it, transformers asks at the terminal whether to run a model's code
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError)


def load_tokenizer(files: ModelFiles, max_length: int | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer, and check that the model has a position for each of `max_length` tokens.

    Args:
        files: of the model.
        max_length: set as the tokenizer's, so that a saved model is used with the length it was trained with; None:
            leave the tokenizer's own.

    Raises:
        UserError: the model has fewer positions, or the files cannot be read.
    """
    limit = num_positions(load_config(files))
    if max_length and max_length > limit:
        raise UserError(
            f"--max_length {max_length} is more than the {limit} positions of {files.name}. Use at most {limit}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except Exception as error:  # the tokenizers library raises plain Exception for a truncated file
        raise UserError(f"the tokenizer in {files.folder} cannot be read: {error}") from error
    if max_length:
        tokenizer.model_max_length = max_length
    return tokenizer


def load_model(
    files: ModelFiles, task: Task, config_overrides: str | None = None, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Load the classifier, or draw it at random if `files.weights` is false.

    A classification head that the files lack is drawn at random: seed torch first.

    Args:
        files: of the model.
        task: its kind and class names go into the config, so that users see them instead of LABEL_0.
        config_overrides: changes to the config, such as `num_hidden_layers=4,hidden_size=256`.
        dtype: of the weights.

    Raises:
        UserError: the files cannot be read, have no classifier, or `config_overrides` names what the config lacks.
    """
    logging.disable_progress_bar()  # the bars of loading and saving weights end before they are seen
    config = load_config(files)
    config.id2label = dict(enumerate(task.class_names))
    config.label2id = {name: label for label, name in config.id2label.items()}
    config.problem_type = task.problem_type
    try:
        if config_overrides:
            config.update_from_string(config_overrides)
        if not files.weights:
            return AutoModelForSequenceClassification.from_config(config, dtype=dtype)
        return AutoModelForSequenceClassification.from_pretrained(
            files.folder, config=config, dtype=dtype, local_files_only=True, **NO_CODE
        )
    except UNREADABLE as error:
        raise UserError(f"the model in {files.folder} cannot be loaded: {error}") from error


def load_config(files: ModelFiles) -> PreTrainedConfig:
    """Load the config.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{files.folder / 'config.json'} cannot be read: {error}") from error


def num_positions(config: PreTrainedConfig) -> int:
    """The longest input in tokens."""
    return config.max_position_embeddings - first_position(config)


def first_position(config: PreTrainedConfig) -> int:
    """The index of the first position. RoBERTa's positions start after its padding token's id (modeling_roberta.py)."""
    return config.pad_token_id + 1 if "roberta" in config.model_type else 0
