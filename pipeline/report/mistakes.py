"""The most confident mistakes, what carried them, and labels that are probably wrong."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.report.examples import Examples

NUM_MISTAKES = 50
MAX_LETTERS = 600  # of texts that are taken apart word by word


def most_confident(examples: Examples) -> np.ndarray:
    """The indices of wrong examples, the most confident first; in a regression of all, the farthest first."""
    confidence = examples.confidence
    if examples.right is None:
        return np.argsort(confidence, kind="stable")[:NUM_MISTAKES]
    wrong = np.flatnonzero(~examples.right)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:NUM_MISTAKES]


def suspected_labels(examples: Examples) -> np.ndarray | None:
    """Whether each label is probably wrong, bool, [examples]; None where a task has not one label for each example.

    Confident learning (Northcutt et al. 2021): an example is counted as of the class that is most probable among those
    that are at least as probable as they are, on average, for examples with that label.
    """
    if examples.task.problem_type != "single_label_classification":
        return None
    rows = np.arange(len(examples.labels))
    sums = np.bincount(
        examples.labels, weights=examples.probabilities[rows, examples.labels], minlength=examples.task.num_labels
    )
    counts = np.bincount(examples.labels, minlength=examples.task.num_labels)
    thresholds = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)
    confident = np.where(examples.probabilities >= thresholds, examples.probabilities, -1.0)
    return (confident.max(axis=1) > 0) & (confident.argmax(axis=1) != examples.labels)


def describe_mistakes(examples: Examples, model: Path | None) -> list[dict[str, Any]]:
    """`most_confident` with texts, labels and probabilities, and with the effect of each word if there is a model.

    Args:
        model: the folder of the run, whose model is loaded; None: no effects.
    """
    indices, suspected = most_confident(examples), suspected_labels(examples)
    effects = _effects(examples, indices, model) if model else {}
    return [
        {
            "row": int(index) + 1,
            "texts": [
                _marked(text, [word for word in effects.get(int(index), []) if word.text == number])
                for number, text in enumerate(examples.texts[index])
            ],
            "label": _label_name(examples, index),
            "predicted": examples.task.decide(examples.probabilities[index]).label,
            "confidence": None if examples.right is None else float(examples.confidence[index]),
            "suspected": bool(suspected[index]) if suspected is not None else False,
            "seen": bool(examples.seen[index]) if examples.seen is not None else False,
        }
        for index in indices
    ]


def _label_name(examples: Examples, index: int) -> str:
    return examples.task.label_name(examples.labels[index])


def _effects(examples: Examples, indices: np.ndarray, model: Path) -> dict[int, list[Any]]:
    """The words of each example by index; of long texts none, since every word is a prediction."""
    from pipeline.inference.classifier import load_classifier
    from pipeline.inference.explain import word_effects

    classifier = load_classifier(str(model))
    found = {}
    for index in map(int, indices):
        texts = examples.texts[index]
        if sum(map(len, texts)) <= MAX_LETTERS:
            found[index] = word_effects(classifier, texts if len(texts) == 2 else texts[0])
    return found


def _marked(text: str, words: list[Any]) -> list[dict[str, Any]]:
    """The text in pieces, each with the effect of its word: above 0 it carried the decision; 0 between words."""
    pieces, end = [], 0
    for word in sorted(words):
        pieces += [{"text": text[end : word.start], "effect": 0.0}] if word.start > end else []
        pieces.append({"text": text[word.start : word.end], "effect": float(word.effect)})
        end = word.end
    return [*pieces, *([{"text": text[end:], "effect": 0.0}] if end < len(text) else [])]
