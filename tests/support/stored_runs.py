"""Runs that have a config and stored predictions, and nothing else."""

import json
from pathlib import Path

import numpy as np

from pipeline.evaluation.results import write_predictions
from pipeline.tasks import Task


def save_run(folder: Path, task: Task, logits: dict, labels: dict, seen: np.ndarray | None = None) -> Path:
    """A run with its config and its predictions, by the functions of the real one; the texts say split and row."""
    described = task.describe()
    settings = {name: described[name] for name in ("text_columns", "temperature", "thresholds") if name in described}
    config = {
        "problem_type": task.problem_type,
        "id2label": dict(enumerate(task.class_names)),
        "classifier": settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    texts = {
        split: [
            {**{column: f"{column} {split} {row}" for column in task.text_columns}, "label": label}
            for row, label in enumerate(of_split)
        ]
        for split, of_split in labels.items()
    }
    write_predictions(folder / "predictions.jsonl", logits, texts, task, seen)
    return folder


def draw_logits(task: Task, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (count, task.num_labels)).astype(np.float32)
