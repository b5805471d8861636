"""Long texts in windows: the mean of the windows' logits, and nothing else for a text that fits."""

import copy
from itertools import chain

import pytest
import torch
from support import small_classifier

from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.modeling.packed_attention import enable_packing
from pipeline.modeling.windows import enable_windows, mean_of_windows

FIRST, SECOND, THIRD = [2, 5, 9, 3], [2, 7, 3], [2, 40, 41, 42, 43, 3]


def example(*windows: list[int]) -> dict:
    return {"input_ids": list(chain(*windows)), "window_lengths": list(map(len, windows)), "label": 0}


def logits_of(model: torch.nn.Module, collate: PaddingCollator | PackingCollator, examples: list[dict]) -> torch.Tensor:
    batch = collate(examples)
    del batch["labels"]
    return model(**batch).logits


@pytest.fixture(params=["padded", "packed"])
def made(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.nn.Module, PaddingCollator | PackingCollator]:
    """A model, the same enabled for windows, and a collator for both."""
    torch.manual_seed(0)
    plain = small_classifier("Bert").double().eval()
    if request.param == "packed":
        enable_packing(plain)
    enabled = small_classifier("Bert").double().eval()
    enabled.load_state_dict(plain.state_dict())
    if request.param == "packed":
        enable_packing(enabled)
    enable_windows(enabled)
    return plain, enabled, PackingCollator() if request.param == "packed" else PaddingCollator(pad_token_id=1)


def test_an_example_is_the_mean_of_its_windows(made) -> None:
    plain, enabled, collate = made
    texts = (FIRST, SECOND, THIRD)
    alone = {len(text): logits_of(plain, collate, [{"input_ids": text, "label": 0}])[0] for text in texts}
    found = logits_of(enabled, collate, [example(THIRD, SECOND), example(FIRST), example(FIRST, SECOND, THIRD)])
    expected = [(alone[6] + alone[3]) / 2, alone[4], sum(alone.values()) / 3]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-10, rtol=0)


def test_texts_that_fit_are_read_as_ever(made) -> None:
    """To the last bit, in training too: dropout is drawn alike."""
    plain, enabled, collate = made
    texts = (FIRST, SECOND, THIRD)
    for model in (plain, enabled):
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.2
    torch.manual_seed(1)
    expected = logits_of(plain, collate, [{"input_ids": text, "label": 0} for text in texts])
    torch.manual_seed(1)
    assert torch.equal(logits_of(enabled, collate, list(map(example, texts))), expected)
    torch.manual_seed(1)
    assert torch.equal(
        logits_of(enabled, collate, [{"input_ids": text, "label": 0} for text in texts]), expected
    )  # and so is a batch without windows


def test_half_precision_is_averaged_in_float32() -> None:
    logits = torch.tensor([[1.0], [1.0078125], [2.0]], dtype=torch.bfloat16)
    found = mean_of_windows(logits, torch.tensor([[0, 1], [2, -1]]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.00390625], [2.0]]  # which bfloat16 does not have


def test_windows_that_are_absent_count_for_nothing() -> None:
    """Row 0 stands in for them, whatever is in it."""
    logits = torch.tensor([[float("inf")], [3.0]])
    assert mean_of_windows(logits, torch.tensor([[0, -1], [1, -1]])).tolist() == [[float("inf")], [3.0]]


def test_compiled_windows_compute_the_same() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model = small_classifier("Bert").double().eval()
    other = copy.deepcopy(model)
    for each in (model, other):
        enable_packing(each)
        enable_windows(each)
    compiled = torch.compile(other, backend="eager", fullgraph=True)
    for windows in ((FIRST,), (FIRST, SECOND), (THIRD, FIRST, SECOND)):
        examples = [example(*windows), example(SECOND)]
        expected = logits_of(model, PackingCollator(8), examples)
        torch.testing.assert_close(logits_of(compiled, PackingCollator(8), examples), expected, atol=1e-10, rtol=0)
