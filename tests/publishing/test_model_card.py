"""The cards have the run's own values, nothing of this machine, and say nothing of a corpus that is another."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard
from scipy.special import expit
from support.models import save_random_classifier

from pipeline.data.corpora import get_corpus
from pipeline.inference.classifier import load_classifier
from pipeline.publishing.model_card import TEXTS, dataset_card, model_card, save_card
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task, create_task

NSMC_ONLY = ("별점", "star ratings", "1,571", "CC0")
ELSEWHERE = re.compile("부정|긍정|리뷰|영화|nsmc|review|movie|sentiment|quickstart\\(", re.IGNORECASE)
EMOTIONS = SingleLabelClassification(("기쁨", "슬픔", "분노", "놀람", "공포", "중립"))
TOPICS = MultiLabelClassification(tuple(f"주제 {number}" for number in range(12)))
PAIRS = SingleLabelClassification(("entailment", "neutral", "contradiction"), ("premise", "hypothesis"))
SIMILARITY = Regression(("score",), ("sentence1", "sentence2"))
STARS = Regression(("rating",))
TASKS = {"emotions": EMOTIONS, "topics": TOPICS, "pairs": PAIRS, "similarity": SIMILARITY, "stars": STARS}
any_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without the line between header and rows."""
    section = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if set(row[0]) != {"-"}]


