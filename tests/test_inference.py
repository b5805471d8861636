"""Labels for texts: those of the model, in order, however the texts are batched and however many there are."""

import shutil
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from pipeline import inference
from pipeline.corpus import LABELS
from pipeline.errors import UserError
from pipeline.fetch import fetch_model
from pipeline.inference import batches_by_length, load_classifier, softmax
from pipeline.model import load_model, load_tokenizer

TOLERANCE = 1e-3  # these weights are 25 times BERT's usual ones, and so are the rounding errors of padding otherwise
TEXTS = [
    "재밌다",
    "",
    "영화가 너무 지루하다 " * 30,
    "연기가 최고다",
    "스토리가 별로다. 돈아깝다...",
    "👍",
    "한 줄\n두 줄",
] * 3


@pytest.fixture(scope="module")
def saved(quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of random weights, large enough that texts get different labels, that takes 16 tokens."""
    folder = tmp_path_factory.mktemp("saved")
    files = fetch_model(str(quickstart[1]), weights=False)
    torch.manual_seed(0)
    load_model(files, LABELS, "initializer_range=0.5").save_pretrained(folder)
    load_tokenizer(files, 16).save_pretrained(folder)
    return folder


def test_same_as_the_pipeline_of_transformers(saved: Path) -> None:
    expected = pipeline("text-classification", str(saved), device="cpu", truncation=True, top_k=None)(
        TEXTS, batch_size=1
    )
    answers = list(load_classifier(str(saved)).predict(TEXTS))
    assert len(answers) == len(TEXTS)
    assert len({answer.label for answer in answers}) == 2  # else the order would not show
    for answer, scores in zip(answers, expected, strict=True):
        assert answer.label == scores[0]["label"]
        for score in scores:
            assert answer.probabilities[score["label"]] == pytest.approx(score["score"], abs=TOLERANCE)
        assert answer.probability == max(answer.probabilities.values())


def test_order_and_batches_do_not_matter(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = load_classifier(str(saved))
    whole = classifier.logits(TEXTS)
    monkeypatch.setattr(inference, "WINDOW", 4)
    classifier.batch_tokens = 20
    assert np.allclose(classifier.logits(TEXTS), whole, atol=TOLERANCE)
    assert np.allclose(classifier.logits(TEXTS[::-1])[::-1], whole, atol=TOLERANCE)


def test_texts_are_read_as_they_are_needed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "WINDOW", 8)
    endless = (f"리뷰 {number}" for number in count())
    assert len(list(islice(load_classifier(str(saved)).predict(endless), 20))) == 20
    assert next(endless) == "리뷰 24"  # three windows and not a text more


def test_what_is_cut_is_said(saved: Path) -> None:
    short, long = load_classifier(str(saved)).predict(["재밌다", "영화가 너무 지루하다 " * 30])
    assert (short.truncated, long.truncated) == (False, True)
    assert short.tokens < 16 < long.tokens


def test_nothing(saved: Path) -> None:
    classifier = load_classifier(str(saved))
    assert list(classifier.predict([])) == []
    assert classifier.logits([]).shape == (0, 2)


def test_a_model_that_is_no_classifier(quickstart, saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "model")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("BertForSequenceClassification", "BertForMaskedLM"))
    with pytest.raises(UserError, match=r"BertForMaskedLM.*Fine-tune it first"):
        load_classifier(str(folder))


def test_batches_by_length() -> None:
    lengths = [3, 6, 50, 3, 4, 6]
    batches = list(batches_by_length(lengths, 12))
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert batches[0] == [2]  # longer than the budget: a batch of its own
    assert all(len(batch) * max(lengths[index] for index in batch) <= 12 for batch in batches[1:])


def test_softmax_of_extremes() -> None:
    assert softmax(np.array([[1e4, -1e4], [0, 0]], dtype=np.float32)).tolist() == [[1, 0], [0.5, 0.5]]
