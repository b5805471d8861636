"""Which words a prediction rests on, and what of a text the model read. Uses logits only: PyTorch or ONNX."""

import re
from bisect import bisect_right
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.tokenization import Text, TextEncoder
from pipeline.inference.classifier import Classifier

Spans = list[tuple[int, int]]  # start and end in characters


class Word(NamedTuple):
    """A word that the model read.

    Attributes:
        start, end: its position in the text, in characters.
        effect: how far the probability of the predicted label falls without it, -1 to 1; of several labels that of the
            most probable one; in a regression how far the number falls.
        text: 0, or 1 for the second text of a pair.
    """

    start: int
    end: int
    effect: float
    text: int = 0


def read_spans(classifier: Classifier, text: Text) -> list[Spans]:
    """What the model reads of a text, or of each text of a pair: all, the beginning, or beginning and end.

    Where a text is cleaned first, whole words are counted: its tokens are not where they are in the text.
    """
    texts, encoder = _texts(text), classifier.encoder
    cleaned: Any = _texts(encoder.clean(text))
    encoding = encoder.backend.encode(*cleaned)
    if len(encoding.ids) <= classifier.max_length or encoder.long_text == "windows":
        return [[(0, len(each))] for each in texts]
    (kept,) = encoder.kept(encoding)
    text_of_token = np.array([-1 if number is None else number for number in encoding.sequence_ids])
    spans = []
    for number, each in enumerate(texts):
        tokens = np.flatnonzero(text_of_token == number)
        read = np.flatnonzero(np.isin(tokens, kept))
        num_first = int((read == np.arange(len(read))).sum())  # the others are the last ones of the text
        num_last = len(read) - num_first
        if num_first == len(tokens):
            spans.append([(0, len(each))])
        elif encoder.clean(each) != each:
            spans.append(_spans_by_words(encoder, each, num_first, num_last))
        else:
            offsets = [encoding.offsets[token] for token in tokens]
            first = [(0, max(end for _, end in offsets[:num_first]))] if num_first else []
            last = [(offsets[-num_last][0], len(each))] if num_last else []
            spans.append(first + last)
    return spans


def word_effects(classifier: Classifier, text: Text) -> list[Word]:
    """Remove one word at a time, of one text at a time, and measure how far the result falls.

    What is not read stays out: otherwise each removal would let in a word that the model had not read.
    """
    texts, spans = _texts(text), read_spans(classifier, text)
    read = [[each[start:end] for start, end in own] for each, own in zip(texts, spans, strict=True)]
    words, variants = [], [read]
    for number, own in enumerate(spans):
        for part, (offset, _) in enumerate(own):
            piece = read[number][part]
            for word in re.finditer(r"(\S+)\s*", piece):  # a word is removed with the space after it
                shortened = [list(parts) for parts in read]
                shortened[number][part] = piece[: word.start()] + piece[word.end() :]
                words.append((offset + word.start(1), offset + word.end(1), number))
                variants.append(shortened)
    if not words:
        return []
    joined: list[Any] = [tuple(" ".join(parts) for parts in variant) for variant in variants]
    values = classifier.task.probabilities(
        classifier.logits(joined if len(texts) == 2 else [each for (each,) in joined])
    )
    label = values[0].argmax()
    effects = (values[0, label] - values[1:, label]).tolist()
    return [Word(start, end, effect, number) for (start, end, number), effect in zip(words, effects, strict=True)]


def _texts(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _spans_by_words(encoder: TextEncoder, text: str, num_first: int, num_last: int) -> Spans:
    """The words that `num_first` tokens at the beginning and `num_last` at the end of the cleaned text make up."""
    words = [match.span() for match in re.finditer(r"\S+", text)]

    def count(part: str) -> int:
        return len(encoder.backend.encode(encoder.clean(part), add_special_tokens=False).ids)

    first = bisect_right(words, num_first, key=lambda word: count(text[: word[1]]))
    last = bisect_right(words[::-1], num_last, key=lambda word: count(text[word[0] :]))
    spans = [(0, words[first - 1][1])] if first else []
    return spans + ([(words[-last][0], len(text))] if last else [])
