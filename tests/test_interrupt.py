"""Signals and kills: the run stops where it can go on, and goes on to the very same weights."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import soak_resume
import torch
from conftest import ACCELERATE, ROOT, token_rows
from soak_resume import differences, outcome, small_corpus, start, train_command, unsealed, wait_for
from transformers import TrainerCallback, set_seed

from pipeline import interrupt
from pipeline.arguments import TrainingArguments
from pipeline.batching import PaddingCollator
from pipeline.checkpoint import checkpoint_to_resume, damage, read_manifest
from pipeline.corpus import LABELS
from pipeline.fetch import fetch_model
from pipeline.interrupt import Agreement, Interrupted
from pipeline.metrics import scalars
from pipeline.model import load_model
from pipeline.trainer import Trainer


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch):
    """Handlers as the scripts install them, for one test."""
    before = {number: signal.getsignal(number) for number in interrupt.SIGNALS}
    monkeypatch.setattr(interrupt, "_asked", None)
    for number in interrupt.SIGNALS:
        signal.signal(number, interrupt._note)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class SignalAt(TrainerCallback):
    """Sends this process a real signal at a certain moment."""

    def __init__(self, step: int, batch: int | None = None) -> None:
        self.step, self.batch, self.batches = step, batch, 0

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if self.batch is None and state.global_step == self.step - 1:
            signal.raise_signal(signal.SIGTERM)

    def on_prediction_step(self, args, state, control, **kwargs) -> None:
        self.batches += state.global_step == self.step
        if self.batches == self.batch:
            self.batch = None
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def make(tmp_path: Path, toy_corpus: Path, quickstart):
    """A Trainer of a small model with dropout: five updates an epoch, an evaluation of four batches."""
    rows = token_rows(toy_corpus, quickstart[1])

    def make(name: str, *callbacks: TrainerCallback, **options: object) -> Trainer:
        set_seed(7)
        model = load_model(fetch_model(str(quickstart[1]), weights=False), LABELS, soak_resume.TINY)
        given = {"output_dir": str(tmp_path / name), "report_to": "none", "disable_tqdm": True, "logging_steps": 1}
        given |= {"learning_rate": 1e-3, "per_device_eval_batch_size": 16, "save_total_limit": 2}
        return Trainer(
            model=model,
            args=TrainingArguments(**{**given, **options}),
            train_dataset=rows["train"],
            eval_dataset=rows["test"],
            data_collator=PaddingCollator(pad_token_id=0),
            compute_metrics=partial(scalars, labels=LABELS),
            callbacks=list(callbacks),
        )

    return make


def end_state(trainer: Trainer) -> dict[str, object]:
    log = [
        {name: value for name, value in entry.items() if not name.endswith(("_second", "runtime"))}
        for entry in trainer.state.log_history
        if "eval_loss" in entry or "loss" in entry
    ]
    best = trainer.state.best_model_checkpoint
    return {**trainer.model.state_dict(), "log": log, "best": best and Path(best).name}


EPOCHS = {"num_train_epochs": 3}
STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 4, "save_steps": 4, "max_steps": 13}


@pytest.mark.parametrize(
    ("options", "moment"),
    [
        (EPOCHS, SignalAt(1)),
        (EPOCHS, SignalAt(7)),
        (EPOCHS, SignalAt(5)),  # an epoch's last step, whose evaluation is then left for later
        (EPOCHS, SignalAt(15)),  # the very last
        (EPOCHS, SignalAt(5, batch=1)),  # within an evaluation
        (EPOCHS, SignalAt(10, batch=3)),
        (EPOCHS, SignalAt(15, batch=4)),
        (STEPS, SignalAt(4)),  # a step to be evaluated and saved anyway
        (STEPS, SignalAt(8, batch=2)),
        (STEPS, SignalAt(13)),  # the last one, within an epoch
        ({**STEPS, "gradient_accumulation_steps": 2}, SignalAt(7)),
        ({**EPOCHS, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}, SignalAt(6)),
        ({"eval_strategy": "epoch", "max_steps": 8}, SignalAt(8)),  # Trainer evaluates and saves where it stops
    ],
    ids=lambda value: f"{value.step}-{value.batch}" if isinstance(value, SignalAt) else "-".join(value),
)
def test_interrupted_and_resumed_is_undisturbed(
    make, signals, tmp_path: Path, options: dict, moment: SignalAt
) -> None:
    whole = make("whole", **options)
    whole.train()

    moment = SignalAt(moment.step, moment.batch)
    trainer = make("run", moment, **options)
    with pytest.raises(Interrupted, match=f"after step {moment.step} of") as stop:
        trainer.train()
    assert stop.value.code == 143
    assert trainer.state.global_step == moment.step
    assert damage(tmp_path / "run" / f"checkpoint-{moment.step}") == []

    interrupt._asked = None
    resumed = make("run", **options)
    resumed.train(resume_from_checkpoint=checkpoint_to_resume(tmp_path / "run", "auto"))
    assert differences(end_state(whole), end_state(resumed)) == []
    # The random state too is where it would have been.
    last = f"checkpoint-{whole.state.global_step}"
    if moment.step < whole.state.global_step and (tmp_path / "whole" / last).exists():
        states = [
            torch.load(tmp_path / n / last / "rng_state.pth", weights_only=False)["cpu"] for n in ("whole", "run")
        ]
        assert torch.equal(*states)


def test_interrupted_twice_at_an_evaluation_that_is_due(make, signals, tmp_path: Path) -> None:
    whole = make("whole", **EPOCHS)
    whole.train()
    for batch in (2, 1, 3):
        interrupt._asked = None
        trainer = make("run", SignalAt(5, batch=batch), **EPOCHS)
        with pytest.raises(Interrupted):
            trainer.train(resume_from_checkpoint=checkpoint_to_resume(tmp_path / "run", "auto"))
        assert read_manifest(tmp_path / "run" / "checkpoint-5")["evaluation_due"] is True
    interrupt._asked = None
    resumed = make("run", **EPOCHS)
    resumed.train(resume_from_checkpoint=checkpoint_to_resume(tmp_path / "run", "auto"))
    assert differences(end_state(whole), end_state(resumed)) == []


def test_one_step_too_many_is_not_trained(make, tmp_path: Path) -> None:
    whole = make("run", **STEPS)
    whole.train()
    again = make("run", **STEPS)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-13"))
    assert again.state.global_step == 13
    assert differences(end_state(whole), end_state(again)) == []


def test_nothing_is_interrupted_when_no_one_asks(make, signals, tmp_path: Path) -> None:
    make("run", max_steps=2).train()
    assert not (tmp_path / "run" / "manifest.json").exists()
    assert interrupt.asked() is None


def test_a_signal_between_the_stages_ends_at_once(signals) -> None:
    with pytest.raises(Interrupted) as stop:
        signal.raise_signal(signal.SIGINT)
    assert stop.value.code == 130
    signal.raise_signal(signal.SIGTERM)  # the launcher's echo of it changes nothing more


def test_processes_agree_on_a_moment_ahead_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas on one host, by the file: the one that is asked is a step behind, and all stop at the same tick."""
    monkeypatch.setattr(interrupt, "_asked", None)
    (tmp_path / ".stop-at-1").write_text("2")  # of an earlier run
    replicas = [Agreement(3, index, "xla", tmp_path) for index in range(3)]
    stopped: dict[int, int] = {}
    for tick in range(1, 40):
        if tick == 5:
            (tmp_path / interrupt.STOP_FILE).touch()
        for index in (2, 0, 1):  # 2 looks before 0 has written
            if index not in stopped and replicas[index].stop():
                stopped[index] = tick
    assert stopped == {0: 21, 1: 21, 2: 21}
    assert [path.name for path in tmp_path.iterdir()] == [f".stop-at-{os.getppid()}"]


