"""What the tests want to know of a run and the run itself does not tell: one report for each replica.

A callback that stands in every `transformers.Trainer`, before the ones that a Trainer adds to itself.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch_xla
import torch_xla.core.xla_model as xm
import torch_xla.debug.metrics as metrics
from safetensors.torch import save_file
from torch_xla import runtime
from transformers import TrainerCallback, trainer


def install(folder: str) -> None:
    """Have every Trainer of this process report to `folder`."""
    trainer.DEFAULT_CALLBACKS.append(type("Probe", (_Probe,), {"folder": Path(folder)}))


class _Probe(TrainerCallback):
    folder: Path

    def __init__(self) -> None:
        self.ordinal = runtime.global_ordinal()
        self.told: dict[str, Any] = {"seeds": [], "steps": [], "epochs": [], "evaluations": [], "predictions": []}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        if os.environ.get("XLA_PROBE_FAIL") == str(self.ordinal):
            raise RuntimeError(f"replica {self.ordinal} fails, as it was asked to")
        if os.environ.get("XLA_PROBE_DISTURB") and self.ordinal:
            with torch.no_grad():  # this replica would begin with weights of its own
                model.classifier.weight += self.ordinal

    def on_epoch_begin(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        if "begin" in self.told:
            return
        self.told |= {
            "begin": _digest(_weights(model)),
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "world_size": args.world_size,
            "dtypes": sorted({str(parameter.dtype) for parameter in model.parameters()}),
            "precision": {name: os.environ.get(name) for name in ("XLA_USE_BF16", "XLA_DOWNCAST_BF16")},
        }

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told["seeds"].append(xm.get_rng_state())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told["steps"].append(self._counts(state))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told["evaluations"].append(self._counts(state))

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        weights = _weights(model)
        self.told["epochs"].append({**self._counts(state), "weights": _digest(weights)})
        save_file(weights, self.folder / f"{self.ordinal}.safetensors")

    def on_predict(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told["predictions"].append(self._counts(state))
        self._tell()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell()

    def _tell(self) -> None:
        (self.folder / f"{self.ordinal}.json").write_text(json.dumps(self.told))

    def _counts(self, state: Any) -> dict[str, int]:
        """Of this process so far: graphs compiled, transfers to the host, and this replica's reductions."""
        standin = sys.modules.get("standin")
        return {
            "step": state.global_step,
            "compiled": (metrics.metric_data("CompileTime") or [0])[0],
            "to_host": (metrics.metric_data("TransferFromDeviceTime") or [0])[0],
            "reductions": standin.reductions[self.ordinal] if standin else 0,
        }


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    torch_xla.sync()  # what is read before the step is over would change its result
    return xm._maybe_convert_to_cpu({name: tensor.detach() for name, tensor in model.state_dict().items()})


def _digest(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()
