"""Labels are the model's, in the order of the texts, for every batch size and any number of texts."""

import json
import shutil
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from support import TASK, small_classifier
from support.models import save_random_classifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from pipeline.data.cleaning import clean_kcbert
from pipeline.data.collators import PaddingCollator
from pipeline.data.dataset import TokenizedDataset
from pipeline.data.tokenization import tokenize
from pipeline.inference import classifier as module
from pipeline.inference.classifier import Classifier, batches_by_length, load_classifier
from pipeline.modeling.batching import make_collator
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.modeling.prediction_settings import keep_prediction_settings
from pipeline.modeling.windows import enable_windows
from pipeline.runtime.errors import UserError
from pipeline.tasks import create_task

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


def test_chunks_and_batches_do_not_change_logits(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = classifier.logits(TEXTS)
    monkeypatch.setattr(module, "CHUNK_SIZE", 4)
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


def test_texts_are_read_chunk_by_chunk(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE", 8)
    endless = (f"글 {number}" for number in count())
    assert len(list(islice(classifier.predict(endless), 20))) == 20
    assert next(endless) == "글 24"  # three chunks have been read and not a text more


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


# Kinds of task.

PAIRS = [("재밌다", "별로다"), ("", ""), (LONG, "연기가 최고다"), ("👍", LONG), ("한 줄\n두 줄", "스토리가 별로다")]
KINDS = {
    "three classes": create_task("single_label_classification", ("화남", "기쁨", "슬픔")),
    "several labels": create_task("multi_label_classification", ("화남", "기쁨", "슬픔"), thresholds=(0.2, 0.5, 0.9)),
    "a number": create_task("regression", ("별점",)),
    "pairs": create_task("single_label_classification", ("같다", "다르다", "모른다"), ("문장1", "문장2")),
}


def logits_of_transformers(folder: Path, columns: list[list[str]]) -> np.ndarray:
    """One by one, by the libraries alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [[[text] for text in texts] for texts in zip(*columns, strict=True)]
    batches = [tokenizer(*texts, truncation=True, return_tensors="pt") for texts in rows]
    with torch.no_grad():
        return torch.cat([model(**batch).logits for batch in batches]).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_comes_back_from_its_folder(tmp_path: Path, quickstart, kind: str) -> None:
    task = KINDS[kind]
    classifier = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=task)))
    assert classifier.task == task
    texts = PAIRS if kind == "pairs" else TEXTS
    expected = logits_of_transformers(tmp_path, list(zip(*texts, strict=True)) if kind == "pairs" else [texts])
    assert np.ptp(expected, axis=0).min() > 1  # texts differ, so a mix-up would show
    assert np.allclose(classifier.logits(texts), expected, atol=TOLERANCE)
    for prediction, probabilities in zip(classifier.predict(texts), task.probabilities(expected), strict=True):
        decision = task.decide(probabilities)
        if kind == "a number":
            assert prediction.probability is None
            assert float(prediction.label) == pytest.approx(float(decision.label), abs=TOLERANCE)
        else:
            assert prediction.label == decision.label
        assert prediction.probabilities == pytest.approx(decision.probabilities, abs=TOLERANCE)


def test_a_string_is_one_text(classifier: Classifier) -> None:
    (prediction,) = classifier.predict("재밌다")
    assert prediction == next(classifier.predict(["재밌다"]))
    assert classifier.logits("재밌다").shape == (1, 2)


def test_pairs_may_be_lists(tmp_path: Path, quickstart) -> None:
    classifier = load_classifier(
        str(save_random_classifier(tmp_path, quickstart[1], task=KINDS["pairs"], clean="kcbert"))
    )
    assert np.array_equal(classifier.logits(PAIRS), classifier.logits(list(map(list, PAIRS))))


@pytest.mark.parametrize("text", [("가", "나"), None, 3, b"x"])
def test_what_is_no_text_is_named(classifier: Classifier, text: object) -> None:
    with pytest.raises(UserError, match=r"labels single texts; expected a str each, found "):
        list(classifier.predict(["재밌다", text]))  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize("text", ["가나", ("가",), ("가", "나", "다"), ("가", None)])
def test_what_is_no_pair_is_named(tmp_path: Path, quickstart, text: object) -> None:
    classifier = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=KINDS["pairs"])))
    with pytest.raises(UserError, match=r"labels pairs of texts; expected \(문장1, 문장2\) each, found "):
        list(classifier.predict([text]))  # ty: ignore[invalid-argument-type]


# What prediction repeats of training.


def test_texts_are_cleaned_as_in_training(tmp_path: Path, quickstart) -> None:
    dirty = ["재밌다ㅋㅋㅋㅋㅋㅋㅋㅋ http://a.kr", "漢字 별로다"]
    classifier = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=TASK, clean="kcbert")))
    expected = logits_of_transformers(tmp_path, [list(map(clean_kcbert, dirty))])
    assert np.allclose(classifier.logits(dirty), expected, atol=TOLERANCE)
    assert not np.allclose(logits_of_transformers(tmp_path, [dirty]), expected, atol=0.1)


@pytest.mark.parametrize("pairs", [False, True])
def test_windows_are_averaged(tmp_path: Path, quickstart, pairs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in training and evaluation, where the model does it; here windows of one text may be in several batches."""
    task = KINDS["pairs"] if pairs else TASK
    classifier = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=task, long_text="windows")))
    texts = PAIRS if pairs else TEXTS
    columns = ["one", "two"] if pairs else ["text"]
    rows = Dataset.from_dict(dict(zip(columns, zip(*texts, strict=True) if pairs else [texts], strict=True)))
    (tokens,) = tokenize([rows], classifier.tokenizer, 16, columns, long_text="windows")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    enable_windows(model)
    examples = TokenizedDataset(tokens.add_column("label", [0] * len(texts))).__getitems__(list(range(len(texts))))
    batch = PaddingCollator(classifier.tokenizer.pad_token_id)(examples)
    del batch["labels"]
    with torch.no_grad():
        expected = model(**batch).logits.numpy()
    assert np.allclose(classifier.logits(texts), expected, atol=TOLERANCE)
    monkeypatch.setattr(module, "CHUNK_SIZE", 3)
    classifier.max_batch_tokens = 40
    assert np.allclose(classifier.logits(texts), expected, atol=TOLERANCE)
    predictions = list(classifier.predict(texts))
    assert not any(prediction.truncated for prediction in predictions)
    assert max(prediction.num_tokens for prediction in predictions) > 16


