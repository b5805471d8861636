"""A fine-tuned classifier -> ONNX, kept only if its logits equal PyTorch's.

torch's own exporter is used (`torch.onnx.export(dynamo=True)`): Hugging Face's `optimum-onnx` 0.1 needs transformers
below 5.
"""

import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.inference.classifier import Classifier, load_classifier
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import EXPORT, write_json

TOLERANCE = 1e-4  # largest difference of float32 logits that is rounding
NUM_TEXTS = 256  # to compare on
COPIED_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"]


class _Logits(torch.nn.Module):
    """The model with two inputs and one output: a graph for prediction needs no more."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export_onnx(source: Path, output: Path, texts: list[str], *, quantize: bool, overwrite: bool) -> dict[str, Any]:
    """Export a model, compare it with the original, and only then put its folder in place.

    Args:
        source: a folder with a fine-tuned PyTorch model.
        output: gets the graph, config, tokenizer and `export.json`.
        texts: what both models are compared on.
        quantize: store the weights as int8 (onnxruntime's dynamic quantization).
        overwrite: replace `output` if it exists.

    Returns:
        The content of `export.json`: how both models compare, and what was exported.

    Raises:
        UserError: the extra is not installed, `output` exists, or the exported model differs from the original.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists. Choose another --output, or replace it with --overwrite.")
    original = load_classifier(str(source), device="cpu")
    if original.model is None:
        raise UserError(f"{source} already holds an ONNX model; expected a folder that scripts/train.py wrote.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        tmp_dir = Path(temporary, "model")
        tmp_dir.mkdir()
        _write_graph(original.model, tmp_dir / "model.onnx")
        if quantize:
            _quantize(tmp_dir / "model.onnx", tmp_dir / "model_quantized.onnx")
        for name in COPIED_FILES:
            if (source / name).is_file():
                shutil.copy(source / name, tmp_dir / name)
        comparison = compare(original, load_classifier(str(tmp_dir)), texts)
        if not quantize and comparison["largest_difference"] > TOLERANCE:
            raise UserError(
                f"the exported model differs from {source}: logits by up to {comparison['largest_difference']:.2g}, "
                f"where at most {TOLERANCE:.0e} is rounding. Nothing was written."
            )
        about = {**comparison, "quantized": quantize, "source": source.name, "torch": torch.__version__}
        write_json(tmp_dir / EXPORT, about)
        if output.exists():
            shutil.rmtree(output)
        tmp_dir.rename(output)
    return about


def compare(original: Classifier, exported: Classifier, texts: list[str]) -> dict[str, Any]:
    """The largest difference of logits, and the share of texts with equal labels."""
    expected, found = original.logits(texts), exported.logits(texts)
    return {
        "num_texts": len(texts),
        "largest_difference": float(np.abs(expected - found).max()),
        "label_agreement": float((expected.argmax(axis=-1) == found.argmax(axis=-1)).mean()),
    }


def _write_graph(model: torch.nn.Module, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it; its own message has twenty lines)
    except ImportError as error:
        raise UserError(f"the export needs {error.name}: pip install -e '.[onnx]'") from error
    ids = torch.full((3, 7), 5)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0  # a row with padding keeps the mask in the graph
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with _silence():
        program = torch.onnx.export(
            _Logits(model).eval(),
            (ids, mask),
            dynamo=True,
            verbose=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        )
        assert program is not None  # None only without dynamo
        program.save(path)


def _quantize(path: Path, quantized: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silence():
        quantize_dynamic(path, quantized, weight_type=QuantType.QInt8)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the exporters' warnings, which name nothing that a user could fix."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
