"""Labels are the model's, in the order of the texts, for every batch size and any number of texts."""

import shutil
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models import save_random_classifier
from transformers import pipeline

from pipeline.inference import classifier as module
from pipeline.inference.classifier import Classifier, batches_by_length, load_classifier
from pipeline.runtime.errors import UserError

TOLERANCE = 1e-3  # the weights are 25 times BERT's usual ones, and so are the rounding errors
LONG = "영화가 너무 지루하다 " * 30
TEXTS = ["재밌다", "", LONG, "연기가 최고다", "스토리가 별로다. 돈아깝다...", "👍", "한 줄\n두 줄"] * 3


@pytest.fixture(scope="module")
def saved(quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_classifier(tmp_path_factory.mktemp("saved"), quickstart[1])


@pytest.fixture
def classifier(saved: Path) -> Classifier:
    return load_classifier(str(saved))


def test_predictions_equal_those_of_transformers(saved: Path, classifier: Classifier) -> None:
    reference = pipeline("text-classification", str(saved), device="cpu", truncation=True, top_k=None)
    expected = reference(TEXTS, batch_size=1)
    predictions = list(classifier.predict(TEXTS))
    assert len(predictions) == len(TEXTS)
    assert len({prediction.label for prediction in predictions}) == 2  # otherwise the order would not show
    for prediction, scores in zip(predictions, expected, strict=True):
        assert prediction.label == scores[0]["label"]
        assert prediction.probability == pytest.approx(scores[0]["score"], abs=TOLERANCE)
        by_name = {score["label"]: score["score"] for score in scores}
        assert prediction.probabilities == pytest.approx(by_name, abs=TOLERANCE)


def test_windows_and_batches_do_not_change_logits(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = classifier.logits(TEXTS)
    monkeypatch.setattr(module, "WINDOW", 4)
    classifier.max_batch_tokens = 20
    assert np.allclose(classifier.logits(TEXTS), expected, atol=TOLERANCE)
    assert np.allclose(classifier.logits(TEXTS[::-1])[::-1], expected, atol=TOLERANCE)


def test_batches_stay_within_the_budget(classifier: Classifier) -> None:
    sizes = []
    compute = classifier._compute_logits

    def record(examples: list[dict]) -> np.ndarray:
        sizes.append(len(examples) * max(len(example["input_ids"]) for example in examples))
        return compute(examples)

    classifier._compute_logits, classifier.max_batch_tokens = record, 40
    classifier.logits(TEXTS)
    assert len(sizes) > 1
    assert max(sizes) <= 40


def test_texts_are_read_window_by_window(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 8)
    endless = (f"글 {number}" for number in count())
    assert len(list(islice(classifier.predict(endless), 20))) == 20
    assert next(endless) == "글 24"  # three windows have been read and not a text more


def test_truncation_is_reported(classifier: Classifier) -> None:
    fits, short, long = classifier.predict([" ".join(["영화"] * 14), "재밌다", LONG])
    assert (fits.num_tokens, fits.truncated) == (16, False)
    assert short.num_tokens < 16
    assert not short.truncated
    assert long.num_tokens == len(classifier.tokenizer(LONG)["input_ids"])
    assert long.truncated


def test_no_texts(classifier: Classifier) -> None:
    assert list(classifier.predict([])) == []
    assert classifier.logits([]).shape == (0, 2)


def test_bfloat16(saved: Path, classifier: Classifier) -> None:
    low = load_classifier(str(saved), dtype=torch.bfloat16)
    assert next(low.model.parameters()).dtype is torch.bfloat16
    difference = np.abs(low.logits(TEXTS) - classifier.logits(TEXTS)).max()
    assert 0 < difference < 1


def test_a_model_without_a_classification_head_is_refused(saved: Path, tmp_path: Path) -> None:
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
    assert sorted(lengths[index] for index in batches[1]) == [6, 6]  # equal lengths stay together
    assert all(len(batch) * max(lengths[index] for index in batch) <= 12 for batch in batches[1:])
