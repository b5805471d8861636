"""The page of a run: every number against an independent computation, and a page for each kind of task."""

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from support.runs import examples as draw
from support.runs import make_run

from pipeline.evaluation.results import write_predictions
from pipeline.report.examples import Examples, read_examples
from pipeline.report.mistakes import describe_mistakes, most_confident, suspected_labels
from pipeline.report.report import curves, describe_run, write_report
from pipeline.report.slices import by_class, by_length, by_rarity
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task
from pipeline.tasks.metrics import wilson_interval

EMOTIONS = SingleLabelClassification(("기쁨", "슬픔", "분노"))
TOPICS = MultiLabelClassification(("정치", "경제", "문화"), thresholds=(0.3, 0.5, 0.6))
PAIRS = SingleLabelClassification(("같음", "다름"), ("sentence1", "sentence2"))
STARS = Regression(("별점",))
any_task = pytest.mark.parametrize("task", [EMOTIONS, TOPICS, PAIRS, STARS], ids=["one", "several", "pairs", "numbers"])
COUNT = 300


def texts_of(task: Task, count: int) -> list[dict[str, str]]:
    return [dict.fromkeys(task.text_columns, f"글 {index}{'<b>' * (index % 7)}") for index in range(count)]


@pytest.fixture
def run_of(tmp_path: Path):
    """The folder of a run of a task, with predictions of `COUNT` test examples."""

    def make(task: Task) -> Path:
        folder = make_run(tmp_path / "run", task=task)
        logits, labels = draw(task, COUNT, 2)
        rows = [{**texts, "label": label} for texts, label in zip(texts_of(task, COUNT), labels, strict=True)]
        write_predictions(folder / "predictions.jsonl", {"test": logits}, {"test": rows}, task, np.arange(COUNT) < 30)
        tuned = {name: value for name in ("thresholds",) if (value := task.describe().get(name))}
        config = {
            "problem_type": task.problem_type,
            "id2label": dict(enumerate(task.class_names)),
            "classifier": {"text_columns": list(task.text_columns), **tuned},
        }
        (folder / "config.json").write_text(json.dumps(config))
        history = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.5}, {"step": 2, "eval_loss": 0.6}, {"step": 2}]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
        return folder

    return make


@any_task
def test_predictions_are_read_as_they_were_made(run_of, task: Task) -> None:
    examples = read_examples(run_of(task))
    logits, labels = draw(task, COUNT, 2)
    assert examples.task == task
    assert examples.probabilities == pytest.approx(task.probabilities(logits))
    assert examples.labels == pytest.approx(labels, rel=1e-5)  # numbers are written with six digits
    assert examples.texts == [tuple(row.values()) for row in texts_of(task, COUNT)]
    assert examples.seen.sum() == 30
    if task is STARS:
        assert examples.right is None
    else:
        decided = [task.decide(each).label for each in examples.probabilities]
        assert examples.right.tolist() == [
            name == task.label_name(label) for name, label in zip(decided, labels, strict=True)
        ]


