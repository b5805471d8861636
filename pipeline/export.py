"""A fine-tuned classifier -> ONNX, checked against PyTorch before it is kept.

Exported by torch's own exporter (`torch.onnx.export(dynamo=True)`), which follows torch. Hugging Face's `optimum-onnx`
(0.1) asks for transformers below 5.
"""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import UserError
from pipeline.inference import Classifier, load_classifier
from pipeline.results import write_json

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of logits, float32
SENTENCES = 256
CARRIED = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"]


class _Logits(torch.nn.Module):
    """The model with two inputs and one output, which is all that a graph for prediction needs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export_onnx(
    source: Path, output: Path, sentences: list[str], *, quantize: bool, overwrite: bool
) -> dict[str, Any]:
    """Export, check, and only then put the folder in place.

    Args:
        source: a folder with a fine-tuned PyTorch model.
        output: where the graph, the config, the tokenizer and `export.json` go.
        sentences: what both are compared on.
        quantize: keep the weights as int8 (onnxruntime's dynamic quantization).
        overwrite: replace `output` if it is there.

    Returns:
        What was checked, as in `export.json`.

    Raises:
        UserError: the extra is not installed, `output` is there, or the exported model differs from the original.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output} is there already. Choose another --output, or replace it with --overwrite.")
    original = load_classifier(str(source), device="cpu")
    if original.model is None:
        raise UserError(f"{source} holds an ONNX model already; expected what scripts/train.py left.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        beside = Path(temporary, "model")
        beside.mkdir()
        _write_graph(original.model, beside / "model.onnx")
        if quantize:
            _quantize(beside / "model.onnx", beside / "model_quantized.onnx")
        for name in CARRIED:
            if (source / name).is_file():
                shutil.copy(source / name, beside / name)
        about = compare(original, load_classifier(str(beside)), sentences)
        if not quantize and about["largest_difference"] > TOLERANCE:
            raise UserError(
                f"the exported model differs from {source}: logits by up to {about['largest_difference']:.2g}, where "
                f"at most {TOLERANCE:.0e} is rounding. Nothing was written."
            )
        about |= {"quantized": quantize, "source": source.name, "torch": torch.__version__}
        write_json(beside / "export.json", about)
        if output.exists():
            shutil.rmtree(output)
        beside.rename(output)
    return about


def compare(original: Classifier, exported: Classifier, sentences: list[str]) -> dict[str, Any]:
    """How far two classifiers are apart: the largest difference of logits, and the share of equal labels."""
    ours, theirs = original.logits(sentences), exported.logits(sentences)
    return {
        "sentences": len(sentences),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "label_agreement": float((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean()),
    }


def _write_graph(model: torch.nn.Module, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it, and says so in twenty lines)
    except ImportError as error:
        raise UserError(f"the export needs {error.name}: pip install -e '.[onnx]'") from error
    ids = torch.full((3, 7), 5)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0  # an example with padding, so that the mask stays in the graph
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
        program.save(path)


def _quantize(path: Path, quantized: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silence():
        quantize_dynamic(path, quantized, weight_type=QuantType.QInt8)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' own warnings, which name nothing that a user could mend, off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
