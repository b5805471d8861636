"""The effect of each word on the prediction, and what of a text was read."""

import math
from pathlib import Path

import pytest
from support import TASK
from support.models import word_counter

from pipeline.inference.classifier import Classifier
from pipeline.inference.explain import read_spans, word_effects
from pipeline.tasks import Task, create_task

WEIGHTS = {"재밌다": 2.0, "볼만한데": 0.5, "지루하다": -3.0}
MAX_LENGTH = 16  # tokens, two of them special


@pytest.fixture(scope="module")
def classifier(quickstart) -> Classifier:
    return counter(quickstart[1])


def counter(model_dir: Path, task: Task = TASK, **options: str) -> Classifier:
    return word_counter(model_dir, WEIGHTS, MAX_LENGTH, task, **options)


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
    assert read_spans(classifier, text) == [[(0, len(text))]]


def test_words_are_removed_with_the_space_after_them_in_one_call(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    logits = classifier.logits
    monkeypatch.setattr(classifier, "logits", lambda texts: calls.append(texts) or logits(texts))
    word_effects(classifier, "영화가  정말\n재밌다")
    assert calls == [["영화가  정말\n재밌다", "정말\n재밌다", "영화가  재밌다", "영화가  정말\n"]]


# What was read.


def read(classifier: Classifier, text: str) -> list[str]:
    (spans,) = read_spans(classifier, text)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    "text", ["영화가 너무 지루하다 " * 10, "영화가너무지루하다" * 10, "👍 ㅋㅋ\n" * 20, '"재밌다", ' * 20]
)
def test_the_truncation_is_where_the_tokenizer_truncates(classifier: Classifier, text: str) -> None:
    tokenizer = classifier.tokenizer
    (beginning,) = read(classifier, text)
    (prediction,) = classifier.predict([text])
    assert prediction.truncated
    assert 0 < len(beginning) < len(text)
    assert text.startswith(beginning)
    kept = tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    assert tokenizer(beginning)["input_ids"] == kept
    assert len(tokenizer(text[: len(beginning) + 2])["input_ids"]) >= MAX_LENGTH  # and no more would have fit


@pytest.mark.parametrize("num_words", [MAX_LENGTH - 2, MAX_LENGTH - 1])
def test_a_text_that_just_fits_is_not_truncated(classifier: Classifier, num_words: int) -> None:
    assert read(classifier, " ".join(["영화"] * num_words)) == [" ".join(["영화"] * (MAX_LENGTH - 2))]


def test_the_truncated_end_stays_out(classifier: Classifier) -> None:
    """Otherwise 지루하다 would come in for each word that is removed, and change the label."""
    text = " ".join(["영화"] * (MAX_LENGTH - 3) + ["재밌다", "지루하다"])
    words = word_effects(classifier, text)
    assert [text[word.start : word.end] for word in words] == ["영화"] * (MAX_LENGTH - 3) + ["재밌다"]
    assert [word.effect for word in words[:-1]] == pytest.approx([0] * (MAX_LENGTH - 3))
    assert words[-1].effect == pytest.approx(sigmoid(2) - 0.5)


def test_beginning_and_end(quickstart) -> None:
    """The middle, which is not read, has no words; words at both ends have theirs."""
    classifier = counter(quickstart[1], long_text="head_tail")
    words = ["재밌다", *["영화"] * 4, *["지루하다"] * 20, *["영화"] * 9, "볼만한데"]  # of one token each
    text = " ".join(words)
    assert read(classifier, text) == [" ".join(words[:4]), " ".join(words[-10:])]
    found = word_effects(classifier, text)
    assert [text[word.start : word.end] for word in found] == words[:4] + words[-10:]
    expected = [sigmoid(2.5) - sigmoid(0.5), *[0] * 12, sigmoid(2.5) - sigmoid(2)]
    assert [word.effect for word in found] == pytest.approx(expected)


