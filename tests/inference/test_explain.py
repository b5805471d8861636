"""The effect of each word on the predicted label, and where the text was truncated."""

import math

import pytest
from support.models import word_counter

from pipeline.inference.classifier import Classifier
from pipeline.inference.explain import num_characters_read, word_effects

WEIGHTS = {"재밌다": 2.0, "볼만한데": 0.5, "지루하다": -3.0}
MAX_LENGTH = 16  # tokens, two of them special


@pytest.fixture(scope="module")
def classifier(quickstart) -> Classifier:
    return word_counter(quickstart[1], WEIGHTS, MAX_LENGTH)


def effects(classifier: Classifier, text: str) -> dict[str, float]:
    return {text[word.start : word.end]: word.effect for word in word_effects(classifier, text)}


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def test_the_word_that_decides_the_label(classifier: Classifier) -> None:
    expected = {"영화가": 0, "정말": 0, "재밌다": sigmoid(2) - sigmoid(0)}
    assert effects(classifier, "영화가 정말 재밌다") == pytest.approx(expected)


def test_a_word_against_the_label_has_a_negative_effect(classifier: Classifier) -> None:
    """Without 볼만한데 the label would be more probable."""
    expected = {"볼만한데": sigmoid(2.5) - sigmoid(3), "지루하다": sigmoid(2.5) - sigmoid(-0.5)}
    assert expected["볼만한데"] < 0 < expected["지루하다"]
    assert effects(classifier, "  볼만한데\n지루하다 ") == pytest.approx(expected)


def test_a_single_word_is_compared_with_the_empty_text(classifier: Classifier) -> None:
    assert effects(classifier, "재밌다") == pytest.approx({"재밌다": sigmoid(2) - 0.5})


@pytest.mark.parametrize("text", ["", " \n "])
def test_no_words(classifier: Classifier, text: str) -> None:
    assert word_effects(classifier, text) == []
    assert num_characters_read(classifier, text) == len(text)


def test_words_are_removed_with_the_space_after_them_in_one_call(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    logits = classifier.logits
    monkeypatch.setattr(classifier, "logits", lambda texts: calls.append(texts) or logits(texts))
    word_effects(classifier, "영화가  정말\n재밌다")
    assert calls == [["영화가  정말\n재밌다", "정말\n재밌다", "영화가  재밌다", "영화가  정말\n"]]


@pytest.mark.parametrize(
    "text", ["영화가 너무 지루하다 " * 10, "영화가너무지루하다" * 10, "👍 ㅋㅋ\n" * 20, '"재밌다", ' * 20]
)
def test_the_truncation_is_where_the_tokenizer_truncates(classifier: Classifier, text: str) -> None:
    tokenizer = classifier.tokenizer
    position = num_characters_read(classifier, text)
    (prediction,) = classifier.predict([text])
    assert prediction.truncated
    assert 0 < position < len(text)
    kept = tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    assert tokenizer(text[:position])["input_ids"] == kept
    assert len(tokenizer(text[: position + 2])["input_ids"]) >= MAX_LENGTH  # and no more would have fit


@pytest.mark.parametrize(("num_words", "unread"), [(MAX_LENGTH - 2, ""), (MAX_LENGTH - 1, " 영화")])
def test_a_text_that_just_fits_is_not_truncated(classifier: Classifier, num_words: int, unread: str) -> None:
    text = " ".join(["영화"] * num_words)
    assert text[num_characters_read(classifier, text) :] == unread


def test_the_truncated_end_stays_out(classifier: Classifier) -> None:
    """Otherwise 지루하다 would come in for each word that is removed, and change the label."""
    text = " ".join(["영화"] * (MAX_LENGTH - 3) + ["재밌다", "지루하다"])
    words = word_effects(classifier, text)
    assert [text[word.start : word.end] for word in words] == ["영화"] * (MAX_LENGTH - 3) + ["재밌다"]
    assert [word.effect for word in words[:-1]] == pytest.approx([0] * (MAX_LENGTH - 3))
    assert words[-1].effect == pytest.approx(sigmoid(2) - 0.5)
