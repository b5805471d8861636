"""Start-up: seconds from `accelerate launch scripts/train.py` to the start and to the end of the first step.

python -m benchmarks --only startup

The corpus is tokenized before. The marks are those of the progress bar, so each is as late as a person sees it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Settings, log_progress, median_and_spread, print_table, run_in_process
from benchmarks.preparing import prepare
from pipeline.runtime.errors import UserError

LAUNCH = (str(Path(sys.executable).with_name("accelerate")), "launch")
SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"
MARKS = {"first step begins": "0/1 [", "first step is done": "1/1 ["}


def measure(settings: Settings) -> dict[str, list[float]]:
    """Seconds to each mark, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        run_in_process(prepare, settings, "cold", str(Path(folder, "cache")))
        rounds = []
        for number in range(settings.rounds):
            log_progress(settings, number, "starting up")
            rounds.append(time_first_step(settings, Path(folder)))
    return {name: list(seconds) for name, seconds in zip(MARKS, zip(*rounds, strict=True), strict=True)}


def show(result: dict[str, list[float]]) -> None:
    """Print the table."""
    columns = [("seconds", 10, ".2f"), ("spread", 16, ".2f")]
    rows = {name: list(median_and_spread("seconds", seconds).values()) for name, seconds in result.items()}
    print_table("accelerate launch scripts/train.py, until", columns, rows)


def time_first_step(settings: Settings, folder: Path) -> list[float]:
    """Start a run, watch its progress bar, and kill it after the first step."""
    options = {
        "--model_name_or_path": settings.model_name_or_path,
        "--corpus_name": settings.corpus_name,
        "--corpus_root_dir": settings.corpus_root_dir,
        "--cache_dir": str(folder / "cache"),
        "--output_dir": str(folder / "run"),
        "--max_steps": "1",
    }
    flags = ["--from_scratch", "--overwrite_output_dir", "--disable_tqdm", "false"]  # no terminal, but a bar
    command = [*LAUNCH, str(SCRIPT), *(word for option in options.items() for word in option), *flags]
    started, text, seconds = time.perf_counter(), "", []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as run:
        for mark in MARKS.values():
            while mark not in text:
                read = os.read(run.stderr.fileno(), 4096).decode(errors="replace")
                if not read:
                    raise UserError(f"the training that was to be timed ended too early:\n{text[-2000:]}")
                text += read
            seconds.append(time.perf_counter() - started)
        run.kill()
    return seconds