@any_task
def test_the_page_has_every_mistake_and_no_text_breaks_it(run_of, task: Task) -> None:
    folder = run_of(task)
    page = write_report(folder, explain=False).read_text(encoding="utf-8")
    found = describe_run(folder, explain=False)
    assert len(found["mistakes"]) == 50 if task is STARS else min(50, found["num_wrong"])
    assert page.count('<span class="where">') == len(found["mistakes"])
    assert "<b>&" not in page
    assert "<b><b>" not in page  # which some texts have
    for mistake in found["mistakes"]:
        for text in mistake["texts"]:
            assert escape("".join(piece["text"] for piece in text)) in page
    assert "글 3&lt;b&gt;&lt;b&gt;&lt;b&gt;" in page or all("글 3<" not in str(m["texts"]) for m in found["mistakes"])
    for name in task.class_names if task is not STARS else ["별점"]:
        assert name in page or task is STARS
    assert ("확률을 믿어도 되는가" in page) == (task is not STARS)
    assert ("레이블과 예측" in page) == (task is STARS)
    assert ("혼동 행렬" in page) == (task in (EMOTIONS, PAIRS))
    assert not re.search(r"None|nan|Undefined", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    assert not re.search(r'(src|href)="(?!#)', page)  # nothing is loaded from elsewhere


def test_groups_by_length_are_disjoint_and_cover_all(run_of) -> None:
    examples = read_examples(run_of(EMOTIONS))
    groups = by_length(examples)
    assert sum(group["count"] for group in groups) == COUNT
    lengths = [len(text) for (text,) in examples.texts]
    for group in groups:
        low, _, high = group["name"].partition("–")
        chosen = [
            right
            for length, right in zip(lengths, examples.right, strict=True)
            if int(low) <= length <= int(high or low)
        ]
        assert group["count"] == len(chosen)
        assert group["score"] == pytest.approx(sum(chosen) / len(chosen))
        assert group["interval"] == wilson_interval(group["score"], len(chosen))


def test_groups_by_class(run_of) -> None:
    examples = read_examples(run_of(EMOTIONS))
    for index, group in enumerate(by_class(examples)):
        chosen = [right for right, label in zip(examples.right, examples.labels, strict=True) if label == index]
        assert (group["name"], group["count"]) == (EMOTIONS.class_names[index], len(chosen))
        assert group["score"] == pytest.approx(np.mean(chosen))


def test_several_labels_are_counted_one_by_one_with_their_thresholds(tmp_path: Path, run_of) -> None:
    examples = read_examples(run_of(TOPICS))
    for index, group in enumerate(by_class(examples)):
        decided = examples.probabilities[:, index] >= TOPICS.thresholds[index]
        assert group["score"] == pytest.approx((decided == examples.labels[:, index]).mean())


def test_rarity_counts_the_tokens_of_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = [[2, 7, 8, 3]] * 12 + [[2, 7, 9, 3]]
    test = [[2, 7, 3], [2, 8, 7, 3], [2, 9, 7, 3], [2, 11, 7, 3], [2, 3]]
    rows = DatasetDict(train=Dataset.from_dict({"input_ids": train}), test=Dataset.from_dict({"input_ids": test}))
    monkeypatch.setattr("pipeline.report.slices._rows", lambda run: rows)
    right = np.array([True, True, False, True, True])
    examples = Examples(EMOTIONS, [("",)] * 5, np.zeros(5, int), np.zeros((5, 3)), right, None)
    found = {group["name"]: (group["count"], group["score"]) for group in by_rarity(examples, {})}
    assert found == {"0": (1, 1.0), "1–9": (1, 0.0), "10–99": (2, 1.0), "100–999": (0, None), "1,000 +": (0, None)}


def test_without_the_tokens_rarity_is_left_out(run_of) -> None:
    folder = run_of(EMOTIONS)
    assert describe_run(folder, explain=False)["by_rarity"] is None
    assert "토큰이 없어 뺐습니다" in write_report(folder, explain=False).read_text(encoding="utf-8")


@any_task
def test_the_most_confident_mistakes_come_first(run_of, task: Task) -> None:
    examples = read_examples(run_of(task))
    chosen = most_confident(examples)
    confidence = [
        -abs(each[0] - label) if task is STARS else task.decide(each).probability
        for each, label in zip(examples.probabilities, examples.labels, strict=True)
    ]
    wrong = [index for index in range(COUNT) if task is STARS or not examples.right[index]]
    expected = sorted(wrong, key=lambda index: confidence[index] if task is STARS else -confidence[index])[:50]
    assert chosen.tolist() == expected


def test_each_example_is_decided_once(run_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has many thousands of test examples, and its page fifty mistakes."""
    examples, decided = read_examples(run_of(EMOTIONS)), []
    decide = SingleLabelClassification.decide
    monkeypatch.setattr(SingleLabelClassification, "decide", lambda *args: decided.append(args) or decide(*args))
    mistakes = describe_mistakes(examples, None)
    assert len(decided) == COUNT + len(mistakes)


def test_flipped_labels_are_suspected() -> None:
    generator = np.random.default_rng(3)
    true = generator.integers(0, 3, 600)
    logits = 4 * np.eye(3)[true] + generator.normal(size=(600, 3))
    labels = true.copy()
    flipped = generator.choice(600, 30, replace=False)
    labels[flipped] = (labels[flipped] + 1) % 3
    examples = Examples(EMOTIONS, [("",)] * 600, labels, EMOTIONS.probabilities(logits), None, None)
    found = np.flatnonzero(suspected_labels(examples))
    assert len(set(found) & set(flipped)) >= 20
    assert len(set(found) - set(flipped)) <= 1
    cleanlab = pytest.importorskip("cleanlab.filter")
    theirs = cleanlab.find_label_issues(labels, examples.probabilities, filter_by="confident_learning", n_jobs=1)
    assert set(found) == set(np.flatnonzero(theirs))


def test_only_single_labels_are_suspected(run_of) -> None:
    assert suspected_labels(read_examples(run_of(STARS))) is None
    assert suspected_labels(Examples(TOPICS, [], np.zeros((0, 3)), np.zeros((0, 3)), None, None)) is None


def test_words_that_carried_a_mistake_are_marked(run_of, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.inference import classifier, explain

    monkeypatch.setattr(classifier, "load_classifier", lambda name: name)
    monkeypatch.setattr(
        explain, "word_effects", lambda model, text: [explain.Word(2, 3, 0.5), explain.Word(0, 1, -0.1)]
    )
    examples = read_examples(run_of(EMOTIONS))
    mistake = describe_mistakes(examples, Path("model"))[0]
    (pieces,) = mistake["texts"]
    assert "".join(piece["text"] for piece in pieces) == examples.texts[mistake["row"] - 1][0]
    assert [piece["effect"] for piece in pieces[:3]] == [-0.1, 0.0, 0.5]


def test_curves_are_those_of_the_log(run_of) -> None:
    assert curves(run_of(EMOTIONS), "validation") == [
        {"name": "train loss", "points": [(1, 0.7), (2, 0.5)]},
        {"name": "validation loss", "points": [(2, 0.6)]},
    ]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "predictions.jsonl").unlink(), "scripts/evaluate_model.py --model"),
        (lambda folder: (folder / "predictions.jsonl").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "predictions.jsonl").write_text(""), "has no examples of the split test"),
        (lambda folder: (folder / "results.json").unlink(), "holds no finished run"),
        (lambda folder: (folder / "report.html").mkdir(), "cannot be written"),
    ],
)
def test_what_is_missing_is_said(run_of, damage, said: str) -> None:
    folder = run_of(EMOTIONS)
    damage(folder)
    with pytest.raises(UserError, match=said):
        write_report(folder, explain=False)


def test_of_many_classes_the_worst_are_shown() -> None:
    task = SingleLabelClassification(tuple(f"클래스 {number}" for number in range(100)))
    labels = np.repeat(np.arange(99), 10)  # the last class has no example
    right = np.arange(990) % 10 < labels % 11
    examples = Examples(task, [("글",)] * 990, labels, np.full((990, 100), 0.01), right, None)
    groups = by_class(examples)
    assert len(groups) == 20
    assert [group["score"] for group in groups] == sorted(min(1, (label % 11) / 10) for label in range(99))[:20]
