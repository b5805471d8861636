"""All checks in a row: the data -> what is wrong with it, as JSON."""

import importlib.metadata
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, Features, Value

from pipeline.audit.balance import label_balance
from pipeline.audit.duplicates import Texts, between_splits, contradictions, within_splits
from pipeline.audit.examples import Examples
from pipeline.audit.label_errors import describe_suspects, read_predictions
from pipeline.audit.lengths import lengths_in_letters, lengths_in_tokens
from pipeline.audit.oddities import odd_texts
from pipeline.config.arguments import DataArguments
from pipeline.data.splits import select_splits
from pipeline.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FORMAT = 1


def audit(
    examples: Examples,
    data: DataArguments,
    source: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerBase | str",
    *,
    label_errors: bool = True,
    run: Path | None = None,
) -> dict[str, Any]:
    """Everything that is found, as the JSON has it.

    Args:
        examples: of all splits.
        data: the options.
        source: of the data, as `CorpusSpec.describe` gives it.
        tokenizer: or why there is none.
        label_errors: whether labels are judged.
        run: of a fine-tuned model with stored predictions, which judge the examples that they are of.

    Raises:
        UserError: the predictions are of other data.
    """
    logger.info("Comparing %s texts.", f"{len(examples):,}")
    texts = Texts.compare(examples)
    logger.info("Looking at lengths, labels and letters.")
    found = {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": importlib.metadata.version("nsmc-pipeline"),
        "data": {
            "name": data.name,
            "sha256": source.get("sha256", {}),
            "task": examples.task.describe(),
            "num_examples": {split: rows.stop - rows.start for split, rows in _ranges(examples).items()},
        },
        "within": within_splits(texts),
        "between": between_splits(texts),
        "held_out": held_out(examples, texts, data),
        "contradictions": contradictions(texts),
        "labels": label_balance(examples),
        "letters": lengths_in_letters(examples),
        "tokens": None,
        "odd": odd_texts(examples),
        "label_errors": None,
    }
    if isinstance(tokenizer, str):
        found["no_tokens"] = tokenizer
    else:
        found["tokens"] = {
            "tokenizer": Path(tokenizer.name_or_path).name,
            "max_length": data.max_length,
            "long_text": data.long_text,
            **lengths_in_tokens(examples, tokenizer, data.max_length, long_text=data.long_text, clean=data.clean),
        }
    if label_errors:
        logger.info("Looking for labels that do not fit their texts.")
        found["label_errors"] = judge_labels(examples, texts, run)
    return found


def judge_labels(examples: Examples, texts: Texts, run: Path | None) -> dict[str, Any] | None:
    """Suspected label errors by split; of a run's predictions, where there are any, else by a quick model.

    `leak`: with one label each, the quick model's accuracy on all test examples, on those whose text is in train
    (`seen`), and on the others.
    """
    from pipeline.audit.quick_model import quick_predictions  # slow

    if len(examples.task.text_columns) == 2 and examples.task.problem_type == "regression" and not run:
        return None  # n-grams do not tell how two texts relate
    quick = quick_predictions(examples, texts.same)
    predictions, judged_by = quick, dict.fromkeys(examples.splits, "quick")
    if run:
        stored = read_predictions(run, examples)
        known = ~np.isnan(stored).any(axis=1)
        predictions = np.where(known[:, None], stored, quick)
        for split, rows in _ranges(examples).items():
            judged_by[split] = "run" if known[rows].all() else "both" if known[rows].any() else "quick"
    found: dict[str, Any] = {
        "run": run.name if run else None,
        "judged_by": judged_by,
        "splits": describe_suspects(examples, predictions),
        "leak": None,
    }
    if {"train", "test"} <= set(examples.splits) and examples.task.problem_type == "single_label_classification":
        found["leak"] = _leak(examples, texts, quick)
    return found


def _leak(examples: Examples, texts: Texts, quick: np.ndarray) -> dict[str, Any]:
    rows, train = examples.rows_of("test"), examples.rows_of("train")
    right = quick[rows].argmax(axis=1) == examples.labels[rows]
    seen = np.isin(texts.exact[rows], texts.exact[train])

    def accuracy(chosen: np.ndarray) -> float | None:
        return float(right[chosen].mean()) if chosen.any() else None

    return {"all": float(right.mean()), "seen": accuracy(seen), "unseen": accuracy(~seen)}


def held_out(examples: Examples, texts: Texts, data: DataArguments) -> dict[str, Any]:
    """What scripts/train.py would split off the training examples with these options, and how much of it they share.

    By split `num_examples`, and `num_exact`: those whose text stands in what is left to train on. `problem`: why it
    cannot split.
    """
    columns = Features({"row": Value("int64"), "label": examples.task.label_feature})
    features = {
        split: Dataset.from_dict(
            {"row": np.arange(rows.start, rows.stop), "label": examples.labels[rows].tolist()}, features=columns
        )
        for split, rows in _ranges(examples).items()
    }
    try:
        splits = select_splits(
            features,
            examples.task,
            data.validation_fraction,
            data.validation_seed,
            test_fraction=data.test_fraction,
        )
    except UserError as error:
        return {"problem": str(error)}
    rows = {name: np.asarray(split["row"][:]) for name, split in splits.items()}
    return {
        name: {
            "num_examples": len(own),
            "num_exact": int(np.isin(texts.exact[own], texts.exact[rows["train"]]).sum()),
        }
        for name, own in rows.items()
        if name not in examples.splits
    }


def _ranges(examples: Examples) -> dict[str, slice]:
    return {split: examples.rows_of(split) for split in examples.splits}
