"""scripts/search.py as users run it: killed and started again, in two terminals, and its recipe trained by train.py."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import ON_CPU, ROOT, run, toy_reviews, write_corpus

pytestmark = pytest.mark.slow
optuna = pytest.importorskip("optuna")

TINY = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"  # dropout stays on
SPACE = "learning_rate: {low: 1e-4, high: 1e-2, log: true}\nglobal_batch_size: [8, 16]\nnum_train_epochs: 12\n"
NUM_TRIALS = 5


@dataclass
class Searched:
    """A search that was killed, stopped by SIGTERM, and finished by two processes at once."""

    folder: Path
    before: list  # trials, when the first process was dead
    stopped: subprocess.CompletedProcess
    finished: list[str]  # stderr of the two processes


def trials_of(folder: Path) -> list:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'found' / 'study.db'}").trials


def start(words: list[str], cwd: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts" / words[0]), *words[1:]]
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, **ON_CPU}, stdout=-1, stderr=-1, text=True)


def wait_for(text: str, log: Path, seconds: float = 100) -> None:
    begun = time.monotonic()
    while not (log.is_file() and text in log.read_text(encoding="utf-8")):
        assert time.monotonic() - begun < seconds, text
        time.sleep(0.05)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("search")
    rows = toy_reviews(400)
    corpus = write_corpus(folder / "toy", rows[:350], rows[350:])
    (folder / "space.yaml").write_text(SPACE)
    words = ["search.py", "--recipe", "quickstart", "--corpus_name", "nsmc_layout", "--corpus_root_dir", str(corpus)]
    words += ["--config_overrides", TINY, "--max_length", "32", "--validation_fraction", "0.1", "--report_to", "none"]
    words += ["--space", "space.yaml", "--num_trials", str(NUM_TRIALS), "--output_dir", "found", "--use_cpu"]
    log = folder / "found" / "search.log"

    killed = start(words, folder)
    wait_for(f"trial 1 (2 of {NUM_TRIALS})", log)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = trials_of(folder)
    terminated = start(words, folder)
    wait_for(f"trial 2 (2 of {NUM_TRIALS})", log)
    terminated.send_signal(signal.SIGTERM)
    output, errors = terminated.communicate()
    stopped = subprocess.CompletedProcess(words, terminated.returncode, output, errors)
    processes = [start(words, folder) for _ in range(2)]
    finished = []
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
        finished.append(errors)
    return Searched(folder, before, stopped, finished)


def test_a_killed_trial_is_repeated_and_finished_ones_are_kept(searched: Searched) -> None:
    states = [trial.state.name for trial in searched.before]
    assert states == ["COMPLETE", "RUNNING"]
    after = trials_of(searched.folder)
    assert [trial.state.name for trial in after[:3]] == ["COMPLETE", "FAIL", "FAIL"]  # of trial 1 and of its repetition
    assert after[0].value == searched.before[0].value
    assert after[1].params == after[2].params == after[3].params
    assert after[3].user_attrs["replaces"] == 2


def test_a_signal_stops_the_search_and_says_how_to_go_on(searched: Searched) -> None:
    assert searched.stopped.returncode == 128 + signal.SIGTERM
    assert "interrupted: To go on: the same command." in searched.stopped.stderr
    assert "Traceback" not in searched.stopped.stderr
    assert not list(searched.folder.rglob("checkpoint-*"))


def test_two_processes_make_the_right_number_of_trials_together(searched: Searched) -> None:
    found = json.loads((searched.folder / "found" / "search.json").read_text())
    assert found["counts"] == {"complete": NUM_TRIALS}  # the pruner waits for five
    assert len({trial["params"]["learning_rate"] for trial in found["trials"]}) == NUM_TRIALS
    by_process = [set(re.findall(r"^trial (\d+) \(", errors, re.MULTILINE)) for errors in searched.finished]
    assert all(by_process)
    assert not by_process[0] & by_process[1]
    assert {*by_process[0], *by_process[1]} == {str(trial.number) for trial in trials_of(searched.folder)[3:]}


def test_the_recipe_trained_afterwards_has_the_trials_loss(searched: Searched) -> None:
    """To the last digit, of every evaluation: the trial was not the first that its process trained."""
    found = json.loads((searched.folder / "found" / "search.json").read_text())
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"]["number"])
    result = run("train.py", "--recipe", "found/best.yaml", "--output_dir", "trained", cwd=searched.folder, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    state = json.loads((searched.folder / "trained" / "trainer_state.json").read_text())
    assert [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry] == best["evaluations"]
    assert state["best_metric"] == best["value"]
    results = json.loads((searched.folder / "trained" / "results.json").read_text())
    assert results["validation"]["loss"] == best["value"]
    run_json = json.loads((searched.folder / "trained" / "run.json").read_text())
    assert run_json["arguments"]["training"]["learning_rate"] == best["params"]["learning_rate"]


def test_a_missing_optuna_is_reported_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "optuna.py").write_text("raise ImportError('No module named optuna')")
    result = run("search.py", "--recipe", "quickstart", cwd=tmp_path, PYTHONPATH=str(tmp_path / "absent"), **ON_CPU)
    assert result.returncode == 2
    assert "pip install -e '.[search]'" in result.stderr
    assert "Traceback" not in result.stderr
