"""The exported model is the trained one, for every family of models, length and batch; else nothing is kept."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import run
from transformers import AutoConfig, AutoModelForSequenceClassification

from pipeline import export
from pipeline.corpus import LABELS
from pipeline.errors import UserError
from pipeline.export import compare, export_onnx
from pipeline.fetch import fetch_model
from pipeline.inference import load_classifier
from pipeline.model import load_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxruntime", "onnxscript")),
        reason="the extra is not installed: pip install -e '.[onnx]'",
    ),
]
TEXTS = ["재밌다", "영화가 너무 지루하다 " * 20, "연기가 최고다", "👍", *(f"{'정말 ' * n}별로다" for n in range(30))]


@pytest.fixture(params=["bert", "electra", "roberta"])
def saved(request: pytest.FixtureRequest, quickstart, tmp_path: Path) -> Path:
    """A classifier of random weights of each family, with the quickstart's tokenizer."""
    folder = tmp_path / request.param
    tokenizer = load_tokenizer(fetch_model(str(quickstart[1]), weights=False), 32)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    config = AutoConfig.for_model(
        request.param, **size, **names, vocab_size=2000, max_position_embeddings=40, pad_token_id=0, type_vocab_size=1
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_exported_model_is_the_same(saved: Path, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    about = export_onnx(saved, output, TEXTS, quantize=False, overwrite=False)
    assert about["largest_difference"] < 1e-4
    assert (about["label_agreement"], about["sentences"]) == (1, len(TEXTS))
    assert json.loads((output / "export.json").read_text()) == about
    assert not list(output.glob("*.safetensors"))
    classifier = load_classifier(str(output))
    assert classifier.model is None  # ONNX Runtime computes
    assert classifier.labels == LABELS
    assert classifier.max_seq_length == 32
    one_by_one = [next(classifier.predict([text])).label for text in TEXTS]
    assert one_by_one == [answer.label for answer in load_classifier(str(saved)).predict(TEXTS)]


def test_quantized_weights_are_smaller_and_agreement_is_told(saved: Path, tmp_path: Path) -> None:
    export_onnx(saved, tmp_path / "whole", TEXTS, quantize=False, overwrite=False)
    about = export_onnx(saved, tmp_path / "int8", TEXTS, quantize=True, overwrite=False)
    assert about["quantized"]
    assert about["largest_difference"] > 0  # it is another model
    assert 0.5 < about["label_agreement"] <= 1
    size = {name: sum(f.stat().st_size for f in (tmp_path / name).glob("*.onnx*")) for name in ("whole", "int8")}
    assert size["int8"] < size["whole"]
    assert [file.name for file in (tmp_path / "int8").glob("*.onnx*")] == ["model_quantized.onnx"]


@pytest.mark.parametrize("saved", ["bert"], indirect=True)
def test_a_model_that_differs_is_not_kept(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = export._write_graph

    def write_another(model: torch.nn.Module, path: Path) -> None:
        with torch.no_grad():
            model.classifier.bias[0] += 1e-3
            write(model, path)
            model.classifier.bias[0] -= 1e-3

    monkeypatch.setattr(export, "_write_graph", write_another)
    with pytest.raises(UserError, match="differs"):
        export_onnx(saved, tmp_path / "onnx", TEXTS, quantize=False, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


@pytest.mark.parametrize("saved", ["bert"], indirect=True)
def test_script_and_prediction(saved: Path, tmp_path: Path) -> None:
    words = ("export_onnx.py", "--model", str(saved), "--output", "onnx", "--corpus_root_dir", str(tmp_path / "none"))
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines()[-1] == "onnx"
    assert "100.00% of 256 reviews" in result.stdout
    assert "256 reviews of the quickstart" in result.stderr
    assert len(result.stderr.splitlines()) < 5  # the exporters' own noise is kept off
    again = run(*words, cwd=tmp_path)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert run(*words, "--overwrite", cwd=tmp_path).returncode == 0
    answers = [run("predict.py", "--model", model, *TEXTS[:4], cwd=tmp_path).stdout for model in (str(saved), "onnx")]
    assert answers[0] == answers[1]
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize("saved", ["bert"], indirect=True)
def test_compare_sees_other_weights(saved: Path, tmp_path: Path) -> None:
    other = shutil.copytree(saved, tmp_path / "other")
    model = AutoModelForSequenceClassification.from_pretrained(other)
    with torch.no_grad():
        model.classifier.weight.neg_()
    model.save_pretrained(other)
    about = compare(load_classifier(str(saved)), load_classifier(str(other)), TEXTS)
    assert about["largest_difference"] > 1e-4
