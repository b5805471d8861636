"""The cards have the run's own values, nothing of this machine, and say nothing of a corpus that is another."""

import json
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from pipeline.publishing.model_card import dataset_card, model_card
from pipeline.runtime.errors import UserError

NSMC_ONLY = ("별점", "star ratings", "1,571", "CC0")


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without the line between header and rows."""
    section = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if set(row[0]) != {"-"}]


def test_every_score_is_in_its_row_and_column(run_dir: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    header, *rows = table(model_card(run_dir).text, "성능 · Results")
    assert header == ["", "validation", "test"]
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
    assert table(text, "데이터 · Data")[1:] == [["train", f"`{'a' * 64}`"], ["test", f"`{'b' * 64}`"]]
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
    about = {"name": corpus, "sha256": {"train": "a" * 64, "test": "b" * 64}}
    dataset_card(about, {"train": 1234, "test": 5}, "me/corpus").save(tmp_path / "README.md")
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.license == license_id
    assert card.data.task_categories == ["text-classification"]
    files = [(file["split"], file["path"]) for file in card.data.configs[0]["data_files"]]
    assert files == [("train", "data/train.parquet"), ("test", "data/test.parquet")]
    assert f"| train | 1,234 | `{'a' * 64}` |\n| test | 5 | `{'b' * 64}` |" in card.text
    assert 'load_dataset("me/corpus")' in card.text
    assert "`text` 열에는" in card.text
    assert "(0 = 부정, 1 = 긍정)" in card.text
    assert ("출처 · Source" in card.text) is bool(source)
    assert source is None or source in card.text
    assert ("별점" in card.text) is (corpus == "nsmc")
    assert not {"{", "}"} & set(card.text)