def test_in_windows_everything_is_read(quickstart) -> None:
    classifier = counter(quickstart[1], long_text="windows")
    text = " ".join(["영화"] * 40 + ["재밌다"])
    assert read(classifier, text) == [text]
    assert effects(classifier, text)["재밌다"] > 0


def test_cleaned_texts_are_shown_as_they_were(quickstart) -> None:
    """Whole words are counted, since tokens lie elsewhere in the cleaned text."""
    classifier = counter(quickstart[1], clean="kcbert")
    text = "漢字 영화ㅋㅋㅋㅋㅋㅋㅋ 재밌다"
    assert effects(classifier, text) == pytest.approx({"漢字": 0, "영화ㅋㅋㅋㅋㅋㅋㅋ": 0, "재밌다": sigmoid(2) - 0.5})
    text = " ".join(["漢字", *["영화"] * (MAX_LENGTH - 2), "지루하다"])
    assert read(classifier, text) == [" ".join(["漢字", *["영화"] * (MAX_LENGTH - 2)])]
    tail = counter(quickstart[1], clean="kcbert", long_text="head_tail")
    text = " ".join(["漢字", *["영화"] * 5, *["지루하다"] * 20, *["영화"] * 20])
    assert read(tail, text) == ["漢字 영화 영화 영화 영화", " ".join(["영화"] * 10)]


# Other tasks.


def test_of_a_pair_one_text_changes_at_a_time(quickstart) -> None:
    task = create_task("single_label_classification", ("부정", "긍정"), ("one", "two"))
    classifier = counter(quickstart[1], task=task)
    pair = ("영화가 재밌다", "볼만한데")
    words = word_effects(classifier, pair)
    assert [pair[word.text][word.start : word.end] for word in words] == ["영화가", "재밌다", "볼만한데"]
    assert [word.text for word in words] == [0, 0, 1]
    expected = [0, sigmoid(2.5) - sigmoid(0.5), sigmoid(2.5) - sigmoid(2)]
    assert [word.effect for word in words] == pytest.approx(expected)


def test_of_a_pair_the_longer_text_is_cut(quickstart) -> None:
    task = create_task("single_label_classification", ("부정", "긍정"), ("one", "two"))
    classifier = counter(quickstart[1], task=task)
    pair = ("재밌다 영화", " ".join(["영화"] * 30))
    num_first = len(classifier.tokenizer(pair[0], add_special_tokens=False)["input_ids"])
    kept = " ".join(["영화"] * (MAX_LENGTH - 3 - num_first))
    assert read_spans(classifier, pair) == [[(0, len(pair[0]))], [(0, len(kept))]]
    assert max(word.end for word in word_effects(classifier, pair) if word.text == 1) == len(kept)


def test_of_a_number_the_change_counts(quickstart) -> None:
    classifier = counter(quickstart[1], task=create_task("regression", ("별점",)))
    assert effects(classifier, "지루하다 재밌다") == pytest.approx({"지루하다": -3, "재밌다": 2})


def test_of_several_labels_the_most_probable_one_counts(quickstart) -> None:
    """Here the first, whose logit is always 0, so no word moves it; or the second, by a sigmoid of its own."""
    classifier = counter(quickstart[1], task=create_task("multi_label_classification", ("부정", "긍정")))
    assert effects(classifier, "지루하다") == pytest.approx({"지루하다": 0})
    assert effects(classifier, "재밌다") == pytest.approx({"재밌다": sigmoid(2) - sigmoid(0)})


def test_of_three_classes_the_predicted_one_counts(quickstart) -> None:
    classifier = counter(quickstart[1], task=create_task("single_label_classification", ("없음", "있음", "모름")))
    share = {score: math.exp(score) / (2 + math.exp(score)) for score in (0, 2)}
    assert effects(classifier, "재밌다 영화") == pytest.approx({"재밌다": share[2] - share[0], "영화": 0})
