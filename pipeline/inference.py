"""A fine-tuned model, in a folder or on the Hub, as a function from texts to labels. PyTorch or ONNX Runtime."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from pipeline.batching import PackingCollator, PaddingCollator
from pipeline.errors import UserError
from pipeline.fetch import ModelFiles, fetch_model
from pipeline.model import UNREADABLE, load_config, load_tokenizer, positions
from pipeline.packing import accept_packed, can_pack

WINDOW = 4096  # texts that are sorted by length together; also how many are in memory at a time
BATCH_TOKENS = {"cpu": 512, "cuda": 32_768}  # of one batch, padding included; on two cores 512 beat 1024 to 4096
ONNX_FILES = ("model_quantized.onnx", "model.onnx")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one text.

    Attributes:
        label: the name of the most probable class.
        probability: its probability, 0 to 1.
        probabilities: of each class by name.
        tokens: how many tokens the text has, special ones included.
        truncated: whether it has more than the model was given.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool


class Classifier:
    """Labels texts in batches of similar length, whatever order they come in.

    Attributes:
        labels: names of the classes, in the order of their numbers.
        tokenizer: a fast tokenizer.
        max_seq_length: longest text in tokens; what is longer is cut at the end, as in training.
        model: the PyTorch model in evaluation mode, or None where ONNX Runtime computes.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        labels: list[str],
        max_seq_length: int,
        compute_logits: Callable[[list[dict]], np.ndarray],
        model: torch.nn.Module | None = None,
        batch_tokens: int = BATCH_TOKENS["cpu"],
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = labels
        self.max_seq_length = max_seq_length
        self.model = model
        self.batch_tokens = batch_tokens
        self._compute_logits = compute_logits

    def predict(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Label texts as they come, in their order, holding no more than `WINDOW` of them at a time."""
        texts = iter(texts)
        while window := list(islice(texts, WINDOW)):
            logits, lengths = self._logits_of_window(window)
            for probabilities, length in zip(softmax(logits), lengths, strict=True):
                best = int(probabilities.argmax())
                yield Prediction(
                    label=self.labels[best],
                    probability=float(probabilities[best]),
                    probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
                    tokens=length,
                    truncated=length > self.max_seq_length,
                )

    def logits(self, texts: list[str]) -> np.ndarray:
        """The model's raw scores, float32, [texts, classes]."""
        if not texts:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        starts = range(0, len(texts), WINDOW)
        return np.concatenate([self._logits_of_window(texts[start : start + WINDOW])[0] for start in starts])

    def _logits_of_window(self, texts: list[str]) -> tuple[np.ndarray, list[int]]:
        encoded = self.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        rows = [{"input_ids": self._cut(ids), "label": 0} for ids in encoded["input_ids"]]
        logits = np.empty((len(rows), len(self.labels)), dtype=np.float32)
        for indices in batches_by_length([len(row["input_ids"]) for row in rows], self.batch_tokens):
            logits[indices] = self._compute_logits([rows[index] for index in indices])
        return logits, lengths

    def _cut(self, ids: list[int]) -> list[int]:
        """Cut the text and keep its last special token, as the tokenizer's own truncation does."""
        return ids if len(ids) <= self.max_seq_length else [*ids[: self.max_seq_length - 1], ids[-1]]


def load_classifier(
    name: str, revision: str = "main", device: str | None = None, dtype: torch.dtype = torch.float32
) -> Classifier:
    """Load a fine-tuned model from a folder, the Hub or its cache; a folder that holds an ONNX file runs on that.

    Args:
        name: a folder that scripts/train.py or scripts/export_onnx.py wrote, or a model on the Hub.
        revision: branch, tag or commit on the Hub.
        device: where PyTorch computes; a GPU if there is one by default.
        dtype: what PyTorch computes in; bfloat16 is faster where the processor has it, and less exact.

    Raises:
        UserError: there is no such model, its files cannot be read, or it is no classifier.
    """
    files = fetch_model(name, revision)
    config = load_config(files)
    if not any("SequenceClassification" in architecture for architecture in config.architectures or []):
        raise UserError(
            f"{name} is not a fine-tuned classifier: its config names {config.architectures}. Fine-tune it first: "
            f"accelerate launch scripts/train.py --model_name_or_path {name}"
        )
    tokenizer = load_tokenizer(files)
    longest = min(positions(config), tokenizer.model_max_length)
    labels = [config.id2label[number] for number in range(config.num_labels)]
    onnx = next((files.folder / file for file in ONNX_FILES if (files.folder / file).is_file()), None)
    if onnx:
        return Classifier(tokenizer, labels, longest, _onnx_runtime(onnx, tokenizer.pad_token_id))
    return _torch_classifier(files, tokenizer, labels, longest, device, dtype)


def _torch_classifier(
    files: ModelFiles,
    tokenizer: PreTrainedTokenizerBase,
    labels: list[str],
    longest: int,
    device: str | None,
    dtype: torch.dtype,
) -> Classifier:
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            files.folder, dtype=dtype, local_files_only=True, trust_remote_code=False
        )
    except UNREADABLE as error:
        raise UserError(f"the model in {files.folder} cannot be loaded: {error}") from error
    model.eval().to(device)
    collate: Callable[[list[dict]], dict] = PaddingCollator(tokenizer.pad_token_id)
    if can_pack(model):
        accept_packed(model)
        collate = PackingCollator()

    @torch.inference_mode()
    def compute(rows: list[dict]) -> np.ndarray:
        batch = collate(rows)
        del batch["labels"]
        batch = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        return model(**batch).logits.float().cpu().numpy()

    batch_tokens = BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"])
    return Classifier(tokenizer, labels, longest, compute, model, batch_tokens)


def _onnx_runtime(path: Path, pad_token_id: int) -> Callable[[list[dict]], np.ndarray]:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path} needs ONNX Runtime: pip install -e '.[onnx]'") from error
    session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    inputs = {given.name for given in session.get_inputs()}

    collate = PaddingCollator(pad_token_id)

    def compute(rows: list[dict]) -> np.ndarray:
        batch = collate(rows)
        arrays = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
        arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
        return session.run(["logits"], {name: array for name, array in arrays.items() if name in inputs})[0]

    return compute


def batches_by_length(lengths: list[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group indices into batches of similar length and at most `batch_tokens` tokens, padding included."""
    batch: list[int] = []
    for index in sorted(
        range(len(lengths)), key=lengths.__getitem__, reverse=True
    ):  # longest first: it sets the width
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, [..., classes]."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
