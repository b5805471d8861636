"""`--batching`: which collator, which model, and what is said where a choice is not possible."""

import logging
from types import SimpleNamespace

import pytest
import torch
from support import small_classifier

from pipeline.config.parser import parse_arguments
from pipeline.data.collators import PackingCollator, PaddingCollator
from pipeline.modeling.batching import make_collator
from pipeline.runtime.errors import UserError

TOKENIZER = SimpleNamespace(pad_token_id=1)
ROWS = [{"input_ids": [2, 5, 3], "label": 1}, {"input_ids": [2, 5, 6, 7, 3], "label": 0}]


def arguments(device: str = "cpu", n_gpu: int = 0, **changes: object) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "device": torch.device(device),
            "n_gpu": n_gpu,
            "torch_compile": False,
            "neftune_noise_alpha": None,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("batching", "device", "n_gpu", "expected"),
    [
        ("longest", "cpu", 0, None),
        ("max_length", "cpu", 0, 64),
        ("packed", "cpu", 0, "packed"),
        ("auto", "cpu", 0, "packed"),
        ("auto", "cuda", 1, "packed"),
        ("auto", "cuda", 2, None),  # nn.DataParallel
        ("auto", "xla", 0, 64),
        ("longest", "xla", 0, None),
    ],
)
def test_batching_by_name(batching: str, device: str, n_gpu: int, expected: int | str | None) -> None:
    collator = make_collator(batching, small_classifier("Bert"), TOKENIZER, 64, arguments(device, n_gpu))
    assert getattr(collator, "width", "packed") == expected
    assert getattr(collator, "additive_mask", False) == (device == "xla")


@pytest.mark.parametrize("kind", ["Bert", "Electra", "Roberta", "XLMRoberta", "DistilBert"])
def test_with_no_option_batches_are_packed(kind: str) -> None:
    """The default of the option, and a model that reads what it gets."""
    model = small_classifier(kind)
    collator = make_collator(parse_arguments([])[0].batching, model, TOKENIZER, 64, arguments())
    assert collator == PackingCollator()
    batch = collator(ROWS)
    assert batch["input_ids"].shape == (1, 8)  # 3 + 5 tokens and no padding
    del batch["labels"]
    assert model(**batch).logits.shape == (2, 2)


@pytest.mark.parametrize(("compiled", "multiple"), [(False, None), (True, 64)])
def test_only_packed_rows_of_compiled_models_are_padded(compiled: bool, multiple: int | None) -> None:
    collator = make_collator("auto", small_classifier("Bert"), TOKENIZER, 64, arguments(torch_compile=compiled))
    assert collator == PackingCollator(multiple)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "ModernBert"}, "ModernBertForSequenceClassification"),
        ({"kind": "Bert", "config": {"is_decoder": True}}, "BertForSequenceClassification"),
        ({"kind": "Bert", "args": {"neftune_noise_alpha": 5.0}}, "--neftune_noise_alpha"),  # depends on a batch's width
        ({"kind": "Bert", "args": {"device": torch.device("cuda"), "n_gpu": 2}}, "2 GPUs in one process"),
    ],
)
def test_what_cannot_be_packed_is_padded_and_said(changes: dict, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    model = small_classifier(changes["kind"], **changes.get("config", {}))
    args = arguments(**changes.get("args", {}))
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert make_collator("auto", model, TOKENIZER, 64, args) == PaddingCollator(pad_token_id=1)
        assert caplog.text == ""  # auto promises nothing
        assert make_collator("packed", model, TOKENIZER, 64, args) == PaddingCollator(pad_token_id=1)
    assert f"--batching packed is not possible with {reason}; using longest." in caplog.text


def test_on_xla_what_cannot_be_packed_has_one_shape(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pipeline"):
        collator = make_collator("packed", small_classifier("Bert"), TOKENIZER, 64, arguments("xla"))
    assert collator == PaddingCollator(pad_token_id=1, width=64, additive_mask=True)
    assert "not possible with an XLA device; using max_length." in caplog.text


LONG = {"input_ids": [2, 5, 3, 2, 6, 7, 3], "window_lengths": [3, 4], "label": 1}


@pytest.mark.parametrize("batching", ["packed", "longest", "max_length"])
def test_windows_become_one_example(batching: str) -> None:
    torch.manual_seed(0)
    model = small_classifier("Bert").eval()
    collator = make_collator(batching, model, TOKENIZER, 16, arguments(), "windows")
    batch = collator([LONG, {**ROWS[0], "window_lengths": [3]}])
    assert batch.pop("labels").tolist() == [1, 1]
    assert model(**batch).logits.shape == (2, 2)


def test_windows_are_not_split_over_the_gpus_of_one_process() -> None:
    """nn.DataParallel splits every tensor of a batch alike, and rows are not examples."""
    with pytest.raises(UserError, match=r"--long_text windows.*accelerate launch"):
        make_collator("auto", small_classifier("Bert"), TOKENIZER, 64, arguments("cuda", 2), "windows")


def test_a_decoder_finds_the_end_of_a_padded_text() -> None:
    torch.manual_seed(0)
    model = small_classifier("GPT2", pad_token_id=None).eval()
    collator = make_collator("auto", model, TOKENIZER, 64, arguments())
    together, alone = (collator(rows) for rows in (ROWS, ROWS[:1]))
    for batch in (together, alone):
        del batch["labels"]
    torch.testing.assert_close(model(**together).logits[0], model(**alone).logits[0])
