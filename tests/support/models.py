"""Classifiers that are written in a second: random weights, or weights that are known."""

from pathlib import Path

import numpy as np
import torch

from pipeline.inference.classifier import Classifier
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.modeling.prediction_settings import keep_prediction_settings
from pipeline.tasks import Task
from support import TASK


def save_random_classifier(
    folder: Path,
    model_dir: Path,
    initializer_range: float = 0.5,
    task: Task = TASK,
    clean: str = "none",
    long_text: str = "head",
) -> Path:
    """Save a classifier of random weights with the config and the tokenizer of `model_dir`; it reads 16 tokens.

    By default its weights are 25 times as large as BERT's usual ones, so that texts get different labels.
    """
    files = fetch_model(str(model_dir), weights=False)
    torch.manual_seed(0)
    model = load_model(files, task, f"initializer_range={initializer_range}")
    keep_prediction_settings(model.config, task, clean, long_text)
    model.save_pretrained(folder)
    load_tokenizer(files, 16).save_pretrained(folder)
    return folder


def word_counter(
    model_dir: Path, weights: dict[str, float], max_length: int, task: Task = TASK, **options: str
) -> Classifier:
    """A classifier whose second logit, or only one, is the sum of the weights of a text's words, and the others 0.

    `options` are those of `Classifier`.
    """
    tokenizer = load_tokenizer(fetch_model(str(model_dir), weights=False), max_length)

    def compute_logits(examples: list[dict]) -> np.ndarray:
        texts = tokenizer.batch_decode([example["input_ids"] for example in examples], skip_special_tokens=True)
        logits = np.zeros((len(texts), task.num_labels), dtype=np.float32)
        logits[:, min(1, task.num_labels - 1)] = [
            sum(weight * text.count(word) for word, weight in weights.items()) for text in texts
        ]
        return logits

    return Classifier(task, tokenizer, max_length, compute_logits, **options)
