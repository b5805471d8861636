"""Run by test_launch_targets.py under a launcher: rows trained on, order of predictions, what is sharded.

python tests/support/probe.py RESULT.json KIND...    # kinds of models: Bert, Electra, Roberta
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import gather_object
from datasets import Dataset
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from pipeline.config.arguments import TrainingArguments
from pipeline.data.collators import PaddingCollator
from pipeline.runtime.cli import command
from pipeline.tasks import SingleLabelClassification
from pipeline.training.trainer import Trainer

ROWS = 101  # a prime, which no batch and no number of processes divides
FIRST = 5  # a row is its number and this between two tokens that are less; so is what fills up the last batch


@command
def main() -> None:
    result, *kinds = sys.argv[1:]
    found = {kind: probe(kind) for kind in kinds}
    if int(found[kinds[0]]["rank"]) == 0:
        Path(result).write_text(json.dumps(found))


def probe(kind: str) -> dict[str, Any]:
    """Train for two epochs and predict, each row with a label of its own."""
    transformers.set_seed(7)
    rows = Dataset.from_dict({"input_ids": [[2, FIRST + n, 3] for n in range(ROWS)], "label": list(range(ROWS))})
    task = SingleLabelClassification(tuple(map(str, range(ROWS))))
    config = getattr(transformers, f"{kind}Config")(
        **{"vocab_size": ROWS + FIRST, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 32, "max_position_embeddings": 8, "pad_token_id": 1, "num_labels": ROWS},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    seen: list[int] = []

    def note(module: torch.nn.Module, args: tuple, kwargs: dict[str, torch.Tensor]) -> None:
        tokens = kwargs["input_ids"].flatten()
        if module.training:
            seen.extend((tokens[tokens >= FIRST] - FIRST).tolist())

    model.register_forward_pre_hook(note, with_kwargs=True)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            **{"output_dir": folder, "num_train_epochs": 2, "learning_rate": 1e-3, "per_device_eval_batch_size": 8},
            **{"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"},
            **{"logging_steps": 1, "disable_tqdm": True},
        )
        trainer = Trainer(
            model=model, task=task, args=args, train_dataset=rows, eval_dataset=rows, data_collator=PaddingCollator(1)
        )
        trainer.train()
    parameters = list(trainer.model.parameters())  # before predicting, which leaves the outermost unit together
    here = [parameter.to_local() if isinstance(parameter, DTensor) else parameter for parameter in parameters]
    prediction = trainer.predict(rows)
    return {
        "rank": args.process_index,
        "processes": args.world_size,
        "seen": gather_object([seen]) if args.world_size > 1 else [seen],
        "labels": prediction.label_ids.tolist(),
        "logits": prediction.predictions.tolist(),
        "units": [type(module).__name__ for module in trainer.model.modules() if isinstance(module, FSDPModule)],
        "here": sum(parameter.numel() for parameter in here),
        "all": sum(parameter.numel() for parameter in parameters),
    }


if __name__ == "__main__":
    main()
