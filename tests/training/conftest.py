"""A Trainer of a small model on toy rows, in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from support import NO_DROPOUT, TASK, token_rows
from transformers import AutoTokenizer, TrainerCallback, set_seed

from pipeline.config.arguments import TrainingArguments
from pipeline.modeling.batching import make_collator
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model
from pipeline.training.trainer import Trainer


@pytest.fixture
def rows(toy_corpus: Path, quickstart) -> dict[str, Dataset]:
    """Features of 150 + 50 toy reviews: five updates of 32 an epoch, the last of them of 22."""
    return token_rows(toy_corpus, quickstart[1])


@pytest.fixture
def make_model(quickstart) -> Callable[..., torch.nn.Module]:
    """The quickstart's model with weights drawn from one seed."""

    def make_model(overrides: str = NO_DROPOUT) -> torch.nn.Module:
        set_seed(7)
        return load_model(fetch_model(str(quickstart[1]), weights=False), TASK, overrides)

    return make_model


@pytest.fixture
def make(rows, make_model, quickstart, tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer that neither evaluates nor saves, unless its options say otherwise."""

    def make(*callbacks: TrainerCallback, batching: str = "packed", overrides: str = NO_DROPOUT, **options: Any):
        model, tokenizer = make_model(overrides), AutoTokenizer.from_pretrained(quickstart[1])
        given = {"output_dir": str(tmp_path / "run"), "logging_steps": 1, "report_to": "none", "learning_rate": 5e-4}
        given |= {"disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        args = TrainingArguments(**{**given, **options})
        return Trainer(
            model=model,
            task=TASK,
            args=args,
            train_dataset=rows["train"],
            eval_dataset=rows["test"],
            data_collator=make_collator(batching, model, tokenizer, 32, args),
            callbacks=list(callbacks),
        )

    return make


@pytest.fixture
def train(make) -> Callable[..., Trainer]:
    """Make a Trainer and train it."""

    def train(*callbacks: TrainerCallback, resume_from: str | None = None, **options: Any) -> Trainer:
        trainer = make(*callbacks, **options)
        trainer.train(resume_from_checkpoint=resume_from)
        return trainer

    return train
