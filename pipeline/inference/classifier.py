"""A fine-tuned model, from a folder or the Hub, as a function from texts to labels. PyTorch or ONNX Runtime."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.data.tokenization import TOKEN_TYPES, Text, TextEncoder
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_config, load_model, load_tokenizer, num_positions
from pipeline.modeling.packed_attention import can_pack, enable_packing
from pipeline.modeling.prediction_settings import prediction_settings, task_of_config
from pipeline.runtime.errors import UserError
from pipeline.tasks import Decision, Task

CHUNK_SIZE = 4096  # texts kept in memory and sorted by length together
MAX_BATCH_TOKENS = {"cpu": 512, "cuda": 32_768}  # padding included; on two cores 512 was faster than 1024 to 4096
DEFAULT_MAX_LENGTH = 512  # of a model that names no limit
ONNX_FILES = ("model_quantized.onnx", "model.onnx")

Sequences = list[dict[str, Any]]  # `input_ids`, `label` and maybe `token_type_ids`, as the collators read them
ComputeLogits = Callable[[Sequences], np.ndarray]  # -> float32, [sequences, num_labels]


@dataclass(frozen=True)
class Prediction(Decision):
    """The decision for one text or pair, and how much of it the decision rests on.

    Attributes:
        num_tokens: before anything is cut, special tokens included.
        truncated: whether a part was not read: it has more tokens than `max_length`, and is not read in windows.
    """

    num_tokens: int
    truncated: bool


class Classifier:
    """Labels texts, or pairs of texts, in batches of similar length, and returns the labels in their order.

    Attributes:
        task: class names and probabilities; two text columns: it reads pairs.
        tokenizer: a fast tokenizer.
        max_length: in tokens; longer texts are cut, or read in windows, as in training.
        encoder: texts -> token ids, as in training: with the same cleaning.
        model: the PyTorch model in evaluation mode; None with ONNX Runtime.
        max_batch_tokens: tokens in a batch, padding included.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        compute_logits: ComputeLogits,
        model: PreTrainedModel | None = None,
        max_batch_tokens: int = MAX_BATCH_TOKENS["cpu"],
        *,
        clean: str = "none",
        long_text: str = "head",
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.encoder = TextEncoder(
            tokenizer, max_length, long_text=long_text, pairs=len(task.text_columns) == 2, clean=clean
        )
        self.model = model
        self.max_batch_tokens = max_batch_tokens
        self._compute_logits = compute_logits

    def predict(self, texts: str | Iterable[Text]) -> Iterator[Prediction]:
        """Label a stream of texts, or of pairs as tuples, in order. At most `CHUNK_SIZE` of them are in memory.

        A `str` is one text, and not its letters.

        Raises:
            UserError: pairs where the model reads single texts, or the other way round.
        """
        texts = iter([texts] if isinstance(texts, str) else texts)
        while chunk := list(islice(texts, CHUNK_SIZE)):
            logits, lengths = self._logits_of_chunk(chunk)
            for probabilities, length in zip(self.task.probabilities(logits), lengths, strict=True):
                decision = self.task.decide(probabilities)
                truncated = length > self.max_length and self.encoder.long_text != "windows"
                yield Prediction(**vars(decision), num_tokens=length, truncated=truncated)

    def logits(self, texts: str | Iterable[Text]) -> np.ndarray:
        """float32, [texts, num_labels]. Texts and errors as for `predict`."""
        texts = iter([texts] if isinstance(texts, str) else texts)
        chunks = [np.zeros((0, self.task.num_labels), dtype=np.float32)]
        while chunk := list(islice(texts, CHUNK_SIZE)):
            chunks.append(self._logits_of_chunk(chunk)[0])
        return np.concatenate(chunks)

    def _logits_of_chunk(self, texts: Sequence[Text]) -> tuple[np.ndarray, list[int]]:
        self._check_texts(texts)
        encoded = self.encoder.encode(texts)
        ends = np.cumsum(encoded.lengths)[:-1]
        columns: dict[str, list[Any]] = {
            "input_ids": np.split(encoded.input_ids, ends),
            "label": [0] * len(encoded.lengths),
        }
        if self.encoder.token_types:
            columns[TOKEN_TYPES] = np.split(encoded.token_type_ids, ends)
        windows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        logits: np.ndarray = np.empty((len(windows), self.task.num_labels), dtype=np.float32)
        for indices in batches_by_length(encoded.lengths.tolist(), self.max_batch_tokens):
            logits[indices] = self._compute_logits([windows[index] for index in indices])
        if len(windows) > len(texts):
            starts = np.cumsum(encoded.num_windows) - encoded.num_windows
            logits = np.add.reduceat(logits, starts) / encoded.num_windows[:, None].astype(np.float32)
        return logits, encoded.num_tokens.tolist()

    def _check_texts(self, texts: Sequence[Any]) -> None:
        columns = self.task.text_columns
        for text in texts:
            if len(columns) == 1 and not isinstance(text, str):
                raise UserError(f"the model labels single texts; expected a str each, found {text!r:.200}.")
            is_pair = isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text)
            if len(columns) == 2 and not is_pair:
                raise UserError(
                    f"the model labels pairs of texts; expected ({columns[0]}, {columns[1]}) each, found {text!r:.200}."
                )


