"""Kill a real run with SIGKILL again and again, resume it until it is done, and compare it with an undisturbed one.

PYTHONPATH=tests python tests/support/soak_resume.py --kills 200          # half on one process, half on two
PYTHONPATH=tests python tests/support/soak_resume.py --kills 20 --seed 3  # as tests/integration/test_interruption.py
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from support import ROOT, SCRATCH, TWO_PROCESSES, toy_reviews, write_corpus

STEPS = 32
TINY = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"  # dropout stays on
PHASES = ("building the cache", "training", "saving", "evaluating at the end", "starting")
AIMS = ["building the cache", "saving", "saving", "training", "training"]


@dataclass
class Record:
    """What became of one lane of runs.

    Attributes:
        kills: by what the run was doing, as its files and its log show after its death.
        starts: how often the script was started, the undisturbed run not counted.
        skipped: how many incomplete checkpoints were named and skipped.
        runs: how many runs were killed and resumed until they were done.
        differing: how many of them ended otherwise than the undisturbed one.
    """

    kills: Counter = field(default_factory=Counter)
    starts: int = 0
    skipped: int = 0
    runs: int = 0
    differing: list[str] = field(default_factory=list)

    def hits(self) -> int:
        """Kills of a run that was really at work."""
        return sum(count for phase, count in self.kills.items() if phase != "starting")


def small_corpus(root: Path) -> Path:
    """150 + 50 reviews in NSMC's layout."""
    rows = toy_reviews(200)
    return write_corpus(root / "corpus", rows[:150], rows[150:])


def train_command(corpus: Path, output: Path, cache: Path, *flags: str, launcher: tuple[str, ...] = ()) -> list[str]:
    """The real script on the small corpus with a tiny model: a checkpoint and an evaluation every four steps."""
    command = [*(launcher or (sys.executable,)), str(ROOT / "scripts" / "train.py"), "--recipe", "quickstart"]
    command += ["--corpus_name", "nsmc_layout", "--corpus_root_dir", str(corpus), "--use_cpu"]
    command += ["--config_overrides", TINY, "--max_length", "32", "--validation_fraction", "0.2"]
    command += ["--max_steps", str(STEPS), "--save_strategy", "steps", "--save_steps", "4", "--eval_strategy", "steps"]
    command += ["--eval_steps", "4", "--logging_steps", "1", "--report_to", "none", "--overwrite_output_dir", "false"]
    command += ["--no_report"]
    return [*command, "--output_dir", str(output), "--cache_dir", str(cache), *flags]


