"""Packed batches compute what padded ones do: the same logits, gradients and evaluation, and the same saved model."""

import copy
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support import small_classifier
from torch._dynamo.testing import CompileCounter
from transformers import AutoModelForSequenceClassification

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.modeling import packed_attention
from pipeline.modeling.packed_attention import can_pack, enable_packing
from pipeline.modeling.windows import enable_windows

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")

KINDS = ["Bert", "Electra", "Roberta", "XLMRoberta", "DistilBert"]
# Lengths that repeat and that do not, in no order; the shortest that a text can have, and a filler's.
LENGTHS = (5, 9, 2, 5, 1, 30, 9, 9, 17)


def rows(lengths: tuple[int, ...] = LENGTHS) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"input_ids": torch.randint(2, 200, (length,), generator=generator).tolist(), "label": index % 2}
        for index, length in enumerate(lengths)
    ]


def pairs() -> list[dict]:
    """Rows whose second halves are the second texts of pairs."""
    return [
        {**row, "token_type_ids": [int(2 * place >= len(row["input_ids"])) for place in range(len(row["input_ids"]))]}
        for row in rows()
    ]


def windows() -> list[dict]:
    """Examples of one, two and three windows, made of the same rows."""
    given, examples = pairs(), []
    for count in (1, 3, 1, 2, 2):
        parts = [given.pop(0) for _ in range(count)]
        lists = {
            name: list(chain.from_iterable(part[name] for part in parts)) for name in ("input_ids", "token_type_ids")
        }
        lengths = [len(part["input_ids"]) for part in parts]
        examples.append({**lists, "window_lengths": lengths, "label": parts[0]["label"]})
    return examples


def outcome(model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradient of every parameter."""
    batch = dict(batch)
    labels = batch.pop("labels")
    model.zero_grad()
    logits = model(**batch).logits
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.fixture(params=["_by_runs", "_by_nested", "_by_mask"])
def pack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PackingCollator:
    """The collator for each way of attention; that of nested tensors is for CUDA, but runs anywhere."""
    monkeypatch.setattr(packed_attention, "_has_variable_length_kernel", lambda query: request.param == "_by_nested")
    return PackingCollator(pad_to_multiple_of=8 if request.param == "_by_mask" else None)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_padding(
    kind: str, dtype: torch.dtype, tolerance: float, pack: PackingCollator
) -> None:
    torch.manual_seed(0)
    padded = small_classifier(kind).to(dtype)
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    expected, expected_gradients = outcome(padded, PaddingCollator(pad_token_id=1)(rows()))
    found, gradients = outcome(packed, pack(rows()))
    assert expected.std() > 0.1  # sequences differ, so a mix-up would show
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("kind", ["Bert", "Electra", "Roberta", "XLMRoberta"])
def test_token_types_are_read_as_in_padded_batches(kind: str, pack: PackingCollator) -> None:
    torch.manual_seed(0)
    padded = small_classifier(kind, type_vocab_size=2).double()
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    expected, expected_gradients = outcome(padded, PaddingCollator(pad_token_id=1)(pairs()))
    found, gradients = outcome(packed, pack(pairs()))
    without, _ = outcome(padded, PaddingCollator(pad_token_id=1)(rows()))
    assert (expected - without).abs().median() > 0.01  # they count
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-10, rtol=0, msg=name)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
def test_windows_are_averaged_as_in_padded_batches(kind: str, pack: PackingCollator) -> None:
    torch.manual_seed(0)
    padded = small_classifier(kind).double()
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    for model in (padded, packed):
        enable_windows(model)
    examples = windows()
    if kind == "DistilBert":
        examples = [{name: row[name] for name in row if name != "token_type_ids"} for row in examples]
    expected, expected_gradients = outcome(padded, PaddingCollator(pad_token_id=1)(examples))
    found, gradients = outcome(packed, pack(examples))
    assert found.shape == (5, 2)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-10, rtol=0, msg=name)


def test_a_padding_token_that_is_not_the_configs(pack: PackingCollator) -> None:
    """multilingual-e5-small: a BERT whose config says 0, with XLM-RoBERTa's tokenizer, where 0 begins a text."""
    torch.manual_seed(0)
    padded = small_classifier("Bert", pad_token_id=0).double()
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    examples = [{**row, "input_ids": [0, *row["input_ids"]]} for row in rows()]
    expected, expected_gradients = outcome(padded, PaddingCollator(pad_token_id=1)(examples))
    found, gradients = outcome(packed, pack(examples))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-10, rtol=0, msg=name)


