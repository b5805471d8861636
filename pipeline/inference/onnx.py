"""A fine-tuned classifier -> ONNX, kept only if its logits equal PyTorch's.

torch's own exporter is used (`torch.onnx.export(dynamo=True)`): Hugging Face's `optimum-onnx` 0.1 needs transformers
below 5.
"""

import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.data.tokenization import TOKEN_TYPES, Text
from pipeline.inference.classifier import Classifier, load_classifier
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import EXPORT, write_json

TOLERANCE = 1e-4  # largest difference of float32 logits that is rounding
NUM_TEXTS = 256  # to compare on
COPIED_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"]


class _Logits(torch.nn.Module):
    """The model with two or three inputs and one output: a graph for prediction needs no more."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        token_types = {} if token_type_ids is None else {TOKEN_TYPES: token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **token_types).logits


def export_onnx(
    source: Path, output: Path, texts: Sequence[Text], *, quantize: bool, overwrite: bool
) -> dict[str, Any]:
    """Export a model, compare it with the original, and only then put its folder in place.

    Args:
        source: a folder with a fine-tuned PyTorch model.
        output: gets the graph, config, tokenizer and `export.json`.
        texts: texts or pairs, which both models are compared on.
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
        _write_graph(original.model, tmp_dir / "model.onnx", token_types=original.encoder.token_types)
        if quantize:
            _quantize(tmp_dir / "model.onnx", tmp_dir / "model_quantized.onnx")
        for name in COPIED_FILES:
            if (source / name).is_file():
                shutil.copy(source / name, tmp_dir / name)
        comparison = compare(original, load_classifier(str(tmp_dir)), texts)
        tolerance = TOLERANCE * max(1.0, comparison["largest_logit"])
        if not quantize and not comparison["largest_difference"] <= tolerance:
            raise UserError(
                f"the exported model differs from {source}: logits by up to {comparison['largest_difference']:.2g}, "
                f"where at most {tolerance:.0e} is rounding. Nothing was written."
            )
        about = {**comparison, "quantized": quantize, "source": source.name, "torch": torch.__version__}
        write_json(tmp_dir / EXPORT, about)
        if output.exists():
            shutil.rmtree(output)
        tmp_dir.rename(output)
    return about


def compare(original: Classifier, exported: Classifier, texts: Sequence[Text]) -> dict[str, Any]:
    """How far the logits of two models are apart, and how often they say the same.

    Returns:
        `num_texts`; `largest_difference` of logits, and the `largest_logit`; `label_agreement`, the share of texts with
        equal labels, or in a regression the `correlation` of the numbers (Pearson), None if one model says one number.
    """
    expected, found = original.logits(texts), exported.logits(texts)
    task = original.task
    comparison = {
        "num_texts": len(texts),
        "largest_difference": float(np.abs(expected - found).max()),
        "largest_logit": float(np.abs(expected).max()),
    }
    if task.problem_type == "regression":
        varies = min(expected.std(), found.std()) > 0
        correlation = float(np.corrcoef(expected[:, 0], found[:, 0])[0, 1]) if varies else None
        return {**comparison, "correlation": correlation}
    labels = [[task.decide(each).label for each in task.probabilities(logits)] for logits in (expected, found)]
    equal = [one == other for one, other in zip(*labels, strict=True)]
    return {**comparison, "label_agreement": sum(equal) / len(equal)}


def _write_graph(model: torch.nn.Module, path: Path, *, token_types: bool = False) -> None:
    """Write the graph of a model; with a third input if it reads pairs whose segments it tells apart."""
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it; its own message has twenty lines)
    except ImportError as error:
        raise UserError(f"the export needs {error.name}: pip install -e '.[onnx]'") from error
    ids = torch.full((3, 7), 5)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0  # a row with padding keeps the mask in the graph
    inputs = {"input_ids": ids, "attention_mask": mask, **({TOKEN_TYPES: torch.zeros_like(ids)} if token_types else {})}
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with _silence():
        try:
            program = torch.onnx.export(
                _Logits(model).eval(),
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes=dict.fromkeys(inputs, axes),
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"torch cannot export a {type(model).__name__} to ONNX: {reason}") from error
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
