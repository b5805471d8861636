"""scripts/evaluate_model.py repeats a run's own scores; the split that chose the checkpoint is the one that is told."""

import json
import shutil
from pathlib import Path

import pytest
from support import ON_CPU, run, small_training, toy_reviews, write_corpus

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose evaluation settings all differ from the defaults."""
    cwd = tmp_path_factory.mktemp("finished")
    flags = ("--validation_fraction", "0.1", "--validation_seed", "3", "--max_length", "24", "--batching", "longest")
    result = run("train.py", "--recipe", "quickstart", "--max_steps", "30", *flags, cwd=cwd)
    assert result.returncode == 0, result.stderr[-3000:]
    return cwd / "outputs" / "quickstart"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def scores(path: Path) -> list[dict]:
    return [read(path).get(split) for split in ("validation", "test", "test_unseen")]


def test_the_digits_are_those_of_the_training_on_one_and_two_processes(
    finished: Path, tmp_path: Path, two_processes
) -> None:
    written = []
    for name, launcher in (("one", ()), ("two", two_processes)):
        words = ("evaluate_model.py", "--model", str(finished), "--output_dir", name)
        result = run(*words, cwd=tmp_path, launcher=launcher)
        assert result.returncode == 0, result.stderr[-3000:]
        assert scores(tmp_path / name / "evaluation.json") == scores(finished / "results.json")
        written.append((tmp_path / name / "predictions.jsonl").read_text(encoding="utf-8"))
    assert written[0] == written[1] == (finished / "predictions.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written[0].splitlines()]
    for split, count in (("validation", 400), ("test", 1000)):
        of_split = [line for line in lines if line["split"] == split]
        correct = sum(line["label"] == line["predicted"] for line in of_split)
        assert len(of_split) == count
        assert correct / count == read(finished / "results.json")[split]["accuracy"]


def test_the_models_own_folder_is_the_default_output(finished: Path, tmp_path: Path) -> None:
    model = shutil.copytree(finished, tmp_path / "model")
    result = run("evaluate_model.py", "--model", "model", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert scores(model / "evaluation.json") == scores(finished / "results.json")
    assert str(model / "evaluation.json") in result.stdout


def test_another_precision_is_warned_of(finished: Path, tmp_path: Path) -> None:
    model = shutil.copytree(finished, tmp_path / "model")
    results = read(model / "results.json")
    assert results["evaluated_with"]["mixed_precision"] == "no"
    results["evaluated_with"]["mixed_precision"] = "bf16"
    (model / "results.json").write_text(json.dumps(results))
    result = run("evaluate_model.py", "--model", "model", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "mixed precision bf16; this one has no" in result.stderr


def test_help_needs_no_model(tmp_path: Path) -> None:
    result = run("evaluate_model.py", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--model_name_or_path" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(("fraction", "chosen_on"), [("0.2", "validation"), ("0", "test")])
def test_the_split_that_chose_the_checkpoint_is_the_one_that_is_told(
    tmp_path: Path, fraction: str, chosen_on: str
) -> None:
    """The labels of test are those of train turned around: the more is learnt, the worse is test, the better the rest.

    So validation chooses the last checkpoint and test the first one.
    """
    rows = toy_reviews(400)
    corpus = write_corpus(tmp_path / "corpus", rows[:300], [(text, 1 - label) for text, label in rows[300:]])
    flags = ["--max_steps", "24", "--eval_strategy", "steps", "--eval_steps", "8", "--learning_rate", "1e-3"]
    flags += ["--save_strategy", "steps", "--save_steps", "8", "--save_total_limit", "3"]
    words = [*small_training(corpus, "run"), *flags, "--validation_fraction", fraction]
    result = run(*words, cwd=tmp_path, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    results, log = read(tmp_path / "run" / "results.json"), read(tmp_path / "run" / "trainer_state.json")["log_history"]
    losses = {f"checkpoint-{entry['step']}": entry["eval_loss"] for entry in log if "eval_loss" in entry}
    assert list(losses) == ["checkpoint-8", "checkpoint-16", "checkpoint-24"]
    best = results["training"]["best_checkpoint"]
    assert best == ("checkpoint-24" if chosen_on == "validation" else "checkpoint-8")
    assert losses[best] == min(losses.values())
    assert losses[best] == pytest.approx(results[chosen_on]["loss"], abs=1e-5)
    assert results["checkpoint_chosen_on"] == chosen_on
    assert f"The checkpoint was chosen on the {chosen_on} examples" in result.stdout
    best_weights = (tmp_path / "run" / best / "model.safetensors").read_bytes()
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == best_weights
    if chosen_on == "validation":
        assert results["validation"]["accuracy"] > 0.9 > 0.1 > results["test"]["accuracy"]