def start(command: list[str], log: Path, **env: str) -> subprocess.Popen:
    """Start a command with its output in a file, in a session of its own, signals as a terminal would leave them."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **env}
    with open(log, "wb") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            restore_signals=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def wait_for(condition, process: subprocess.Popen, seconds: float = 240) -> bool:
    """Wait until the condition holds (True) or the process has ended (False)."""
    until = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return False
        if time.monotonic() > until:
            raise TimeoutError(f"{process.args}: nothing to wait for in {seconds} s")
        time.sleep(0.002)
    return True


def incomplete(output: Path) -> list[Path]:
    """Checkpoints that are being written or removed, or were when their run died."""
    return [path for path in output.glob("checkpoint-*") if not (path / "manifest.json").exists()]


def being_built(cache: Path) -> list[Path]:
    """What is being built in the cache, or was when its run died."""
    return list(cache.glob("*.tmp-*"))


def outcome(output: Path) -> dict[str, object]:
    """What a run ended with: every weight at the top and in the last checkpoint, its optimizer, and the scores."""
    last = output / f"checkpoint-{STEPS}"
    optimizer = torch.load(last / "optimizer.pt", weights_only=True)["state"]
    tensors = {f"model {name}": tensor for name, tensor in load_file(output / "model.safetensors").items()}
    tensors |= {f"last {name}": tensor for name, tensor in load_file(last / "model.safetensors").items()}
    tensors |= {f"optimizer {n} {what}": tensor for n, state in optimizer.items() for what, tensor in state.items()}
    results = json.loads((output / "results.json").read_text())
    return {**tensors, "test": results["test"], "best": results["training"]["best_checkpoint"]}


def differences(one: dict[str, object], two: dict[str, object]) -> list[str]:
    """Names of what is not bit for bit the same."""
    same = {
        name: torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items()
        if name in two
    }
    return sorted(set(one) ^ set(two)) + [name for name, equal in same.items() if not equal]


class Lane:
    """Runs on so many processes, one after the other, in a folder of their own."""

    def __init__(self, folder: Path, processes: int, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.processes, self.rng = folder, processes, random.Random(seed * 1000 + processes)
        self.corpus, self.cache, self.log = small_corpus(folder), folder / "cache", folder / "log"
        self.record, self.aims = Record(), []
        self.logged = 0  # bytes of the run's log when this life began

    def launch(self, output: Path) -> subprocess.Popen:
        launcher = TWO_PROCESSES if self.processes == 2 else ()
        flags = ("--resume_from_checkpoint", "auto")
        return start(train_command(self.corpus, output, self.cache, *flags, launcher=launcher), self.log)

    def undisturbed(self) -> dict[str, object]:
        output = self.folder / "undisturbed"
        if self.launch(output).wait(timeout=300):
            raise RuntimeError(self.log.read_text()[-3000:])
        return outcome(output)

    def kill_and_resume(self, kills: int, until: float) -> Record:
        """Kill so many runs at work, or until that time, and resume until all are done."""
        expected = self.undisturbed()

        def may_kill() -> bool:
            return self.record.hits() < kills and time.monotonic() < until

        while may_kill():
            self.record.runs += 1
            output = self.folder / f"run-{self.record.runs}"
            while not self.one_life(output, may_kill()):
                pass
            if differing := differences(expected, outcome(output)):
                self.record.differing.append(f"{output.name}: {', '.join(differing[:5])}")
            shutil.rmtree(output)
        return self.record

    def one_life(self, output: Path, may_kill: bool) -> bool:
        """Start or resume the run, and kill it or let it end. Whether it is done."""
        if may_kill and not self.aims:
            self.aims = self.rng.sample(AIMS, len(AIMS))
        aim = self.aims.pop() if may_kill else None
        if aim == "building the cache":
            # The features only: the quickstart's corpus and the model next to them stay.
            for folder in self.cache.glob("nsmc_layout-*"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        self.record.starts += 1
        incomplete_before = set(incomplete(output))
        self.logged = len(_read(output / "train.log"))
        process = self.launch(output)
        killed = False
        if aim and self.wait_for_moment(aim, process, output, incomplete_before):
            before = self.phase(output, incomplete_before)  # of several processes, those that were not killed tidy up
            killed = self.kill(process)
            after = self.phase(output, incomplete_before)
            if killed:
                self.record.kills[before if after in ("training", "starting") else after] += 1
        code = process.wait(timeout=300)
        if code and not killed:
            raise RuntimeError(f"ended with {code} without being killed:\n{self.log.read_text()[-3000:]}")
        self.record.skipped += self.log.read_text(errors="replace").count("Skipping ")
        return not killed

    def wait_for_moment(self, aim: str, process: subprocess.Popen, output: Path, incomplete_before: set[Path]) -> bool:
        def began() -> bool:
            if aim == "building the cache":
                return bool(being_built(self.cache))
            if aim == "saving":
                return bool(set(incomplete(output)) - incomplete_before)
            return b"'loss'" in self.log_of_life(output)

        if not wait_for(began, process):
            return False
        if aim == "saving" and self.rng.random() < 0.5:  # not always the first one
            time.sleep(self.rng.uniform(0, 0.5))
            wait_for(began, process)
        time.sleep(self.rng.uniform(0, 1.0 if aim == "training" else 0.05))
        return True

    def log_of_life(self, output: Path) -> bytes:
        """What this life has logged; it appends to the log if it resumes, and else writes another."""
        log = _read(output / "train.log")
        return log[self.logged :] if len(log) >= self.logged else log

    def kill(self, process: subprocess.Popen) -> bool:
        """SIGKILL everything, or on several processes one of them or their launcher alone. Whether it was alive."""
        if process.poll() is not None:
            return False
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "train.py" in " ".join(_cmdline(child))]
        victim = self.rng.choice(["all", "launcher", *workers]) if self.processes > 1 else "all"
        victims = [process, *children] if victim == "all" else [process] if victim == "launcher" else [victim]
        for each in victims:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        process.wait(timeout=120)
        _, alive = psutil.wait_procs(children, timeout=90)
        for each in alive:
            each.kill()
        if alive:
            raise RuntimeError(f"{alive} did not end:\n{self.log.read_text()[-3000:]}")
        return process.returncode != 0

    def phase(self, output: Path, incomplete_before: set[Path]) -> str:
        log = self.log_of_life(output)
        if being_built(self.cache):
            return "building the cache"
        if set(incomplete(output)) - incomplete_before:
            return "saving"
        if b"train_runtime" in log:
            return "evaluating at the end"
        resuming = "Resuming from" in self.log.read_text(errors="replace")
        return "training" if b"'loss'" in log or resuming else "starting"


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def soak(folder: Path, kills: dict[int, int], seed: int, minutes: float = 60 * 24) -> dict[int, Record]:
    """Run a lane for each number of processes, side by side.

    Args:
        folder: where they work.
        kills: how many for each number of processes.
        minutes: after which no more are killed.
        seed: fixes what is aimed at and how long it waits; not what the machine does meanwhile.
    """
    lanes = {count: Lane(folder / f"{count}-processes", count, seed) for count in kills}
    errors: list[BaseException] = []
    until = time.monotonic() + 60 * minutes

    def work(count: int) -> None:
        try:
            lanes[count].kill_and_resume(kills[count], until)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(count,)) for count in kills]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {count: lane.record for count, lane in lanes.items()}


def table(records: dict[int, Record]) -> str:
    """The outcome, for people."""
    lines = [f"{'':<36}" + "".join(f"{f'{count} process(es)':>16}" for count in records)]
    for phase in PHASES:
        lines.append(f"{'killed while ' + phase:<36}" + "".join(f"{r.kills[phase]:>16}" for r in records.values()))
    rows = {
        "runs killed and resumed until done": lambda r: r.runs,
        "starts of the script": lambda r: r.starts,
        "incomplete checkpoints skipped": lambda r: r.skipped,
        "ended bit for bit as undisturbed": lambda r: r.runs - len(r.differing),
    }
    lines += [f"{name:<36}" + "".join(f"{get(r):>16}" for r in records.values()) for name, get in rows.items()]
    return "\n".join(lines + [line for r in records.values() for line in r.differing])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60 * 24, help="stop killing then")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        records = soak(
            Path(folder), {1: given.kills - given.kills // 2, 2: given.kills // 2}, given.seed, given.minutes
        )
    shutil.rmtree(SCRATCH, ignore_errors=True)
    print(table(records))
    print(f"{time.monotonic() - began:.0f} s, seed {given.seed}")
    sys.exit(any(record.differing for record in records.values()))


if __name__ == "__main__":
    main()
