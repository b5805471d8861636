"""With HF_HUB_OFFLINE=1, what is missing is said at once: before torch and its like, whose import takes longer."""

import re
from pathlib import Path

import pytest
from conftest import run, write_corpus

from pipeline.errors import UserError
from pipeline.offline import glance, stop_if_missing

NOWHERE = ("--model", "nobody/nothing")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("predict.py", *NOWHERE, "글"), "the model nobody/nothing is not in the Hub's cache"),
        (("demo.py", *NOWHERE), "the model nobody/nothing is not in the Hub's cache"),
        (("export_onnx.py", *NOWHERE, "--output", "onnx"), "the model nobody/nothing is not in the Hub's cache"),
        (("evaluate_model.py", *NOWHERE), "the model nobody/nothing is not in the Hub's cache"),
        (("evaluate_model.py", "--model", "model"), "ratings_train.txt"),
        (("train.py", *NOWHERE), "the model nobody/nothing is not in the Hub's cache"),
        (("train.py", "--model", "model"), "ratings_train.txt"),
        (("prepare_data.py", *NOWHERE), "the model nobody/nothing is not in the Hub's cache"),
        (("prepare_data.py", "--model", "model"), "ratings_test.txt missing, and HF_HUB_OFFLINE is set"),
        (("push_to_hub.py", "--model_dir", "model", "--hub_model_id", "me/it"), "model holds no finished run"),
    ],
)
def test_what_is_missing_is_said_before_the_slow_imports(
    tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    result = run(*words, cwd=tmp_path, HOME=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 2
    assert expected in result.stderr
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    assert " pipeline.launch\n" in result.stderr  # imports are listed
    assert re.findall(r"\| +(torch|transformers|datasets|gradio)$", result.stderr, re.MULTILINE) == []


def test_both_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)the corpus is not in .*nobody/nothing is not in the Hub's cache"):
        stop_if_missing([*NOWHERE, "--corpus_root_dir", str(tmp_path)])


def test_what_is_there_is_no_obstacle(quickstart, tmp_path: Path) -> None:
    write_corpus(tmp_path, [("재밌다", 1)], [("별로다", 0)])
    model = ["--model", str(quickstart[1]), "--from_scratch"]
    stop_if_missing([*model, "--corpus_root_dir", str(tmp_path)])
    stop_if_missing(["--recipe", "quickstart"])
    stop_if_missing([*NOWHERE, "--help"])
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        stop_if_missing(["--recipe", "quickstart", "--push_to_hub", "--hub_model_id", "me/it"])


def test_the_command_line_wins_over_the_recipe_and_that_over_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model_name_or_path: mine\ncorpus_root_dir: here\nlearning_rate: 1e-4\n")
    seen = glance(["--recipe", str(recipe), "--corpus_root_dir=there", "--seed", "3"], {"model_revision": "old"})
    assert seen == {
        **{"model_name_or_path": "mine", "model_revision": "old", "corpus_name": "nsmc", "corpus_root_dir": "there"},
        **{"from_scratch": False, "push_to_hub": False},
    }


@pytest.mark.parametrize("argv", [["--recipe", "no such"], ["--recipe"], ["--from_scratch", "perhaps"], ["--model"]])
def test_mistakes_are_left_to_the_real_parser(argv: list[str]) -> None:
    assert glance(argv)["model_name_or_path"] == "beomi/kcbert-base"
