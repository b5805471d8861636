"""Which words carried a label, and how much of the text the model read. PyTorch or ONNX: only logits are asked for."""

import re
from typing import NamedTuple

from pipeline.inference import Classifier, softmax


class Word(NamedTuple):
    """A word that the model read.

    Attributes:
        start, end: where it is in the text.
        effect: what it adds to the probability of the predicted label, -1 to 1.
    """

    start: int
    end: int
    effect: float


def characters_read(classifier: Classifier, text: str) -> int:
    """How many of the text's characters come before the cut at `max_seq_length` tokens; all of them if none is cut."""
    encoded = classifier.tokenizer(text, return_offsets_mapping=True, verbose=False)
    if len(encoded["input_ids"]) <= classifier.max_seq_length:
        return len(text)
    kept = encoded["offset_mapping"][: classifier.max_seq_length - 1]  # the last place is the special token's
    return max(end for _, end in kept)


def word_effects(classifier: Classifier, text: str) -> list[Word]:
    """Leave out one word after the other, and see how far the probability of the predicted label falls.

    What was cut stays out: else each word that is left out would let one in that the model had not read.
    """
    read = text[: characters_read(classifier, text)]
    spans = [match.span() for match in re.finditer(r"\S+", read)]
    if not spans:
        return []
    following = [start for start, _ in spans[1:]] + [len(read)]  # the space behind a word goes with it
    without = [read[:start] + read[after:] for (start, _), after in zip(spans, following, strict=True)]
    probabilities = softmax(classifier.logits([read, *without]))
    label = probabilities[0].argmax()
    effects = probabilities[0, label] - probabilities[1:, label]
    return [Word(start, end, float(effect)) for (start, end), effect in zip(spans, effects, strict=True)]
