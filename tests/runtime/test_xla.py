"""What `pipeline.runtime.xla` does without torch_xla; tests/integration/test_tpu.py has the rest."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from support import ROOT

from pipeline.runtime import xla
from pipeline.runtime.errors import UserError


def test_without_replicas_nothing_is_done() -> None:
    assert not xla.is_replica()
    assert xla.ordinal() == 0
    assert xla.device_kind() is None
    with pytest.raises(KeyError), xla.end_with_failed_replica():
        raise KeyError
    loader = torch.utils.data.DataLoader([1, 2])
    assert xla.loader_with_known_end(loader) is loader


def test_the_loader_that_reads_ahead_is_left_out() -> None:
    inner = torch.utils.data.DataLoader([1, 2])
    assert xla.loader_with_known_end(SimpleNamespace(dataloader=inner)) is inner


def test_replicas_end_with_the_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes on after the error, as a worker of a pool does, and is ended all the same."""
    code = """
import time
from pipeline.runtime import xla
xla.GRACE_SECONDS = 0.1
try:
    with xla.end_with_failed_replica():
        raise RuntimeError("the reason")
except RuntimeError:
    time.sleep(30)
"""
    monkeypatch.setenv("PJRT_LOCAL_PROCESS_RANK", "0")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert done.returncode == 1
    assert "RuntimeError: the reason" in done.stderr


def arguments(device: str, **changes: object) -> SimpleNamespace:
    return SimpleNamespace(
        **{"device": torch.device(device), "bf16": False, "fp16": False, "eval_accumulation_steps": None, **changes}
    )


def test_predictions_leave_an_xla_device_at_every_step() -> None:
    for args, expected in (
        (arguments("xla"), 1),
        (arguments("xla", eval_accumulation_steps=4), 4),
        (arguments("cpu"), None),
    ):
        xla.configure_arguments(args)
        assert args.eval_accumulation_steps == expected


@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [
        ({"bf16": True}, {}, "--bf16"),
        ({"fp16": True}, {}, "--fp16"),
        ({}, {"XLA_USE_BF16": "1"}, "XLA_USE_BF16"),
        ({}, {"XLA_DOWNCAST_BF16": "1"}, "XLA_DOWNCAST_BF16"),
    ],
)
def test_half_precision_is_refused_on_xla_devices(
    options: dict, variables: dict, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{named} would round Adam's state to 16 bits"):
        xla.configure_arguments(arguments("xla", **options))
    xla.configure_arguments(arguments("cpu", **options))