def test_the_end_of_a_long_text_is_read_if_training_read_it(tmp_path: Path, quickstart) -> None:
    classifier = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=TASK, long_text="head_tail")))
    texts = [f"{'정말 ' * 50}{word}" for word in ("재밌다", "별로다")]
    assert abs(np.subtract(*classifier.logits(texts))).max() > 0.01
    assert [prediction.truncated for prediction in classifier.predict(texts)] == [True, True]
    beginning = load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=TASK)))
    assert np.array_equal(*beginning.logits(texts))


def test_settings_that_are_not_known(tmp_path: Path, quickstart) -> None:
    """Of a later version, or someone else's."""
    for settings, named in (({"long_text": "tail"}, "long_text is tail"), ({"clean": "soap"}, "soap")):
        with pytest.raises(UserError, match=named):
            load_classifier(str(save_random_classifier(tmp_path, quickstart[1], task=TASK, **settings)))


def test_a_model_without_its_head_is_refused(tmp_path: Path, quickstart) -> None:
    save_random_classifier(tmp_path, quickstart[1], task=TASK)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {str(label): name for label, name in enumerate("abcdef")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="another number of labels"):
        load_classifier(str(tmp_path))


# Kinds of model.

FAMILIES = ["Bert", "Electra", "Roberta", "XLMRoberta", "DistilBert", "ModernBert", "Deberta", "DebertaV2", "GPT2"]


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_learns_and_predicts(tmp_path: Path, quickstart, kind: str, pairs: bool) -> None:
    """From files through the collator that it gets, to a folder and its predictions: those of transformers."""
    task = create_task("single_label_classification", ("없음", "있음"), ("one", "two") if pairs else ("text",))
    words = {0: ["별로다", "지루하다", "아깝다"], 1: ["재밌다", "최고다", "감동이다"]}
    texts = [f"{'영화 ' * (index % 5)}{words[index % 2][index % 3]}" for index in range(16)]
    columns = [["영화 " * (index % 3) for index in range(16)], texts] if pairs else [texts]
    given = AutoTokenizer.from_pretrained(quickstart[1])
    given.save_pretrained(tmp_path)
    config = small_classifier(kind, vocab_size=len(given), pad_token_id=0, initializer_range=0.1).config
    config.save_pretrained(tmp_path)
    files = fetch_model(str(tmp_path), weights=False)
    tokenizer = load_tokenizer(files, 16)
    torch.manual_seed(0)
    model = load_model(files, task)
    keep_prediction_settings(model.config, task, clean="none", long_text="head")
    args = SimpleNamespace(device=torch.device("cpu"), n_gpu=0, torch_compile=False, neftune_noise_alpha=None)
    collate = make_collator("auto", model, tokenizer, 16, args)
    rows = Dataset.from_dict(dict(zip(task.text_columns, columns, strict=True)))
    (tokens,) = tokenize([rows], tokenizer, 16, task.text_columns)
    examples = TokenizedDataset(tokens.add_column("label", [0, 1] * 8)).__getitems__(list(range(16)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(50):
        batch = collate(examples)
        labels = batch.pop("labels")
        optimizer.zero_grad()
        loss = task.loss(model(**batch).logits, labels) / len(labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classifier = load_classifier(str(tmp_path))
    predictions = classifier.predict(zip(*columns, strict=True) if pairs else texts)
    assert [prediction.label for prediction in predictions] == ["없음", "있음"] * 8
    found = classifier.logits(zip(*columns, strict=True) if pairs else texts)
    assert np.allclose(found, logits_of_transformers(tmp_path, columns), atol=1e-4)


def test_probabilities_are_those_of_the_temperature(tmp_path: Path, quickstart) -> None:
    plain = load_classifier(str(save_random_classifier(tmp_path / "plain", quickstart[1])))
    folder = save_random_classifier(tmp_path / "calibrated", quickstart[1], task=replace(TASK, temperature=2.5))
    calibrated = load_classifier(str(folder))
    texts = ["재밌다", "지루하다"]
    scaled = np.exp(plain.logits(texts) / 2.5)
    for prediction, expected in zip(
        calibrated.predict(texts), scaled / scaled.sum(axis=-1, keepdims=True), strict=True
    ):
        assert list(prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert [each.label for each in calibrated.predict(texts)] == [each.label for each in plain.predict(texts)]
