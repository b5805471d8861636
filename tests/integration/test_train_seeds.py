"""scripts/train_seeds.py: a series that fails, is stopped or killed, and goes on; by a stand-in, and once for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import ROOT, run
from support.soak_resume import small_corpus, start, train_command, wait_for

TRAINER = """
import json, signal, sys, time
from pathlib import Path

script, *words = sys.argv[1:]
value = lambda name: words[words.index(name) + 1]
folder, seed = Path(value("--output_dir")), int(value("--seed"))
folder.mkdir(exist_ok=True)
with open("calls.jsonl", "a") as file:
    file.write(json.dumps([script, *words]) + "\\n")

def stop(number, frame):
    time.sleep(0.5)  # a checkpoint is written
    (folder / "checkpoint").write_text(str(number))
    sys.exit(128 + number)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
if Path(f"fail-{seed}").exists():
    sys.exit(3)
while Path(f"wait-{seed}").exists():
    (folder / "begun").touch()
    time.sleep(0.05)
(folder / "config.json").write_text(json.dumps({"id2label": {0: "a", 1: "b"}}))
(folder / "run.json").write_text(
    json.dumps({"arguments": {"training": {"metric_for_best_model": "accuracy", "greater_is_better": True}}})
)
scores = {"accuracy": seed / 10, "f1_macro": seed / 10}
(folder / "results.json").write_text(
    json.dumps({"checkpoint_chosen_on": "validation", "validation": scores, "test": scores})
)
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A series of three seeds by the stand-in."""
    (tmp_path / "trainer.py").write_text(TRAINER, encoding="utf-8")
    launcher = f"{sys.executable} trainer.py"
    return ["--seeds", "1", "2", "3", "--recipe", "quickstart", "--output_dir", "out", "--launcher", launcher]


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def seeds_called(folder: Path) -> list[int]:
    return [int(call[call.index("--seed") + 1]) for call in calls(folder)]


def test_a_failing_seed_ends_the_series_and_the_same_command_goes_on(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "fail-2").touch()
    result = run("train_seeds.py", *words, cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    assert "Seed 2 ended with exit code 3: out/seed-2. The same command goes on with it." in result.stderr
    assert json.loads((tmp_path / "out" / "seeds.json").read_text())["finished"] == [1]
    (tmp_path / "fail-2").unlink()
    result = run("train_seeds.py", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Seed 1 is finished: out/seed-1" in result.stderr
    assert seeds_called(tmp_path) == [1, 2, 2, 3]
    script, *first = calls(tmp_path)[0]
    assert script == str(ROOT / "scripts" / "train.py")
    flags = ["--seed", "1", "--output_dir", "out/seed-1", "--resume_from_checkpoint", "auto"]
    assert first == ["--recipe", "quickstart", *flags]
    assert "Best by validation accuracy, 0.3000: seed 3, out/seed-3" in result.stdout
    written = json.loads((tmp_path / "out" / "seeds.json").read_text())
    assert written["scores"]["test"]["accuracy"]["mean"] == pytest.approx(0.2)
    assert written["best"]["seed"] == 3

    # More seeds are added.
    more = run("train_seeds.py", *words[:1], "4", "1", *words[4:], cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert seeds_called(tmp_path) == [1, 2, 2, 3, 4]
    assert json.loads((tmp_path / "out" / "seeds.json").read_text())["seeds"] == [1, 2, 3, 4]


def test_mistakes_are_found_before_the_first_run(words: list[str], tmp_path: Path) -> None:
    for more, said in (
        (["--learning_rat", "1"], "unknown option --learning_rat. Did you mean learning_rate?"),
        (["--launcher", "no-such-launcher"], "no-such-launcher cannot be started: No such file or directory."),
    ):
        result = run("train_seeds.py", *words, *more, cwd=tmp_path)
        assert result.returncode == 2
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "calls.jsonl").exists()


def start_series(words: list[str], folder: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "scripts" / "train_seeds.py"), *words]
    with open(folder / "log", "w") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_training_and_then_the_series(words: list[str], tmp_path: Path, number: int) -> None:
    (tmp_path / "wait-2").touch()
    process = start_series(words, tmp_path)
    assert wait_for((tmp_path / "out" / "seed-2" / "begun").exists, process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    # It has waited for the checkpoint.
    assert (tmp_path / "out" / "seed-2" / "checkpoint").read_text() == str(int(number))
    assert seeds_called(tmp_path) == [1, 2]
    log = (tmp_path / "log").read_text()
    assert "Seed 2 was interrupted: out/seed-2. The same command goes on with it." in log
    assert "Traceback" not in log


def test_the_training_does_not_outlive_a_killed_series(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "wait-1").touch()
    process = start_series(words, tmp_path)
    assert wait_for((tmp_path / "out" / "seed-1" / "begun").exists, process)
    (training,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait(timeout=60)
    until = time.monotonic() + 30
    while training.is_running() and training.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.05)
    assert (tmp_path / "out" / "seed-1" / "checkpoint").read_text() == str(int(signal.SIGTERM))
    (tmp_path / "wait-1").unlink()
    assert run("train_seeds.py", *words, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_real_series_is_stopped_goes_on_and_is_compared(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    command = train_command(corpus, tmp_path / "out", tmp_path / "cache", "--seeds", "1", "2")
    command[1] = str(ROOT / "scripts" / "train_seeds.py")
    command.remove("--overwrite_output_dir")
    command.remove("false")
    folder = tmp_path / "out" / "seed-2"
    process = start(command, tmp_path / "log")
    assert wait_for(lambda: any(folder.glob("checkpoint-*/manifest.json")), process)
    process.terminate()
    assert process.wait(timeout=120) == 143
    log = (tmp_path / "log").read_text(errors="replace")
    assert "Seed 2 was interrupted" in log
    assert "Traceback" not in log
    assert not (folder / "results.json").exists()
    first = os.stat(tmp_path / "out" / "seed-1" / "results.json").st_mtime_ns
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stderr[-3000:]
    assert os.stat(tmp_path / "out" / "seed-1" / "results.json").st_mtime_ns == first
    # Only a run that goes on appends to the log.
    assert (folder / "train.log").read_text(encoding="utf-8").count("DEBUG training arguments:") == 2
    series = json.loads((tmp_path / "out" / "seeds.json").read_text())
    for seed in (1, 2):
        scores = json.loads((tmp_path / "out" / f"seed-{seed}" / "results.json").read_text())
        assert series["scores"]["test"]["accuracy"]["values"][str(seed)] == scores["test"]["accuracy"]
    compared = run("compare.py", "out/seed-1", "out/seed-2", "--output", "comparison.json", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    found = json.loads((tmp_path / "comparison.json").read_text())["metrics"]["accuracy"]
    assert [*found["a"], *found["b"]] == list(series["scores"]["test"]["accuracy"]["values"].values())