def edit(path: Path, change) -> None:
    """Change a JSON file by what a function does to its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_unseen_texts_have_a_column(make_run: Callable[..., Path]) -> None:
    folder = make_run(seen=1571)
    card = model_card(folder).text
    header, examples, *_ = table(card, "성능 · Results")
    results = json.loads((folder / "results.json").read_text())
    assert header == ["", "validation", "test", "test, unseen texts"]
    assert examples[1:] == [str(results[split]["num_examples"]) for split in ("validation", "test", "test_unseen")]
    assert "1,571개는 같은 글이" in card
    assert "1,571 test texts also stand" in card


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_a_temperature_is_said(make_run: Callable[..., Path], problem_type: str) -> None:
    folder = make_run(task=create_task(problem_type, ("기쁨", "슬픔", "화남")), sharpness=5.0)
    calibration = json.loads((folder / "results.json").read_text())["test"]["calibration"]
    card = model_card(folder).text
    assert calibration["temperature"] > 2
    for number in (f"{calibration['ece_uncalibrated']:.4f}", f"{calibration['ece']:.4f}", calibration["temperature"]):
        assert card.count(str(number)) >= 2  # Korean and English
    calibrated = "logits are divided by" if problem_type.startswith("single") else f"(1 / value - 1) ** {number}"
    assert calibrated in card


def test_nothing_is_said_of_what_was_not_calibrated(run_dir: Path) -> None:
    card = model_card(run_dir).text
    assert "calibrated by" not in card
    assert "also stand in" not in card


def test_every_score_is_in_its_row_and_column(run_dir: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    header, *rows = table(model_card(run_dir).text, "성능 · Results")
    assert header == ["", "validation", "test"]
    *rows, names, negative, positive = rows
    assert (names, negative, positive) == (["", "부정", "긍정"], ["부정", "300", "20"], ["긍정", "70", "210"])
    found = {row[0]: row[1:] for row in rows}
    expected = {}
    for split in ("validation", "test"):
        scores = results[split]
        low, high = scores["accuracy_interval"]
        numbers = {
            "examples": str(scores["num_examples"]),
            "accuracy": f"{scores['accuracy']:.4f}",
            "95 % interval": f"{low:.4f}-{high:.4f}",
            "macro F1": f"{scores['f1_macro']:.4f}",
            "loss": f"{scores['loss']:.4f}",
            "calibration error": f"{scores['calibration']['ece']:.4f}",
        }
        for name, row in scores["per_class"].items():
            numbers |= {f"precision {name}": f"{row['precision']:.4f}", f"recall {name}": f"{row['recall']:.4f}"}
        for name, value in numbers.items():
            expected.setdefault(name, []).append(value)
    assert found == expected
    # By hand, of the counts: 50 of 53 that were called 부정 are, and 50 of the 61 that are were found.
    assert found["precision 부정"][0] == "0.9434"
    assert found["recall 부정"][0] == "0.8197"


def test_the_metadata_are_the_scores_on_test(run_dir: Path, tmp_path: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    model_card(run_dir, "me/reviews").save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert {(r.metric_type, r.metric_value, r.dataset_split) for r in data.eval_results} == {
        ("accuracy", results["test"]["accuracy"], "test"),
        ("f1", results["test"]["f1_macro"], "test"),
    }
    assert (data.language, data.pipeline_tag, data.library_name) == ("ko", "text-classification", "transformers")
    assert data.model_name == "reviews"
    assert data.base_model is None


def test_settings_and_environment_are_listed(make_run) -> None:
    run_dir = make_run("--learning_rate", "0.0003", "--max_length", "48")
    settings = dict(row for row in table(model_card(run_dir).text, "설정 · Settings"))
    environment = json.loads((run_dir / "run.json").read_text())["environment"]
    expected = {
        "learning_rate": "0.0003",
        "max_length": "48",
        "gamma": "0.9",
        "processes": "2",
        "mixed_precision": "bf16",
    }
    assert {name: settings[name] for name in expected} == expected
    assert settings["torch"] == environment["packages"]["torch"]
    assert settings["python"] == environment["python"]


def test_the_text_is_filled_in(run_dir: Path) -> None:
    text = model_card(run_dir, "me/reviews").text
    assert text.lstrip().startswith("# me/reviews\n")
    assert 'model="me/reviews"' in text
    assert "레이블은 `부정`, `긍정`입니다." in text
    assert "64토큰을 넘는 글은" in text
    assert table(text, "데이터 · Data")[1:3] == [["train", f"`{'a' * 64}`"], ["test", f"`{'b' * 64}`"]]
    assert table(text, "데이터 · Data")[3:] == [
        ["label", "train", "validation", "test"],
        ["부정", "64 (61.5%)", "61 (58.7%)", "320 (53.3%)"],
        ["긍정", "40 (38.5%)", "43 (41.3%)", "280 (46.7%)"],
    ]
    assert not {"{", "}"} & set(text)  # every placeholder has its value
    assert not [word for word in NSMC_ONLY if word in text]


@pytest.mark.parametrize(
    ("pretrained", "said", "unsaid"),
    [
        (True, ("파인튜닝했습니다", "fine-tuned on"), "처음부터"),
        (False, ("처음부터 학습했습니다", "random weights"), "파인튜닝"),
    ],
)
def test_random_weights_are_not_called_fine_tuned(make_run, pretrained: bool, said: tuple, unsaid: str) -> None:
    text = model_card(make_run(pretrained=pretrained)).text
    assert all(words in text for words in said)
    assert unsaid not in text


def test_the_split_that_chose_the_checkpoint_is_said(make_run) -> None:
    honest, biased = (
        ("held-out training examples", "검증 세트로 골랐고"),
        ("not an honest estimate", "테스트 세트로 골랐으므로"),
    )
    for fraction, said, unsaid in (("0.05", honest, biased), ("0", biased, honest)):
        text = model_card(make_run("--validation_fraction", fraction)).text
        assert all(words in text for words in said)
        assert not any(words in text for words in unsaid)
    assert table(text, "성능 · Results")[0] == ["", "test"]
    run_dir = make_run()
    edit(run_dir / "run.json", lambda run: run["corpus"]["sha256"].update(validation="c" * 64))
    text = model_card(run_dir).text
    assert "따로 주어진 검증 세트로 골랐고" in text
    assert "a validation set of its own" in text


def test_no_path_of_this_machine(make_run, tmp_path: Path) -> None:
    """The model and the output folder were given by absolute paths."""
    run_dir = make_run("--model_name_or_path", str(tmp_path / "secret" / "my-bert"), "--cache_dir", str(tmp_path))
    for card in (model_card(run_dir), model_card(run_dir, "me/reviews")):
        assert str(tmp_path) not in card.content
        assert "secret" not in card.content
        assert "my-bert" in card.content
    assert model_card(run_dir).text.lstrip().startswith("# a run\n")
    assert str(tmp_path) not in (run_dir / "results.json").read_text()


def test_the_card_of_nsmc_and_a_model_of_the_hub(make_run) -> None:
    run_dir = make_run(
        "--model_name_or_path", "beomi/kcbert-base", corpus="nsmc", commit="0123456789abcdef", pretrained=True
    )
    card = model_card(run_dir, "me/reviews")
    assert card.data.datasets == ["e9t/nsmc"]
    assert card.data.base_model == "beomi/kcbert-base"
    assert {result.dataset_type for result in card.data.eval_results} == {"e9t/nsmc"}
    assert "[beomi/kcbert-base](https://huggingface.co/beomi/kcbert-base) (`0123456789ab`) 모델을 NSMC" in card.text
    assert all(word in card.text for word in NSMC_ONLY)


@pytest.mark.parametrize("missing", ["results.json", "run.json"])
def test_no_card_of_an_unfinished_run(run_dir: Path, missing: str) -> None:
    (run_dir / missing).unlink()
    with pytest.raises(UserError, match=rf"no finished run: {missing} is missing.*--resume_from_checkpoint auto"):
        model_card(run_dir)


@pytest.mark.parametrize(
    ("corpus", "license_id", "source"),
    [("nsmc", "cc0-1.0", "<https://github.com/e9t/nsmc>"), ("nsmc_layout", None, None)],
)
def test_the_dataset_card(tmp_path: Path, corpus: str, license_id: str | None, source: str | None) -> None:
    spec = get_corpus(corpus)
    about = {"name": corpus, "card": spec.card.describe(), "task": spec.task.describe()}
    about["sha256"] = {"train": "a" * 64, "test": "b" * 64}
    dataset_card(about, {"train": 1234, "test": 5}, "me/corpus").save(tmp_path / "README.md")
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.license == license_id
    assert card.data.task_categories == ["text-classification"]
    files = [(file["split"], file["path"]) for file in card.data.configs[0]["data_files"]]
    assert files == [("train", "data/train.parquet"), ("test", "data/test.parquet")]
    assert f"| train | 1,234 | `{'a' * 64}` |\n| test | 5 | `{'b' * 64}` |" in card.text
    assert 'load_dataset("me/corpus")' in card.text
    assert "`text` 열에는" in card.text
    assert "레이블의 번호(0 = 부정, 1 = 긍정)가" in card.text
    assert ("출처 · Source" in card.text) is bool(source)
    assert source is None or source in card.text
    assert ("별점" in card.text) is (corpus == "nsmc")
    assert not {"{", "}"} & set(card.text)


# Tasks of other kinds.


@any_task
def test_a_card_says_nothing_of_another_corpus(make_run, task: Task) -> None:
    run_dir = make_run("--model_name_or_path", "my-bert", task=task)
    corpus = json.loads((run_dir / "run.json").read_text())["corpus"]
    for card in (model_card(run_dir, "me/model"), dataset_card(corpus, {"train": 3, "test": 2}, "me/data")):
        assert ELSEWHERE.findall(card.content) == []
        assert "None" not in card.content.replace("top_k=None", "")
        for name in task.class_names[:10]:
            assert name in card.text
        for column in task.text_columns:
            assert f"`{column}`" in card.text or column == "text"


@any_task
def test_the_hub_reads_the_metadata_of_any_task(make_run, tmp_path: Path, task: Task) -> None:
    run_dir = make_run(task=task)
    test = json.loads((run_dir / "results.json").read_text())["test"]
    model_card(run_dir, "me/model").save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    expected = {
        "single_label_classification": {("accuracy", test.get("accuracy")), ("f1", test.get("f1_macro"))},
        "multi_label_classification": {
            *(("f1", test.get(key)) for key in ("f1_macro", "f1_micro")),
            ("accuracy", test.get("accuracy")),
        },
        "regression": {
            *((metric, test.get(key)) for metric, key in (("pearsonr", "pearson"), ("spearmanr", "spearman"))),
            ("mse", test.get("loss")),
        },
    }[task.problem_type]
    assert {(result.metric_type, result.metric_value) for result in data.eval_results} == expected
    assert sorted(data.metrics) == sorted({metric for metric, _ in expected})
    assert (data.pipeline_tag, data.library_name) == ("text-classification", "transformers")
    assert {(result.dataset_name, result.dataset_type) for result in data.eval_results} == {("emotions", "other")}
    assert data.get("license") is None
    assert data.get("datasets") is None


def code_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@any_task
@pytest.mark.parametrize("tuned", [True, False])
def test_the_examples_of_the_card_run(quickstart, make_run, tmp_path: Path, capsys, task: Task, tuned: bool) -> None:
    """transformers alone gives what this project's prediction gives."""
    thresholds = tuple(0.3 + 0.03 * number for number in range(12))
    saved = Regression(task.class_names, task.text_columns) if task.problem_type == "regression" else task
    if task is TOPICS and tuned:
        saved = MultiLabelClassification(task.class_names, thresholds=thresholds)
    model = save_random_classifier(tmp_path / "model", quickstart[1], task=saved)
    options = ["--validation_fraction", "0.1" if tuned else "0"]
    card = model_card(make_run(*options, task=task), "me/model")
    blocks = [block.replace("me/model", str(model)) for block in code_blocks(card.text)]
    assert len(blocks) == (2 if task is TOPICS and tuned else 1)
    text = TEXTS if len(task.text_columns) == 2 else TEXTS[0]
    (expected,) = load_classifier(str(model)).predict([text])
    outputs = []
    for block in blocks:
        capsys.readouterr()
        exec(block, {})  # noqa: S102
        outputs.append(capsys.readouterr().out.strip())
    if task is TOPICS:
        assert set(eval(outputs[0])) == set(filter(None, expected.label.split("|")))  # noqa: S307
        assert outputs[1:] == [expected.label][: len(outputs) - 1]
        return
    result = eval(outputs[0])  # noqa: S307
    (result,) = result if isinstance(result, list) else [result]
    if task.problem_type == "regression":
        assert result["score"] == pytest.approx(*expected.probabilities.values(), abs=1e-5)
    else:
        assert result["label"] == expected.label
        assert result["score"] == pytest.approx(expected.probability, abs=1e-5)