def load_classifier(
    name: str, revision: str = "main", device: str | None = None, dtype: torch.dtype = torch.float32
) -> Classifier:
    """Load a fine-tuned model from a folder, the Hub or its cache. A folder with an ONNX file runs on ONNX Runtime.

    Args:
        name: a folder written by scripts/train.py or scripts/export_onnx.py, or a model on the Hub.
        revision: branch, tag or commit on the Hub.
        device: for PyTorch; default: the GPU if there is one.
        dtype: for PyTorch; bfloat16 is faster where the processor supports it, and less exact.

    Raises:
        UserError: there is no such model, its files cannot be read, or it is not a classifier.
    """
    files = fetch_model(name, revision)
    config = load_config(files)
    if not any("SequenceClassification" in architecture for architecture in config.architectures or []):
        raise UserError(
            f"{name} is not a fine-tuned classifier: its config names {config.architectures}. Fine-tune it first: "
            f"accelerate launch scripts/train.py --model_name_or_path {name}"
        )
    tokenizer = load_tokenizer(files)
    limits = [tokenizer.model_max_length, num_positions(config) or VERY_LARGE_INTEGER]
    max_length = int(min(limits)) if min(limits) < VERY_LARGE_INTEGER else DEFAULT_MAX_LENGTH
    task = task_of_config(config.to_dict())
    settings = prediction_settings(config.to_dict())
    options = {"clean": settings["clean"], "long_text": settings["long_text"]}
    onnx_file = next((files.folder / file for file in ONNX_FILES if (files.folder / file).is_file()), None)
    if onnx_file:
        return Classifier(task, tokenizer, max_length, _compute_with_onnx(onnx_file, tokenizer.pad_token_id), **options)
    torch_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_model(files, task, dtype=dtype, new_head=False).eval().to(torch_device)
    compute = _compute_with_torch(model, torch_device, tokenizer.pad_token_id)
    max_batch_tokens = MAX_BATCH_TOKENS.get(torch_device.type, MAX_BATCH_TOKENS["cpu"])
    return Classifier(task, tokenizer, max_length, compute, model, max_batch_tokens, **options)


def _compute_with_torch(model: PreTrainedModel, device: torch.device, pad_token_id: int) -> ComputeLogits:
    collate: PackingCollator | PaddingCollator = PaddingCollator(pad_token_id)
    if can_pack(model):
        enable_packing(model)
        collate = PackingCollator()

    @torch.inference_mode()
    def compute(sequences: Sequences) -> np.ndarray:
        batch: dict[str, Any] = collate(sequences)
        del batch["labels"]
        batch = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        return model(**batch).logits.float().cpu().numpy()

    return compute


def _compute_with_onnx(path: Path, pad_token_id: int) -> ComputeLogits:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path} needs ONNX Runtime: pip install -e '.[onnx]'") from error
    session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    input_names = {node.name for node in session.get_inputs()}
    collate = PaddingCollator(pad_token_id)

    def compute(sequences: Sequences) -> np.ndarray:
        arrays = {name: tensor.numpy() for name, tensor in collate(sequences).items()}
        arrays.setdefault(TOKEN_TYPES, np.zeros_like(arrays["input_ids"]))
        return session.run(["logits"], {name: array for name, array in arrays.items() if name in input_names})[0]

    return compute


def batches_by_length(lengths: list[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Group indices into batches of similar length and at most `max_batch_tokens` tokens, padding included.

    A sequence that is longer than that is a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):  # the first sets the width
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