BUSY = """
import os, sys, threading, time
from pipeline.interrupt import deferred, heed_signals
heed_signals()
with deferred():
    print("ready", flush=True)
    for _ in range(60):
        time.sleep(1)
"""


def test_second_ctrl_c_ends_at_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)  # together: one keystroke that came by two ways
    time.sleep(interrupt.SAME_KEYSTROKE_SECONDS * 1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "Ended at once" in process.stderr.read()


# The real script, in processes of its own.


def begun(log: Path, steps: int = 6) -> bool:
    return log.read_text(errors="replace").count("'loss'") >= steps


class Scene:
    """One corpus and cache for all, and what an undisturbed run ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.corpus, self.cache = folder, small_corpus(folder), folder / "cache"
        self.expected: dict[tuple, dict] = {}

    def start(self, output: str, *flags: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
        return start(self.command(output, *flags, launcher=launcher), self.log(output))

    def command(self, output: str, *flags: str, launcher: tuple[str, ...] = ()) -> list[str]:
        return train_command(self.corpus, self.folder / output, self.cache, *flags, launcher=launcher)

    def log(self, output: str) -> Path:
        return self.folder / f"{output}.log"

    def finish(self, output: str, launcher: tuple[str, ...] = ()) -> dict[str, object]:
        process = self.start(output, "--resume_from_checkpoint", "auto", launcher=launcher)
        assert process.wait(timeout=280) == 0, self.log(output).read_text()[-3000:]
        return outcome(self.folder / output)

    def undisturbed(self, launcher: tuple[str, ...] = ()) -> dict[str, object]:
        if launcher not in self.expected:
            self.expected[launcher] = self.finish(f"undisturbed-{len(self.expected)}", launcher)
        return self.expected[launcher]

    def check_stopped(self, output: str) -> int:
        """The newest checkpoint is whole, and nothing of a finished run is there; which step it is."""
        folder = self.folder / output
        newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        assert damage(newest) == []
        assert not unsealed(folder)
        left = {path.name for path in folder.iterdir() if not path.name.startswith("checkpoint-")}
        assert left <= {"runs"}, left  # no model at the top, no results, no card
        log = self.log(output).read_text(errors="replace")
        assert f"{newest.name} is whole. To go on: the same command with --resume_from_checkpoint auto." in log
        return int(newest.name.split("-")[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_script_stops_and_goes_on(scene: Scene, number: int, code: int) -> None:
    output = f"plain-{code}"
    process = scene.start(output)
    assert wait_for(lambda: begun(scene.log(output)), process)
    process.send_signal(number)
    assert process.wait(timeout=120) == code
    log = scene.log(output).read_text(errors="replace")
    assert "Traceback" not in log
    assert 6 <= scene.check_stopped(output) < soak_resume.STEPS
    if number == signal.SIGTERM:
        assert differences(scene.undisturbed(), scene.finish(output)) == []


@pytest.mark.slow
def test_a_signal_while_the_cache_is_built_leaves_nothing_half_built(scene: Scene) -> None:
    cache = scene.folder / "cache-2"
    process = scene.start("building", "--cache_dir", str(cache))
    assert wait_for(lambda: soak_resume.being_built(cache), process)
    process.terminate()
    assert process.wait(timeout=120) == 143
    assert not soak_resume.being_built(cache)
    assert not (scene.folder / "building").exists()
    log = scene.log("building").read_text(errors="replace")
    assert "Traceback" not in log
    assert "interrupted: Interrupted between the stages" in log


@pytest.mark.slow
def test_killing_the_launcher_stops_its_child(scene: Scene) -> None:
    process = scene.start("launched", launcher=ACCELERATE)
    assert wait_for(lambda: begun(scene.log("launched")), process)
    (child,) = psutil.Process(process.pid).children()
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM
    psutil.wait_procs([child], timeout=120)
    assert not child.is_running()
    assert "Traceback" not in scene.log("launched").read_text(errors="replace")
    scene.check_stopped("launched")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(scene: Scene) -> None:
    """The key itself, on a terminal of our own: it reaches launcher and script together."""
    log = scene.log("terminal")
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ.update(PYTHONUNBUFFERED="1", OMP_NUM_THREADS="1")
        # A shell has the terminal, and still has it when the launcher has ended.
        command = [
            "/bin/sh",
            "-c",
            'trap : INT; "$@"; sleep 60',
            "sh",
            *scene.command("terminal", launcher=ACCELERATE),
        ]
        os.execv(command[0], command)  # noqa: S606
    shown, script = b"", None
    while not (script and not script.is_running()):
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536)
        if script is None and shown.count(b"'loss'") >= 6:
            (launcher,) = psutil.Process(pid).children()
            (script,) = launcher.children()
            os.write(terminal, b"\x03")
    while select.select([terminal], [], [], 0.2)[0]:
        shown += os.read(terminal, 65536)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    log.write_bytes(shown)
    assert b"Traceback" not in shown
    assert b"Stopping after this step" in shown
    scene.check_stopped("terminal")


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["launcher", "second"])
def test_two_processes_stop_at_one_step(scene: Scene, whom: str, two_processes) -> None:
    output = f"two-{whom}"
    process = scene.start(output, launcher=two_processes)
    assert wait_for(lambda: begun(scene.log(output)), process)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = {child.environ().get("RANK"): child for child in children if "train.py" in " ".join(child.cmdline())}
    assert set(workers) == {"0", "1"}
    {"launcher": process, "second": workers["1"]}[whom].send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == -signal.SIGUSR2  # 140 for a shell
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert "Traceback" not in scene.log(output).read_text()  # torchrun's
    step = scene.check_stopped(output)
    manifest = read_manifest(scene.folder / output / f"checkpoint-{step}")
    assert manifest["processes"] == 2
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(manifest["files"])
    assert differences(scene.undisturbed(two_processes), scene.finish(output, two_processes)) == []


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_so(scene: Scene, two_processes) -> None:
    process = scene.start("fewer", launcher=two_processes)
    assert wait_for(lambda: begun(scene.log("fewer")), process)
    process.terminate()
    process.wait(timeout=120)
    scene.finish("fewer")
    log = scene.log("fewer").read_text(errors="replace")
    assert "was written with process(es) 2, now 1" in log
    assert "not bit for bit" in log


def on_small_disk(size: str, command: list[str], cwd: Path) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run a command with a real disk of that size at `disk`; what it did, and what is left there."""
    (cwd / "disk").mkdir()
    script = f'mount -t tmpfs -o size={size} none disk || exit 77; "$@"; code=$?; find disk > left; exit $code'
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    result = subprocess.run([*prefix, *command], cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    if not (cwd / "left").exists():
        pytest.skip(f"this machine allows no mounts, so no disk can be filled: {result.stderr[-200:]}")
    assert "Traceback" not in result.stderr
    assert result.returncode == 2, result.stderr[-3000:]
    assert result.stderr.count("error: ") == 1
    return result, (cwd / "left").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", ["1150k", "1450k", "1750k"]
)  # a checkpoint has 1,040k; model, optimizer fill the rest
def test_a_full_disk_leaves_the_previous_checkpoint(scene: Scene, tmp_path: Path, size: str) -> None:
    result, left = on_small_disk(size, train_command(scene.corpus, Path("disk/run"), scene.cache), tmp_path)
    assert re.search(r"error: disk/run/checkpoint-8 could not be written: .*MB are free there", result.stderr)
    assert "--resume_from_checkpoint auto" in result.stderr.splitlines()[-1]
    assert [Path(path).name for path in left if re.fullmatch(r"disk/run/checkpoint-\d+", path)] == ["checkpoint-4"]
    assert "disk/run/checkpoint-4/manifest.json" in left


@pytest.mark.slow
@pytest.mark.parametrize("size", ["490k", "540k"])  # in the quickstart's vocabulary, in the features
def test_a_full_disk_leaves_no_half_cache(scene: Scene, tmp_path: Path, size: str) -> None:
    result, left = on_small_disk(size, train_command(scene.corpus, Path("run"), Path("disk/cache")), tmp_path)
    assert re.search(
        r"error: disk/cache/\S+ cannot be written: No space left on device.*\n?.*--cache_dir", result.stderr
    )
    assert not [path for path in left if ".tmp-" in path]


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    records = soak_resume.soak(tmp_path, {1: 12, 2: 8}, seed=4)
    print("\n" + soak_resume.table(records))
    for record in records.values():
        assert record.differing == []
        assert record.runs >= 1
    hit = {phase for record in records.values() for phase in record.kills}
    assert {"building the cache", "saving", "training"} <= hit
    assert sum(record.hits() for record in records.values()) >= 20
    shutil.rmtree(tmp_path, ignore_errors=True)