@pytest.mark.parametrize("lengths", [(7,), (1, 1, 1), (1,) * 8, (6, 6, 6, 6)])
def test_batches_at_the_edge(lengths: tuple[int, ...], pack: PackingCollator) -> None:
    """One sequence; sequences of one token, where first tokens are all there is; all of one length."""
    torch.manual_seed(0)
    padded = small_classifier("Bert").double()
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    expected, _ = outcome(padded, PaddingCollator(pad_token_id=1)(rows(lengths)))
    found, _ = outcome(packed, pack(rows(lengths)))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_batches_are_read_as_before_and_the_saved_model_is_ordinary(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = small_classifier(kind).eval()
    packed = copy.deepcopy(plain)
    enable_packing(packed)
    batch = PaddingCollator(pad_token_id=1)(rows())
    expected = plain(**batch).logits
    assert torch.equal(packed(**batch).logits, expected)
    for name, model in (("plain", plain), ("packed", packed)):
        model.save_pretrained(tmp_path / name)
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "packed" / file.name).read_bytes() == file.read_bytes(), file.name
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "packed")
    assert torch.equal(loaded(**batch).logits, expected)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
def test_attention_dropout_works_in_every_layer(kind: str, pack: PackingCollator) -> None:
    torch.manual_seed(0)
    name = "attention_dropout" if kind == "DistilBert" else "attention_probs_dropout_prob"
    model = small_classifier(kind, **{name: 0.5}).train()
    layers = model.base_model.transformer.layer if kind == "DistilBert" else model.base_model.encoder.layer
    enable_packing(model)
    batch = pack(rows())
    del batch["labels"]
    seen = {tuple(model(**batch).logits.flatten().tolist()) for _ in range(3)}
    assert len(seen) == 3
    # With the others in evaluation mode, only the last layer drops, which has a forward of its own.
    layers[:-1].eval()
    assert not torch.equal(model(**batch).logits, model(**batch).logits)
    layers[-1].eval()
    assert torch.equal(model(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
def test_checkpointed_gradients_are_the_same(kind: str) -> None:
    torch.manual_seed(0)
    model = small_classifier(kind).double().train()
    enable_packing(model)
    batch = PackingCollator()(rows())
    _, expected = outcome(model, batch)
    model.activation_checkpointing_enable({"use_reentrant": False})
    _, found = outcome(model, batch)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-12, rtol=0, msg=name)


def test_compiled_programs_are_few_and_compute_the_same() -> None:
    """One for the first shape and one for all others, although every batch has other lengths."""
    torch.manual_seed(0)
    torch.compiler.reset()  # forget what other tests have compiled
    padded = small_classifier("Bert").double()
    packed = copy.deepcopy(padded)
    enable_packing(packed)
    compiler = CompileCounter()  # runs the traced program as it is
    compiled = torch.compile(packed, backend=compiler, fullgraph=True)
    batches = [rows(tuple(length + shift for length in LENGTHS)) for shift in range(0, 10, 2)]
    assert len({PackingCollator(8)(batch)["input_ids"].shape for batch in batches}) == 5
    for batch in batches:
        expected, expected_gradients = outcome(padded, PaddingCollator(pad_token_id=1)(batch))
        found, gradients = outcome(compiled, PackingCollator(pad_to_multiple_of=8)(batch))
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
        for name, gradient in expected_gradients.items():
            torch.testing.assert_close(gradients[f"_orig_mod.{name}"], gradient, atol=1e-10, rtol=0, msg=name)
    assert compiler.frame_count == 2


def test_only_what_was_proved_is_packed() -> None:
    assert all(can_pack(small_classifier(kind)) for kind in KINDS)
    assert not can_pack(small_classifier("ModernBert"))
    # A decoder's tokens see only those before them.
    assert not can_pack(small_classifier("Bert", is_decoder=True))