def test_calibrated_thresholds_decide_alike_in_transformers(
    tmp_path: Path, make_run, quickstart, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_random_classifier(tmp_path / "model", quickstart[1], task=TOPICS)
    (logits,) = load_classifier(str(model)).logits([TEXTS[0]])
    # Between the probabilities with and without the temperature, so that the decisions are not the same.
    thresholds = tuple((expit(logits) + expit(logits / 3.0)).astype(float) / 2)
    tuned = MultiLabelClassification(TOPICS.class_names, thresholds=thresholds, temperature=3.0)
    save_random_classifier(model, quickstart[1], task=tuned)
    (expected,) = load_classifier(str(model)).predict([TEXTS[0]])
    folder = make_run("--validation_fraction", "0.1", task=TOPICS)
    edit(folder / "results.json", lambda results: results["test"]["calibration"].update(temperature=3.0))
    block, _ = code_blocks(model_card(folder, "me/model").text.replace("me/model", str(model)))
    exec(block, {})  # noqa: S102
    labels = {name for name, logit in zip(TOPICS.class_names, logits, strict=True) if logit < 0}
    assert set(eval(capsys.readouterr().out)) == set(expected.label.split("|")) == labels  # noqa: S307


def test_what_transformers_does_not_do_is_said(make_run) -> None:
    plain = model_card(make_run(task=EMOTIONS)).text
    assert "load_classifier" not in plain
    assert "--clean" not in plain
    for long_text, said in (
        ("windows", "64토큰을 넘는 글은 겹치는 구간으로"),
        ("head_tail", "앞부분과 끝부분을 읽도록"),
    ):
        text = model_card(make_run("--clean", "kcbert", "--long_text", long_text, task=EMOTIONS)).text
        assert said in text
        assert said not in plain
        assert "`--clean kcbert` 방식으로 정리해" in text
        assert "`transformers.pipeline`은 앞부분만 읽습니다" in text
        assert "pipeline.data.cleaning" in text
        assert "from pipeline import load_classifier" in text
        assert "64토큰을 넘는 글은 뒷부분을 읽지 않습니다" not in text
        settings = dict(table(text, "설정 · Settings")[1:])
        assert (settings["clean"], settings["long_text"]) == ("kcbert", long_text)
    assert not {"clean", "long_text", "corpus_name"} & dict(table(plain, "설정 · Settings")[1:]).keys()


def test_data_that_was_left_out_or_split_off_or_weighted_is_said(make_run) -> None:
    report = {"text_columns": ["문장"], "label_columns": ["감정"], "num_rows_left_out": 1234}
    options = ["--class_weights", "balanced", "--test_fraction", "0.2"]
    run_dir = make_run(*options, "--train_file", "emotions.csv", "--skip_bad_rows", task=EMOTIONS, report=report)
    text = model_card(run_dir).text
    assert "쓸 수 없는 행 1,234개는 뺐습니다" in text
    assert "1,234 rows that could not be used were left out" in text
    assert "text: `문장` / 레이블 열 · label: `감정`" in text
    assert "각 클래스" not in text
    assert "손실에 가중치를 주었습니다(`balanced`)" in text
    assert "테스트 세트가 따로 없어" not in text
    edit(run_dir / "run.json", lambda run: run["corpus"]["sha256"].pop("test"))
    assert "학습 데이터에서 20%를 레이블의 비율을 지켜 떼어 냈습니다" in model_card(run_dir).text
    corpus = json.loads((run_dir / "run.json").read_text())["corpus"]
    assert "1,234개는" in dataset_card(corpus, {"train": 3}, "me/data").text
    plain = model_card(make_run(task=EMOTIONS)).text
    assert not [words for words in ("뺐습니다", "가중치를 주었습니다", "label: `") if words in plain]


def test_many_classes_are_bounded_and_cannot_break_a_table(make_run) -> None:
    task = SingleLabelClassification(tuple(f"이름|`{number}`\n끝" for number in range(40)))
    text = model_card(make_run(task=task)).text
    results = table(text, "성능 · Results")
    assert len(results) < 20
    assert {row.count("\\") for row in map("".join, results)} == {0, 1}  # the bar of a name is escaped
    shares = table(text, "데이터 · Data")[3:]
    assert len(shares) == 12
    assert shares[-1][0] == "외 30개 · 30 more"
    numbers = [int(row[-3].split()[0]) for row in shares[1:-1]]
    assert numbers == sorted(numbers, reverse=True)
    assert "혼동 행렬" not in text  # 1,600 cells
    assert "``이름|`0` 끝``" in text
    assert ", 외 30개입니다." in text


def test_the_range_of_a_regression_is_told_by_split(make_run) -> None:
    run_dir = make_run(task=STARS)
    edit(run_dir / "run.json", lambda run: run["splits"]["test"]["numbers"].update(mean=2.51239, smallest=-0.5))
    header, mean, smallest, largest = table(model_card(run_dir).text, "데이터 · Data")[3:]
    assert header == ["rating", "train", "validation", "test"]
    assert (mean[0], smallest[0], largest[0]) == ("mean", "smallest", "largest")
    assert (mean[3], smallest[3]) == ("2.512", "-0.5")
    assert 4 < float(largest[1]) < 5


def test_labels_of_datasets_are_explained_by_kind() -> None:
    about = get_corpus("nsmc_layout").card.describe()

    def text(task: Task) -> str:
        corpus = {"card": about, "task": task.describe(), "sha256": {"train": "a"}}
        return dataset_card(corpus, {"train": 3}, "me/data").text

    assert "레이블의 번호(0 = entailment, 1 = neutral, 2 = contradiction)가" in text(PAIRS)
    assert "`premise`, `hypothesis` 열에는" in text(PAIRS)
    assert "레이블마다 0 또는 1이 차례대로(주제 0, 주제 1, " in text(TOPICS)
    assert "숫자(score)가 들어" in text(SIMILARITY)


def test_a_run_of_before_the_card_stood_in_run_json(run_dir: Path) -> None:
    before = model_card(run_dir).content
    edit(run_dir / "run.json", lambda run: [run["corpus"].pop(name) for name in ("card", "task", "report")])
    assert model_card(run_dir).content == before


# A README.md of the user's own.


def test_our_card_is_replaced_and_the_users_is_kept(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert save_card(run_dir, model_card(run_dir)) == run_dir / "README.md"
    assert save_card(run_dir, model_card(run_dir, "me/model")) == run_dir / "README.md"
    ours = (run_dir / "README.md").read_text(encoding="utf-8")
    assert "# me/model\n" in ours
    assert not caplog.messages
    own = "\n".join(line for line in ours.splitlines() if not line.startswith("<!--")) + "\n내가 고친 카드"
    (run_dir / "README.md").write_text(own, encoding="utf-8")
    assert save_card(run_dir, model_card(run_dir, "me/other")) == run_dir / "MODEL_CARD.md"
    assert (run_dir / "README.md").read_text(encoding="utf-8") == own
    assert "# me/other\n" in (run_dir / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert caplog.messages == [
        f"{run_dir / 'README.md'} is your own and stays; the model card is in {run_dir / 'MODEL_CARD.md'}."
    ]


def test_a_card_of_an_earlier_version_is_replaced(run_dir: Path) -> None:
    (run_dir / "README.md").write_text("---\nlanguage: ko\ntags:\n- korean\n- nsmc-pipeline\nmodel-index:\n---\n")
    assert save_card(run_dir, model_card(run_dir)) == run_dir / "README.md"


def test_a_file_that_is_no_utf_8_is_the_users(run_dir: Path) -> None:
    (run_dir / "README.md").write_bytes("내 모델".encode("cp949"))
    assert save_card(run_dir, model_card(run_dir)) == run_dir / "MODEL_CARD.md"


def test_a_validation_set_that_was_given_has_no_fraction(make_run) -> None:
    folder = make_run(task=EMOTIONS)
    assert "validation_fraction" in dict(table(model_card(folder).text, "설정 · Settings")[1:])
    edit(folder / "run.json", lambda run: run["corpus"]["sha256"].update(validation="c" * 64))
    settings = dict(table(model_card(folder).text, "설정 · Settings")[1:])
    assert not {"validation_fraction", "validation_seed"} & settings.keys()
