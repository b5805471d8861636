"""The exported model is the trained one, for every family of models, length and batch; otherwise nothing is written."""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support import TASK
from support.models import save_random_classifier
from transformers import AutoConfig, AutoModelForSequenceClassification

from pipeline.inference import onnx as module
from pipeline.inference.classifier import Classifier, load_classifier
from pipeline.inference.onnx import compare, export_onnx
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_tokenizer
from pipeline.runtime.errors import UserError
from pipeline.tasks import Task, create_task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(package) is None for package in ("onnx", "onnxruntime", "onnxscript")),
        reason="the extra is not installed: pip install -e '.[onnx]'",
    ),
]
TEXTS = ["재밌다", "영화가 너무 지루하다 " * 20, "연기가 최고다", "👍", *(f"{'정말 ' * n}별로다" for n in range(30))]
only_bert = pytest.mark.parametrize("saved", ["bert"], indirect=True)


FAMILIES = ["bert", "electra", "roberta", "xlm-roberta", "distilbert", "modernbert", "deberta-v2"]


@pytest.fixture(params=FAMILIES)
def saved(request: pytest.FixtureRequest, quickstart, tmp_path: Path) -> Path:
    """A classifier of random weights of each family, with the quickstart's tokenizer."""
    folder = tmp_path / request.param
    tokenizer = load_tokenizer(fetch_model(str(quickstart[1]), weights=False), 32)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    names = {"id2label": dict(enumerate(TASK.class_names))}
    config = AutoConfig.for_model(
        request.param, **size, **names, vocab_size=2000, max_position_embeddings=40, pad_token_id=0, type_vocab_size=1
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def change_weights(folder: Path, change) -> Path:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    return folder


def swap_labels(model: torch.nn.Module) -> None:
    model.classifier.weight.copy_(model.classifier.weight.flip(0))
    model.classifier.bias.copy_(model.classifier.bias.flip(0))


def test_the_exported_model_is_the_same(saved: Path, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    about = export_onnx(saved, output, TEXTS, quantize=False, overwrite=False)
    assert about["largest_difference"] < 1e-4
    assert about["label_agreement"] == 1
    assert about["num_texts"] == len(TEXTS)
    assert json.loads((output / "export.json").read_text()) == about
    assert not list(output.glob("*.safetensors"))
    classifier = load_classifier(str(output))
    assert classifier.model is None  # ONNX Runtime computes
    assert classifier.task == TASK
    assert classifier.max_length == 32
    one_by_one = [next(classifier.predict([text])).label for text in TEXTS]
    assert one_by_one == [prediction.label for prediction in load_classifier(str(saved)).predict(TEXTS)]


@pytest.mark.parametrize("saved", ["bert", "electra", "roberta"], indirect=True)
def test_int8_is_smaller_and_its_agreement_is_reported(saved: Path, tmp_path: Path) -> None:
    export_onnx(saved, tmp_path / "float32", TEXTS, quantize=False, overwrite=False)
    about = export_onnx(saved, tmp_path / "int8", TEXTS, quantize=True, overwrite=False)
    assert about["quantized"]
    assert about["largest_difference"] > 0  # it is another model
    assert 0.5 < about["label_agreement"] <= 1
    size = {name: sum(f.stat().st_size for f in (tmp_path / name).glob("*.onnx*")) for name in ("float32", "int8")}
    assert size["int8"] < size["float32"]
    assert [file.name for file in (tmp_path / "int8").glob("*.onnx*")] == ["model_quantized.onnx"]


@only_bert
def test_comparison_with_a_model_of_opposite_labels(saved: Path, tmp_path: Path) -> None:
    """Every label differs, so whoever compares a model with itself reports another agreement."""
    opposite = change_weights(shutil.copytree(saved, tmp_path / "opposite"), swap_labels)
    expected, found = load_classifier(str(saved)).logits(TEXTS), load_classifier(str(opposite)).logits(TEXTS)
    about = compare(load_classifier(str(saved)), load_classifier(str(opposite)), TEXTS)
    assert about["label_agreement"] == 0
    assert about["largest_logit"] == pytest.approx(abs(expected).max())
    assert about["largest_difference"] == pytest.approx(abs(expected - found).max())


@only_bert
@pytest.mark.parametrize("quantize", [False, True])
def test_a_graph_that_was_tampered_with(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize: bool
) -> None:
    """A graph of other weights is refused as float32; as int8, where weights differ anyway, it is reported."""
    write_graph = module._write_graph
    opposite = load_classifier(str(change_weights(shutil.copytree(saved, tmp_path / "opposite"), swap_labels))).model
    monkeypatch.setattr(module, "_write_graph", lambda model, path, **options: write_graph(opposite, path, **options))
    if quantize:
        about = export_onnx(saved, tmp_path / "onnx", TEXTS, quantize=True, overwrite=False)
        assert about["label_agreement"] < 0.5
        return
    with pytest.raises(UserError, match=r"differs from .*bert: logits by up to"):
        export_onnx(saved, tmp_path / "onnx", TEXTS, quantize=False, overwrite=False)
    assert {path.name for path in tmp_path.iterdir()} == {"bert", "opposite"}


@only_bert
def test_a_difference_beyond_rounding_is_refused(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth in one weight changes no label, but is no rounding."""
    write_graph = module._write_graph

    def write_other(model: torch.nn.Module, path: Path, **options: bool) -> None:
        with torch.no_grad():
            model.classifier.bias[0] += 1e-3
            write_graph(model, path, **options)
            model.classifier.bias[0] -= 1e-3

    monkeypatch.setattr(module, "_write_graph", write_other)
    with pytest.raises(UserError, match="at most 1e-04 is rounding"):
        export_onnx(saved, tmp_path / "onnx", TEXTS, quantize=False, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


@only_bert
def test_an_export_is_not_exported_again(saved: Path, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    export_onnx(saved, output, TEXTS[:4], quantize=False, overwrite=False)
    with pytest.raises(UserError, match="already holds an ONNX model"):
        export_onnx(output, tmp_path / "again", TEXTS[:4], quantize=False, overwrite=False)
    with pytest.raises(UserError, match="onnx exists"):
        export_onnx(saved, output, TEXTS[:4], quantize=False, overwrite=False)


# Other tasks, and other ways to read a text.

PAIRS = [(text, other) for text, other in zip(TEXTS, TEXTS[7:], strict=False)]
THREE = ("같다", "다르다", "모른다")


def save_and_export(tmp_path: Path, quickstart, task: Task, texts: list, **settings: str) -> tuple[Classifier, dict]:
    """Export a classifier of random weights; returns the exported one and what was said of both."""
    save_random_classifier(tmp_path / "model", quickstart[1], task=task, **settings)
    about = export_onnx(tmp_path / "model", tmp_path / "onnx", texts, quantize=False, overwrite=False)
    return load_classifier(str(tmp_path / "onnx")), about


def input_names(folder: Path) -> list[str]:
    import onnxruntime

    return [node.name for node in onnxruntime.InferenceSession(folder / "model.onnx").get_inputs()]


def test_pairs_have_a_third_input(tmp_path: Path, quickstart) -> None:
    task = create_task("single_label_classification", THREE, ("one", "two"))
    exported, about = save_and_export(tmp_path, quickstart, task, PAIRS)
    assert about["label_agreement"] == 1
    assert exported.task == task
    original = load_classifier(str(tmp_path / "model"))
    expected = original.logits(PAIRS)
    assert np.allclose(exported.logits(PAIRS), expected, atol=1e-3)
    assert input_names(tmp_path / "onnx") == ["input_ids", "attention_mask", "token_type_ids"]
    original.encoder.token_types = False  # what would be computed without them
    assert abs(original.logits(PAIRS) - expected).max() > 0.1


def test_single_texts_have_two_inputs(tmp_path: Path, quickstart) -> None:
    save_and_export(tmp_path, quickstart, TASK, TEXTS)
    assert input_names(tmp_path / "onnx") == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("settings", [{"long_text": "windows"}, {"long_text": "head_tail"}, {"clean": "kcbert"}])
def test_texts_are_read_as_by_the_original(tmp_path: Path, quickstart, settings: dict[str, str]) -> None:
    exported, about = save_and_export(tmp_path, quickstart, TASK, TEXTS, **settings)
    assert about["label_agreement"] == 1
    plain = save_random_classifier(tmp_path / "plain", quickstart[1])
    texts = [*TEXTS, "ㅋㅋㅋㅋㅋㅋㅋㅋㅋ 漢字"]
    assert not np.allclose(exported.logits(texts), load_classifier(str(plain)).logits(texts), atol=0.1)
    assert np.allclose(exported.logits(texts), load_classifier(str(tmp_path / "model")).logits(texts), atol=1e-3)


def test_probabilities_are_calibrated_alike(tmp_path: Path, quickstart) -> None:
    task = dataclasses.replace(TASK, temperature=2.5)
    exported, _ = save_and_export(tmp_path, quickstart, task, TEXTS)
    original = load_classifier(str(tmp_path / "model"))
    assert exported.task == original.task == task
    for mine, its in zip(exported.predict(TEXTS), original.predict(TEXTS), strict=True):
        assert mine.probability == pytest.approx(its.probability, abs=1e-5)


def test_numbers_are_compared_by_correlation(tmp_path: Path, quickstart) -> None:
    exported, about = save_and_export(tmp_path, quickstart, create_task("regression", ("별점",)), TEXTS)
    assert about["correlation"] == pytest.approx(1)
    assert "label_agreement" not in about
    original = load_classifier(str(tmp_path / "model"))
    compute = exported._compute_logits
    exported._compute_logits = lambda sequences: -compute(sequences)
    assert compare(original, exported, TEXTS)["correlation"] == pytest.approx(-1)
    exported._compute_logits = lambda sequences: np.ones((len(sequences), 1), dtype=np.float32)
    assert compare(original, exported, TEXTS)["correlation"] is None


def test_several_labels_agree_only_if_all_do(tmp_path: Path, quickstart) -> None:
    task = create_task("multi_label_classification", THREE)
    exported, about = save_and_export(tmp_path, quickstart, task, TEXTS)
    assert about["label_agreement"] == 1
    original = load_classifier(str(tmp_path / "model"))
    compute = exported._compute_logits
    exported._compute_logits = lambda sequences: compute(sequences) * [1, 1, -1]  # the last label of each is wrong
    assert compare(original, exported, TEXTS)["label_agreement"] == 0


@only_bert
def test_a_model_that_torch_cannot_export(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("Failed to export\nand twenty lines more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(UserError, match=r"cannot export a BertForSequenceClassification to ONNX: Failed to export$"):
        export_onnx(saved, tmp_path / "onnx", TEXTS, quantize=False, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]
