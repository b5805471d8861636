"""A fine-tuned model, from a folder or the Hub, as a function from texts to labels. PyTorch or ONNX Runtime."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_config, load_model, load_tokenizer, num_positions
from pipeline.modeling.packed_attention import can_pack, enable_packing
from pipeline.runtime.errors import UserError
from pipeline.tasks import Decision, Task, create_task

WINDOW = 4096  # texts kept in memory and sorted by length together
MAX_BATCH_TOKENS = {"cpu": 512, "cuda": 32_768}  # padding included; on two cores 512 was faster than 1024 to 4096
ONNX_FILES = ("model_quantized.onnx", "model.onnx")

Example = dict[str, Any]  # `input_ids` and `label`, as the collators read them
ComputeLogits = Callable[[list[Example]], np.ndarray]  # -> float32, [examples, num_labels]


@dataclass(frozen=True)
class Prediction(Decision):
    """The decision for one text, and how much of the text it rests on.

    Attributes:
        num_tokens: length of the text before truncation, special tokens included.
        truncated: whether the text was longer than `max_length`.
    """

    num_tokens: int
    truncated: bool


class Classifier:
    """Labels texts in batches of similar length and returns the labels in the order of the texts.

    Attributes:
        task: class names and probabilities.
        tokenizer: a fast tokenizer.
        max_length: in tokens; longer texts are truncated as in training.
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
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.model = model
        self.max_batch_tokens = max_batch_tokens
        self._compute_logits = compute_logits

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Label a stream of texts in order. At most `WINDOW` of them are in memory."""
        texts = iter(texts)
        while window := list(islice(texts, WINDOW)):
            logits, lengths = self._logits_of_window(window)
            for probabilities, length in zip(self.task.probabilities(logits), lengths, strict=True):
                decision = self.task.decide(probabilities)
                yield Prediction(**vars(decision), num_tokens=length, truncated=length > self.max_length)

    def logits(self, texts: list[str]) -> np.ndarray:
        """float32, [texts, num_labels]."""
        if not texts:
            return np.zeros((0, self.task.num_labels), dtype=np.float32)
        starts = range(0, len(texts), WINDOW)
        return np.concatenate([self._logits_of_window(texts[start : start + WINDOW])[0] for start in starts])

    def _logits_of_window(self, texts: list[str]) -> tuple[np.ndarray, list[int]]:
        encoded = self.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        examples: list[Example] = [{"input_ids": self._truncate(ids), "label": 0} for ids in encoded["input_ids"]]
        logits = np.empty((len(examples), self.task.num_labels), dtype=np.float32)
        widths = [min(length, self.max_length) for length in lengths]
        for indices in batches_by_length(widths, self.max_batch_tokens):
            logits[indices] = self._compute_logits([examples[index] for index in indices])
        return logits, lengths

    def _truncate(self, ids: list[int]) -> list[int]:
        """Truncate, keeping the last special token, as the tokenizer does."""
        return ids if len(ids) <= self.max_length else [*ids[: self.max_length - 1], ids[-1]]


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
    max_length = min(num_positions(config), tokenizer.model_max_length)
    id2label: dict[Any, str] = dict(config.id2label or {})
    task = create_task(config.problem_type, [id2label[label] for label in range(len(id2label))])
    onnx_file = next((files.folder / file for file in ONNX_FILES if (files.folder / file).is_file()), None)
    if onnx_file:
        return Classifier(task, tokenizer, max_length, _compute_with_onnx(onnx_file, tokenizer.pad_token_id))
    torch_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_model(files, task, dtype=dtype).eval().to(torch_device)
    compute = _compute_with_torch(model, torch_device, tokenizer.pad_token_id)
    max_batch_tokens = MAX_BATCH_TOKENS.get(torch_device.type, MAX_BATCH_TOKENS["cpu"])
    return Classifier(task, tokenizer, max_length, compute, model, max_batch_tokens)


def _compute_with_torch(model: PreTrainedModel, device: torch.device, pad_token_id: int) -> ComputeLogits:
    collate: PackingCollator | PaddingCollator = PaddingCollator(pad_token_id)
    if can_pack(model):
        enable_packing(model)
        collate = PackingCollator()

    @torch.inference_mode()
    def compute(examples: list[Example]) -> np.ndarray:
        batch: dict[str, Any] = collate(examples)
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

    def compute(examples: list[Example]) -> np.ndarray:
        batch = collate(examples)
        arrays = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
        arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
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
