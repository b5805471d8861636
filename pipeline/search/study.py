"""An Optuna study that several processes share, and that a killed process leaves in order.

Trials are asked for under a file lock, so that all processes together begin no more than they should. Each process
holds a lock of its own for the trial that it trains. The system releases it when the process dies, however it dies:
that trial is then marked as failed, and another one with the same values takes its place. A heartbeat, which Optuna
has for this, notices a death only after minutes, and not at all outside of `Study.optimize` (Optuna 5.0).
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.runtime.errors import UserError, as_user_error
from pipeline.search.space import Space
from pipeline.training.resume_settings import RESULT_OPTIONS

logger = logging.getLogger(__name__)

SQLITE_SECONDS = 120  # that a process waits for the file while others write
MAX_DEATHS = 3  # of trials with the same values, after which they are given up
SETTINGS, REPLACES, DEATHS = "settings", "replaces", "deaths"  # our attributes of studies and trials
WARM_UP_TRIALS = 5  # that have to be complete before others are pruned
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError)
OPENING_ERRORS = (*STORAGE_ERRORS, RuntimeError, ImportError)  # another schema, no driver


def study_settings(space: Space, arguments: dict[str, dict[str, Any]], origin: dict[str, Any]) -> dict[str, Any]:
    """What all trials of a study have in common, by the names that a user knows: otherwise they do not compare.

    Args:
        arguments: from `public_arguments`.
        origin: from `Prepared.describe`.
    """
    settings = {name: arguments[group].get(name) for group, names in RESULT_OPTIONS.items() for name in names}
    settings |= {name: arguments["training"][name] for name in ("greater_is_better", "bf16", "fp16")}
    settings |= {f"{split} corpus (SHA-256)": digest for split, digest in origin["corpus"]["sha256"].items()}
    settings |= {"model commit": origin["model"]["commit"]}
    return settings | {name: f"searched, {text}" for name, text in space.describe().items()}


class SharedStudy:
    """A study: begun, or opened if it exists.

    Args:
        storage: a file or a URL.
        name: of the study within the storage.
        folder: for locks, unless the storage is a file.
        metric, greater_is_better: by which trials are compared.
        space: its distributions are sampled.
        seed: with the number of trials before it, decides the values of a trial.
        settings: what all trials have in common, by the names that a user knows.

    Raises:
        UserError: the storage cannot be opened, or has a study of this name with other settings.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        folder: Path,
        *,
        metric: str | None,
        greater_is_better: bool | None,
        space: Space,
        seed: int,
        settings: dict[str, Any],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.name, self.space, self.seed, self.folder = name, space, seed, folder
        self.metric, self.greater_is_better = (metric or "loss").removeprefix("eval_"), bool(greater_is_better)
        self.url = storage if "://" in storage else f"sqlite:///{Path(storage).expanduser()}"
        with as_user_error("--storage", *OPENING_ERRORS):
            url = make_url(self.url)
        self.shown_url = url.render_as_string(hide_password=True)
        self.has_file = url.get_backend_name() == "sqlite" and bool(url.database)
        if self.has_file:  # processes that share it see the locks beside it, whatever their --output_dir
            assert url.database
            self.folder = Path(f"{url.database}.locks")
        with as_user_error(f"--storage {self.shown_url}", OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": SQLITE_SECONDS}} if self.has_file else {}
        with self.locked(), as_user_error(f"--storage {self.shown_url} cannot be opened", *OPENING_ERRORS):
            self.study = optuna.create_study(
                storage=optuna.storages.RDBStorage(self.url, engine_kwargs=arguments),
                study_name=name,
                direction="maximize" if greater_is_better else "minimize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=WARM_UP_TRIALS),
            )
            self._check_settings(settings)
            if not self.study.get_trials(deepcopy=False) and (defaults := space.defaults()):
                self.study.enqueue_trial(defaults)  # so that the best is no worse than the settings without a search

    def claim(self, num_trials: int) -> Trial | None:
        """Begin a trial, unless `num_trials` are finished or being trained. Dead ones are replaced first."""
        with self.locked():
            for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if self._is_dead(frozen.number):
                    logger.warning("The process of trial %d has died.", frozen.number)
                    self._replace(frozen)
                    self._lock_of(frozen.number).unlink(missing_ok=True)
            begun = self.trials()
            if len(begun) >= num_trials:
                return None
            # Of a sampler that is seeded once, each process, and each start of one, would draw the same numbers.
            seed = int(np.random.SeedSequence([self.seed, len(begun)]).generate_state(1)[0])
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
            trial = self.study.ask({name: each.distribution() for name, each in self.space.searched.items()})
            self.claimed = FileLock(self._lock_of(trial.number))
            self.claimed.acquire()
        return trial

    @contextlib.contextmanager
    def hold(self, trial: Trial) -> Iterator[None]:
        """Train a claimed trial in this block. If it raises before the study is told, the trial is repeated."""
        try:
            yield
        finally:
            with self.locked():
                (frozen,) = (each for each in self.study.get_trials(deepcopy=False) if each.number == trial.number)
                if frozen.state == TrialState.RUNNING:
                    self._replace(frozen)
                self.claimed.release()
                self._lock_of(trial.number).unlink(missing_ok=True)

    def locked(self) -> FileLock:
        """Keeps other processes of the study out for a block."""
        return FileLock(self.folder / f"{quote(self.name, safe='')}.lock")

    def trials(self) -> list[FrozenTrial]:
        """The trials that count: finished or being trained. Those that others have replaced do not."""
        trials = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(REPLACES) for trial in trials}
        return [trial for trial in trials if trial.state != TrialState.WAITING and trial.number not in replaced]

    def running(self) -> list[int]:
        """The numbers of the trials that are being trained."""
        return [trial.number for trial in self.trials() if trial.state == TrialState.RUNNING]

    def _check_settings(self, settings: dict[str, Any]) -> None:
        settings = json.loads(json.dumps(settings, default=str))
        before = self.study.user_attrs.get(SETTINGS)
        if before is None:
            self.study.set_user_attr(SETTINGS, settings)
            return
        names = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if names:
            lines = [f"  {name}: {before.get(name)} when it began, now {settings.get(name)}" for name in names]
            raise UserError(
                f"the study {self.name} in {self.shown_url} began with other settings, so its trials do not compare:\n"
                + "\n".join(lines)
                + "\n  To go on with it:    give these options the values it began with\n"
                "  For a new search:    --output_dir ANOTHER_FOLDER; with --storage, --study_name ANOTHER_NAME"
            )

    def _replace(self, dead: FrozenTrial) -> None:
        """Mark a trial as failed, and let another one have its values, unless it has died too often."""
        deaths = dead.user_attrs.get(DEATHS, 0) + 1
        known = {trial.user_attrs.get(REPLACES) for trial in self.study.get_trials(deepcopy=False)}
        if deaths < MAX_DEATHS and dead.number not in known:  # if killed right here, it is known next time
            attributes = {REPLACES: dead.number, DEATHS: deaths}
            self.study.enqueue_trial(dead.params, user_attrs=attributes)
        self.study.tell(dead.number, state=TrialState.FAIL)

    def _is_dead(self, number: int) -> bool:
        path = self._lock_of(number)
        if not path.exists():  # its process was killed as it began it; of another machine nothing is known
            return self.has_file
        try:
            with FileLock(path).acquire(timeout=0):
                return True
        except Timeout:
            return False

    def _lock_of(self, number: int) -> Path:
        return self.folder / f"{quote(self.name, safe='')}+{number}.lock"  # a `+` of the name is quoted
