"""Trial after trial, until as many as asked for are finished, by this process or others."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.runtime.logging import show
from pipeline.runtime.signals import Interrupted
from pipeline.search.report import SECONDS, STOPPED, TRIALS, trial_line, write_search
from pipeline.search.study import SharedStudy
from pipeline.search.trial import Data, Outcome, train_trial

logger = logging.getLogger(__name__)

POLL_SECONDS = 2


def run_trials(
    study: SharedStudy,
    num_trials: int,
    data: Data,
    output_dir: Path,
    environment: dict[str, Any],
    timeout: float | None = None,
) -> None:
    """Train trials until `num_trials` are finished, or until the time is over. search.json follows each of them.

    At the end it waits for the trials of other processes, and takes over those of processes that have died.

    Args:
        data: for all trials whose options ask for no other.
        environment: of this process, for search.json.
        timeout: no trial is begun after so many seconds.

    Raises:
        UserError: data or model cannot be read.
        Interrupted: a signal asked to stop. The trial at work will be repeated.
    """
    begun, says_threads = time.monotonic(), True
    waits_for: list[int] = []
    try:
        while timeout is None or time.monotonic() - begun < timeout:
            trial = study.claim(num_trials)
            if trial is None:
                if not (running := study.running()):
                    return
                if running != waits_for:
                    logger.info("Waiting for other processes: trial %s.", ", ".join(map(str, running)))
                waits_for = running
                time.sleep(POLL_SECONDS)
                continue
            if says_threads and (others := len(study.running()) - 1):
                says_threads = False
                _warn_of_threads(others)
            with study.hold(trial):
                show(f"\ntrial {trial.number} ({len(study.trials())} of {num_trials}): {_values(trial)}")
                words = [*study.space.words(trial.params), "--output_dir", str(output_dir / TRIALS / str(trial.number))]
                outcome = train_trial(trial, words, data)
                show(trial_line(_finish(study, trial, outcome), study))
            write_search(output_dir, study, environment)
        logger.info("--timeout is over after %.0f seconds.", time.monotonic() - begun)
    except Interrupted:
        raise Interrupted(
            "To go on: the same command. A trial that was being trained begins anew; all others are kept."
        ) from None


def _finish(study: SharedStudy, trial: Trial, outcome: Outcome) -> FrozenTrial:
    """Tell the study. What diverged or ran out of memory counts as pruned, so that the sampler avoids its values."""
    trial.set_user_attr(SECONDS, outcome.seconds)
    if outcome.stopped is None:
        return study.study.tell(trial, outcome.value)
    trial.set_user_attr(STOPPED, outcome.stopped)
    return study.study.tell(trial, state=TrialState.PRUNED)


def _warn_of_threads(others: int) -> None:
    """Threads of several processes that compete for cores take ten times as long, or worse."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    if not torch.accelerator.is_available() and threads * (others + 1) > max(cores, others + 1):
        logger.warning(
            "%d trial(s) are trained by other processes, and this one has %d threads for %d cores. If they run on this "
            "machine, start each with fewer: OMP_NUM_THREADS=1 python scripts/search.py ...",
            *(others, threads, cores),
        )


def _values(trial: Trial) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.params.items()
    )
