"""What is missing is said in one message, before anything slower than transformers' TrainingArguments is imported."""

import re
from pathlib import Path

import pytest
from support import run, write_corpus

from pipeline.config.parser import parse_arguments
from pipeline.prepare import fetch_sources
from pipeline.runtime.errors import UserError

NOWHERE = ("--model", "nobody/nothing")
MODEL_MISSING = "the model nobody/nothing is not in the Hub's cache"
# Needed to train, not to see what is missing. transformers itself imports torch and its modeling utilities when it
# checks TrainingArguments (5.24), but neither a model nor its Trainer.
SLOW = (
    r"datasets|evaluate|pandas|sklearn|gradio|onnx|pipeline\.training.*|"
    r"transformers\.trainer|transformers\.models\.bert\.modeling_bert"
)
WITHOUT_TORCH = rf"{SLOW}|torch|transformers"


def imported(stderr: str) -> set[str]:
    """The modules that PYTHONPROFILEIMPORTTIME lists."""
    return set(re.findall(r"^import time: [ \d|]+\| +(\S+)$", stderr, re.MULTILINE))


def assert_said_at_once(result, expected: str, slow: str) -> None:
    assert result.returncode == 2
    assert expected in result.stderr
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    modules = imported(result.stderr)
    assert "pipeline.runtime.cli" in modules  # they are listed
    assert {module for module in modules if re.fullmatch(slow, module)} == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train.py", *NOWHERE), MODEL_MISSING),
        (("train.py", *NOWHERE), "the corpus NSMC is not in"),
        (("train.py", "--model", "model"), "ratings_train.txt"),
        (("train.py", "--model", "model", "--corpus_name", "nsmc_layout"), "ratings_train.txt is missing"),
        (("prepare_data.py", *NOWHERE), MODEL_MISSING),
        (("prepare_data.py", "--model", "model"), "HF_HUB_OFFLINE is set"),
        (("evaluate_model.py", "--model", "model"), "ratings_train.txt"),
    ],
)
def test_missing_files_are_said_before_slow_imports(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    result = run(*words, cwd=tmp_path, HOME=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    assert_said_at_once(result, expected, SLOW)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("predict.py", *NOWHERE, "글"), MODEL_MISSING),
        (("demo.py", *NOWHERE), MODEL_MISSING),
        (("export_onnx.py", *NOWHERE, "--output", "onnx"), MODEL_MISSING),
        (("push_to_hub.py", "--model_dir", "model", "--hub_model_id", "me/it"), "model holds no finished run"),
    ],
)
def test_scripts_that_do_not_train_say_so_before_torch(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    (tmp_path / "model").mkdir()
    result = run(*words, cwd=tmp_path, HOME=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    assert_said_at_once(result, expected, WITHOUT_TORCH)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train.py", "--modle", "nobody/nothing"), "unknown option --modle. Did you mean model?"),
        (("train.py", "--corpus_name", "nsmk"), "--corpus_name is nsmk; expected one of "),
        (("prepare_data.py", "--recipe", "bok"), "--recipe bok: neither a YAML file nor one of our recipes"),
        (
            ("evaluate_model.py", "--model", "model", "--gamma", "2"),
            "--gamma is 2.0; expected more than 0 and at most 1.",
        ),
    ],
)
def test_a_typo_is_a_typo_where_everything_is_missing(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    result = run(*words, cwd=tmp_path, HOME=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
    assert_said_at_once(result, expected, SLOW)
    assert "is not in" not in result.stderr


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    result = run("train.py", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    slower_than_training_arguments = rf"{SLOW}|pyarrow|transformers\.modeling_utils|torch\._dynamo"
    assert {name for name in imported(result.stderr) if re.fullmatch(slower_than_training_arguments, name)} == set()


def fetch(*words: str) -> object:
    data, model, _ = parse_arguments(list(words))
    return fetch_sources(data, model)


def test_corpus_and_model_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        fetch(*NOWHERE, "--corpus_root_dir", str(tmp_path))
    assert "the corpus NSMC is not in" in str(caught.value)
    assert MODEL_MISSING in str(caught.value)
    assert "--recipe quickstart" in str(caught.value)


def test_what_is_there_is_no_obstacle(quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    write_corpus(tmp_path, [("재밌다", 1)], [("별로다", 0)])
    own = ("--corpus_name", "nsmc_layout", "--corpus_root_dir", str(tmp_path))
    sources = fetch(*own, "--model", str(quickstart[1]), "--from_scratch")
    assert sources.corpus_files.folder == tmp_path / "nsmc"
    assert sources.model_files.folder == quickstart[1]
    sources = fetch("--recipe", "quickstart")
    assert sources.corpus_files.folder == quickstart[0] / "nsmc"
    assert (sources.model_files.folder, sources.model_files.weights) == (quickstart[1], False)


@pytest.mark.parametrize(
    ("flags", "expected"), [([], False), (["--from_scratch", "false"], True), (["--from_scratch", "true"], False)]
)
def test_a_flag_decides_over_the_recipe_whether_weights_are_needed(
    quickstart: tuple[Path, Path], tmp_path: Path, flags: list[str], expected: bool
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"corpus_name: quickstart\nmodel_name_or_path: {quickstart[1]}\nfrom_scratch: true\n")
    words = ["--recipe", str(recipe), *flags]
    assert parse_arguments(words)[1].from_scratch != expected
    if expected:
        with pytest.raises(UserError, match=r"lacks weights"):
            fetch(*words)
    else:
        assert not fetch(*words).model_files.weights
