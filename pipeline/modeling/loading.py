"""A model's files -> tokenizer and model. The only caller of `from_pretrained`."""

import logging
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.data.tokenization import TOKEN_TYPES
from pipeline.modeling.files import ModelFiles, require_pytorch
from pipeline.modeling.prediction_settings import KEY
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task

logger = logging.getLogger(__name__)

NO_CODE = {"trust_remote_code": False}  # without it, transformers asks at the terminal whether to run a model's code
UNREADABLE = (OSError, ValueError, RuntimeError, TypeError, EOFError, SafetensorError, UnpicklingError)
# Models whose positions start after their padding token's id (`create_position_ids_from_input_ids`).
POSITIONS_AFTER_PADDING = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "longformer", "xmod"),
    *("data2vec-text", "ibert", "luke"),
)


def load_tokenizer(files: ModelFiles, max_length: int | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer, and check that the model is a classifier with a position for each of `max_length` tokens.

    It makes `token_type_ids` only if the model tells segments apart: klue/roberta-base comes with BERT's tokenizer, and
    has an embedding for the first segment alone.

    Args:
        files: of the model.
        max_length: set as the tokenizer's, so that a saved model is used with the length it was trained with; None:
            leave the tokenizer's own.

    Raises:
        UserError: the model is no classifier or has fewer positions, or the files cannot be read.
    """
    config = load_config(files)
    require_encoder(files, config)
    limit = num_positions(config)
    if max_length and limit and max_length > limit:
        raise UserError(
            f"--max_length {max_length} is more than the {limit} positions of {files.name}. Use at most {limit}."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except Exception as error:  # the tokenizers library raises plain Exception for a truncated file
        raise UserError(f"the tokenizer in {files.folder} cannot be read: {error}") from error
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"the tokenizer in {files.folder} has no padding token, which batches of texts need. Name one as "
            "`pad_token` in its tokenizer_config.json, and its id as `pad_token_id` in config.json."
        )
    if max_length:
        tokenizer.model_max_length = max_length
    if TOKEN_TYPES in tokenizer.model_input_names and (getattr(config, "type_vocab_size", None) or 0) < 2:
        names = [name for name in tokenizer.model_input_names if name != TOKEN_TYPES]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the latter is saved
    return tokenizer


def load_model(
    files: ModelFiles,
    task: Task,
    config_overrides: str | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    new_head: bool = True,
) -> PreTrainedModel:
    """Load the classifier, or draw it at random if `files.weights` is false.

    A classification head that the files lack, or that has another number of labels, is drawn at random, which is
    logged: seed torch first. Any other weight has to be in the files, and fit.

    Args:
        files: of the model.
        task: its kind and class names go into the config, so that users see them instead of LABEL_0.
        config_overrides: changes to the config, such as `num_hidden_layers=4,hidden_size=256`.
        dtype: of the weights.
        new_head: for training. Otherwise the head has to be in the files too, and what the config says of prediction
            (`pipeline.modeling.prediction_settings`) stays.

    Raises:
        UserError: the files cannot be read, are no classifier's, do not fit the task, or `config_overrides` does not
            fit the config.
    """
    transformers.utils.logging.disable_progress_bar()  # the bars of loading and saving end before they are seen
    config = load_config(files)
    require_encoder(files, config)
    if files.weights:
        require_pytorch(files)
    config.id2label = dict(enumerate(task.class_names))
    config.label2id = {name: label for label, name in config.id2label.items()}
    config.problem_type = task.problem_type
    if new_head and hasattr(config, KEY):
        delattr(config, KEY)  # of the training that the files are from
    if config_overrides:
        _override(files, config, config_overrides)
    try:
        if not files.weights:
            return AutoModelForSequenceClassification.from_config(config, dtype=dtype)
        with _without_report():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                files.folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # checked below, by name
                output_loading_info=True,
                **NO_CODE,
            )
    except UNREADABLE as error:
        options = f" with --config_overrides {config_overrides}" if config_overrides else ""
        raise UserError(f"the model in {files.folder} cannot be loaded{options}: {error}") from error
    _check_weights(files, model, info["missing_keys"], info["mismatched_keys"], new_head)
    return model


def load_config(files: ModelFiles) -> PreTrainedConfig:
    """Load the config.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(files.folder, local_files_only=True, **NO_CODE)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{files.folder / 'config.json'} cannot be read: {error}") from error


def require_encoder(files: ModelFiles, config: PreTrainedConfig) -> None:
    """Check that the model can classify: encoders can, and decoders that transformers has a classifier for.

    Raises:
        UserError: it reads and writes text, as T5 and BART do, or reads no text at all.
    """
    if config.is_encoder_decoder or type(config) not in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise UserError(
            f"{files.name} is not an encoder that can classify texts: its model_type is {config.model_type}. Use BERT, "
            "ELECTRA, RoBERTa, XLM-RoBERTa, DistilBERT, DeBERTa, ModernBERT or another encoder."
        )


def num_positions(config: PreTrainedConfig) -> int | None:
    """The longest input in tokens; None if the config sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    return positions - first_position(config) if positions and positions > 0 else None


def first_position(config: PreTrainedConfig) -> int:
    """The index of the first position. RoBERTa's positions start after its padding token's id (modeling_roberta.py)."""
    return config.pad_token_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0


def check_config_overrides(files: ModelFiles, overrides: str | None) -> None:
    """Raise `UserError` if `--config_overrides` does not fit the model's config, before anything slow depends on it."""
    if overrides:
        _override(files, load_config(files), overrides)


def _override(files: ModelFiles, config: PreTrainedConfig, overrides: str) -> None:
    try:
        config.update_from_string(overrides)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"--config_overrides {overrides} does not fit {files.folder / 'config.json'}: {error}. Expected "
            "NAME=VALUE,NAME=VALUE with names and kinds of values as in that file, such as num_hidden_layers=4."
        ) from error


@contextmanager
def _without_report() -> Iterator[None]:
    """Hide transformers' table of missing weights; `_check_weights` says what counts."""
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)


def _check_weights(
    files: ModelFiles, model: PreTrainedModel, missing: Set[str], mismatched: Set[tuple[str, Any, Any]], new_head: bool
) -> None:
    """Accept that the head is missing or of another size, and nothing else.

    Raises:
        UserError: other weights are missing or have other shapes.
    """
    encoder = f"{model.base_model_prefix}."
    shapes = {name: f"{name} is {list(found)}, expected {list(expected)}" for name, found, expected in mismatched}
    # A pooler is a part of BERT's encoder by its name, but trained with the head: many checkpoints have none.
    lost = sorted(name for name in missing if name.startswith(encoder) and "pooler" not in name)
    wrong = sorted(name for name in shapes if name.startswith(encoder))
    if wrong or lost:
        found = shapes[wrong[0]] if wrong else f"{lost[0]} is missing"
        more = f" (and {len(wrong) + len(lost) - 1} more)" if len(wrong) + len(lost) > 1 else ""
        raise UserError(
            f"the weights in {files.folder} cannot be loaded: they are not those of the {type(model).__name__} that "
            f"its config.json describes. {found}{more}."
        )
    if shapes:
        what = f"has a classification head of another number of labels ({'; '.join(sorted(shapes.values()))})"
    elif missing:
        what = f"has no classification head ({', '.join(sorted(missing))})"
    else:
        return
    if not new_head:
        raise UserError(f"{files.name} {what}: it is not fine-tuned for this task of {model.num_labels} label(s).")
    logger.info("%s %s; a new one is drawn at random.", files.name, what)
