"""Which words a prediction rests on, and how much of the text the model read. Uses logits only: PyTorch or ONNX."""

import re
from typing import NamedTuple

from pipeline.inference.classifier import Classifier


class Word(NamedTuple):
    """A word that the model read.

    Attributes:
        start, end: its position in the text, in characters.
        effect: how far the probability of the predicted label falls without it, -1 to 1.
    """

    start: int
    end: int
    effect: float


def num_characters_read(classifier: Classifier, text: str) -> int:
    """How many characters of the text are within `max_length` tokens."""
    encoded = classifier.tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(encoded["input_ids"]) <= classifier.max_length:
        return len(text)
    kept = encoded["offset_mapping"][: classifier.max_length - 1]  # the last token read is a special one
    return max(end for _, end in kept)


def word_effects(classifier: Classifier, text: str) -> list[Word]:
    """Remove one word at a time and measure how far the probability of the predicted label falls.

    The truncated end stays out: otherwise each removal would let in a word that the model had not read.
    """
    read = text[: num_characters_read(classifier, text)]
    spans = [match.span() for match in re.finditer(r"\S+", read)]
    if not spans:
        return []
    next_starts = [start for start, _ in spans[1:]] + [len(read)]  # a word is removed with the space after it
    shortened = [read[:start] + read[after:] for (start, _), after in zip(spans, next_starts, strict=True)]
    probabilities = classifier.task.probabilities(classifier.logits([read, *shortened]))
    label = probabilities[0].argmax()
    effects = probabilities[0, label] - probabilities[1:, label]
    return [Word(start, end, float(effect)) for (start, end), effect in zip(spans, effects, strict=True)]
