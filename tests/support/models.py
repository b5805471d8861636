"""Classifiers that are written in a second: random weights, or weights that are known."""

from pathlib import Path

import numpy as np
import torch

from pipeline.inference.classifier import Classifier
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from support import TASK


def save_random_classifier(folder: Path, model_dir: Path, initializer_range: float = 0.5) -> Path:
    """Save a classifier of random weights with the config and the tokenizer of `model_dir`; it reads 16 tokens.

    By default its weights are 25 times as large as BERT's usual ones, so that texts get different labels.
    """
    files = fetch_model(str(model_dir), weights=False)
    torch.manual_seed(0)
    load_model(files, TASK, f"initializer_range={initializer_range}").save_pretrained(folder)
    load_tokenizer(files, 16).save_pretrained(folder)
    return folder


def word_counter(model_dir: Path, weights: dict[str, float], max_length: int) -> Classifier:
    """A classifier whose second logit is the sum of the weights of a text's words, its first one 0."""
    tokenizer = load_tokenizer(fetch_model(str(model_dir), weights=False), max_length)

    def compute_logits(examples: list[dict]) -> np.ndarray:
        texts = tokenizer.batch_decode([example["input_ids"] for example in examples], skip_special_tokens=True)
        scores = [sum(weight * text.count(word) for word, weight in weights.items()) for text in texts]
        return np.array([[0, score] for score in scores], dtype=np.float32)

    return Classifier(TASK, tokenizer, max_length, compute_logits)
