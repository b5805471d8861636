"""What `pipeline.xla` does without torch_xla; `test_tpu.py` has the rest."""

import logging
import subprocess
import sys

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from pipeline import launch, xla


def test_the_ready_mask_is_the_models_own() -> None:
    torch.manual_seed(7)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**sizes, intermediate_size=32, initializer_range=0.5)  # so large that attention matters
    model = BertForSequenceClassification(config).eval()
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[0, 5:] = mask[2, 1:] = 0
    batch = {"input_ids": torch.randint(50, (3, 8)), "attention_mask": mask}
    ready = xla.with_ready_mask(batch, model.dtype)
    assert ready["attention_mask"].shape == (3, 1, 1, 8)
    assert batch["attention_mask"] is mask  # the batch itself stays as it is
    assert xla.with_ready_mask(ready, model.dtype) is ready
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        with torch.no_grad():
            ours, theirs = model(**ready).logits, model(**batch).logits
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    with torch.no_grad():  # the mask counts: without it the logits are others
        assert not torch.allclose(model(batch["input_ids"]).logits, theirs, atol=1e-2)


def test_without_replicas_nothing_is_done() -> None:
    assert not xla.is_replica()
    assert xla.ordinal() == 0
    assert xla.device_kind() is None
    with pytest.raises(KeyError), xla.ending_together():
        raise KeyError
    loader = torch.utils.data.DataLoader([1, 2])
    assert xla.counted(loader) is loader


def test_replicas_end_with_the_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on after the error, as a worker of a pool does, and is ended all the same."""
    code = """
import time
from pipeline import xla
xla.GRACE = 0.1
try:
    with xla.ending_together():
        raise RuntimeError("the reason")
except RuntimeError:
    time.sleep(30)
"""
    monkeypatch.setenv("PJRT_LOCAL_PROCESS_RANK", "0")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "RuntimeError: the reason" in done.stderr


def test_only_the_first_process_logs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pipeline")
    monkeypatch.setattr(logger, "handlers", [])
    launch.start_logging()
    logger.info("first")
    monkeypatch.setattr(xla, "ordinal", lambda: 3)
    logger.warning("second")
    logger.error("third")
    logged = capsys.readouterr().err
    assert "first" in logged
    assert "second" not in logged
    assert "third" in logged
