"""A finished run as scripts/train.py leaves it, made by its functions without training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pipeline.config.parser import parse_arguments, public_arguments
from pipeline.data.corpora import get_corpus
from pipeline.data.corpus import CorpusCard
from pipeline.data.own_data import own_card
from pipeline.evaluation.report import describe_labels
from pipeline.evaluation.results import describe_training, environment
from pipeline.runtime.run_dir import write_json
from pipeline.tasks import Task
from support import TASK

UPLOADED = {
    *("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
}
KEPT_BACK = {
    *("optimizer.pt", "training_args.bin", "trainer_state.json", "predictions.jsonl"),
    *("checkpoint-30/model.safetensors", "runs/events"),
}
# Counts of (reference, prediction) that give every number of the table another value.
VALIDATION = {(0, 0): 50, (0, 1): 11, (1, 0): 3, (1, 1): 40}
TEST = {(0, 0): 300, (0, 1): 20, (1, 0): 70, (1, 1): 210}
NUM_LABELS = {"train": (64, 40), "validation": (61, 43), "test": (320, 280)}
OWN_CARD = own_card("emotions", "`emotions.csv`")


def scores(counts: dict[tuple[int, int], int]) -> dict:
    """The numbers of an evaluation with this confusion matrix."""
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    logits = np.array([[2.0, 0.5] if prediction == 0 else [-1.0, 1.5] for _, prediction in pairs], dtype=np.float32)
    return TASK.evaluate(logits, np.array([reference for reference, _ in pairs]))


def examples(task: Task, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a task, each class more frequent than the next, and logits that are often right."""
    draw = np.random.default_rng(seed)
    if task.problem_type == "regression":
        labels = draw.uniform(0, 5, count).astype(np.float32)
        return (labels + draw.normal(0, 1, count).astype(np.float32))[:, None], labels
    shares = 1 / np.arange(2, task.num_labels + 2)
    if task.problem_type == "multi_label_classification":
        labels = (draw.random((count, task.num_labels)) < shares).astype(np.float32)
        return (4 * labels - 2 + draw.normal(0, 2, labels.shape)).astype(np.float32), labels
    labels = draw.choice(task.num_labels, count, p=shares / shares.sum())
    return (2 * np.eye(task.num_labels)[labels] + draw.normal(0, 1, (count, task.num_labels))).astype(
        np.float32
    ), labels


def make_run(
    folder: Path,
    *options: str,
    corpus: str = "nsmc_layout",
    commit: str | None = None,
    pretrained: bool = False,
    task: Task | None = None,
    card: CorpusCard = OWN_CARD,
    report: dict | None = None,
    seen: int = 0,
    sharpness: float = 1.0,
) -> Path:
    """Make the folder of a run with these options of scripts/train.py; its features are in `features` beside it.

    Args:
        corpus: that it was trained on, unless `task` is given.
        commit: of the base model on the Hub.
        pretrained: whether the base model had weights.
        task: of the user's own data.
        card, report: of that data.
        seen: test texts that stand in train too.
        sharpness: what the logits of `task` are multiplied by, before its temperature is fitted.
    """
    words = ["--recipe", "quickstart", "--output_dir", str(folder), *options]
    words += [] if task else ["--corpus_name", corpus]
    data, model, training = parse_arguments(words)
    chosen_on = "validation" if data.validation_fraction else "test"
    outcome = SimpleNamespace(metrics={"train_loss": 0.5})
    state = SimpleNamespace(best_model_checkpoint=str(folder / "checkpoint-30"), global_step=30)
    results = describe_training(outcome, state, chosen_on, data, training, "no")
    about = {"name": corpus, "card": get_corpus(corpus).card.describe(), "task": get_corpus(corpus).task.describe()}
    sizes = {"train": 104, "validation": 104, "test": 600}
    if task:
        about = {"name": "emotions", "card": card.describe(), "task": task.describe()}
        drawn = {split: examples(task, count, seed) for seed, (split, count) in enumerate(sizes.items())}
        drawn = {split: (sharpness * logits, labels) for split, (logits, labels) in drawn.items()}
        tuned = task.tune(*drawn["validation"]) if sharpness != 1 else task
        numbers = {split: tuned.evaluate(*drawn[split]) for split in ("validation", "test")}
        labels = {split: labels for split, (_, labels) in drawn.items()}
    else:
        task = TASK
        numbers = {"validation": scores(VALIDATION), "test": scores(TEST)}
        labels = {split: np.repeat([0, 1], counts) for split, counts in NUM_LABELS.items()}
    if seen:
        numbers["test_unseen"], numbers["test"]["num_seen"] = numbers["validation"], seen
    chosen = [split for split in sizes if split != "validation" or chosen_on == "validation"]
    folder.mkdir(exist_ok=True)
    write_json(
        folder / "results.json",
        {**results, **{split: numbers[split] for split in (*chosen, "test_unseen") if split in numbers}},
    )
    write_json(
        folder / "run.json",
        {
            "corpus": {**about, "sha256": {"train": "a" * 64, "test": "b" * 64}, "report": report or {}},
            "features": {"folder": str(folder.parent / "features"), "num_examples": {"train": 208, "test": 600}},
            "model": {"name": model.model_name_or_path, "commit": commit, "pretrained": pretrained},
            "splits": {split: describe_labels(task, labels[split]) for split in chosen},
            "arguments": public_arguments(data, model, training),
            "environment": environment(2, "bf16"),
        },
    )
    for name in UPLOADED | KEPT_BACK:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder
