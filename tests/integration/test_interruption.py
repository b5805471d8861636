"""Signals and kills: the real scripts stop where they can resume, and the resumed run ends with the same weights.

tests/training/test_resumable.py does the same within one process, step by step.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support import ACCELERATE, soak_resume
from support.soak_resume import differences, incomplete, outcome, small_corpus, start, train_command, wait_for

from pipeline.training.checkpoints import find_corruption, read_manifest


def begun(output: Path, steps: int = 6) -> bool:
    """Whether a run has logged so many steps."""
    log = output / "train.log"
    return log.exists() and log.read_text(errors="replace").count("'loss'") >= steps


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
        """The newest checkpoint is complete, and nothing of a finished run is there. Returns its step."""
        folder = self.folder / output
        newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        assert find_corruption(newest) == []
        assert not incomplete(folder)
        left = {path.name for path in folder.iterdir() if not path.name.startswith("checkpoint-")}
        assert left <= {"runs", "train.log"}, left  # no model at the top, no results, no card
        log = self.log(output).read_text(errors="replace")
        assert f"{newest.name} is complete. To resume: the same command with --resume_from_checkpoint auto." in log
        return int(newest.name.split("-")[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_script_stops_and_resumes(scene: Scene, number: int, code: int) -> None:
    output = f"plain-{code}"
    process = scene.start(output)
    assert wait_for(lambda: begun(scene.folder / output), process)
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
    assert "interrupted: Interrupted between two stages" in log


@pytest.mark.slow
def test_killing_the_launcher_stops_its_child(scene: Scene) -> None:
    process = scene.start("launched", launcher=ACCELERATE)
    assert wait_for(lambda: begun(scene.folder / "launched"), process)
    (child,) = psutil.Process(process.pid).children()
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM
    psutil.wait_procs([child], timeout=120)
    assert not child.is_running()
    assert "Traceback" not in scene.log("launched").read_text(errors="replace")
    scene.check_stopped("launched")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(scene: Scene) -> None:
    """The key itself, on a terminal of our own: it reaches launcher, script and the data loader's workers together."""
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
            *scene.command("terminal", "--dataloader_num_workers", "2", launcher=ACCELERATE),
        ]
        os.execv(command[0], command)  # noqa: S606
    shown, script = b"", None
    while not (script and not script.is_running()):
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536)
        if script is None and begun(scene.folder / "terminal"):
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
    assert wait_for(lambda: begun(scene.folder / output), process)
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
def test_another_number_of_processes_resumes_and_says_so(scene: Scene, two_processes) -> None:
    process = scene.start("fewer", launcher=two_processes)
    assert wait_for(lambda: begun(scene.folder / "fewer"), process)
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
@pytest.mark.parametrize("size", ["1150k", "1450k", "1750k"])  # a checkpoint has 1,040k; model, optimizer fill the rest
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
