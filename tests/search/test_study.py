"""A study that processes share: as many trials as asked for, none lost and none twice, however a process ends."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import ROOT

from pipeline.runtime.errors import UserError
from pipeline.search.space import Parameter, Space

optuna = pytest.importorskip("optuna")
from pipeline.search.study import MAX_DEATHS, SharedStudy  # noqa: E402

SPACE = Space("toy", {"learning_rate": Parameter(0.0, 1.0), "optim": Parameter(choices=("adam", "sgd"))}, {}, [])


@pytest.fixture
def open_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Open a study of two parameters. The settings without a search are a learning rate of 0.25, if asked for."""

    def open_study(file: str = "study.db", settings: dict | None = None, defaults: dict | None = None) -> SharedStudy:
        monkeypatch.setattr(Space, "defaults", lambda space: defaults)
        options = {"metric": "eval_loss", "greater_is_better": False, "space": SPACE, "seed": 7}
        storage = file if "://" in file else str(tmp_path / file)
        return SharedStudy(storage, "toy", tmp_path / "locks", settings=settings or {}, **options)

    return open_study


def score(params: dict) -> float:
    return (params["learning_rate"] - 0.3) ** 2 + (params["optim"] == "sgd")


def train_all(study: SharedStudy, num_trials: int, die_at: tuple[int, ...] = ()) -> list[tuple[dict, float | None]]:
    """Parameters and values of the trials that count. The numbers in `die_at` die before they end."""
    while trial := study.claim(num_trials):
        if trial.number in die_at:
            with pytest.raises(ZeroDivisionError), study.hold(trial):
                raise ZeroDivisionError
            assert study.study.trials[trial.number].state.name == "FAIL"  # at once, not when another one is asked for
            continue
        with study.hold(trial):
            study.study.tell(trial, score(trial.params))
    return [(trial.params, trial.value) for trial in study.trials()]


def test_a_repeated_trial_changes_nothing_of_what_comes_after(open_study) -> None:
    """The same values in the same order as without deaths, past the sampler's ten random trials."""
    undisturbed = train_all(open_study("one.db"), 12)
    assert train_all(open_study("two.db"), 12, die_at=(0, 4, 12)) == undisturbed
    assert len({tuple(params.values()) for params, _ in undisturbed}) == 12


def test_a_search_that_is_opened_again_goes_on(open_study) -> None:
    expected = train_all(open_study("one.db"), 8)
    for num_trials in (3, 5, 8):
        found = train_all(open_study("two.db"), num_trials)
    assert found == expected
    assert open_study("two.db").claim(8) is None


def test_the_first_trial_has_the_settings_without_a_search(open_study) -> None:
    defaults = {"learning_rate": 0.25, "optim": "sgd"}
    trials = train_all(open_study(defaults=defaults), 3)
    assert [params for params, _ in trials].index(defaults) == 0
    assert train_all(open_study(defaults=defaults), 4)[:3] == trials


def test_values_that_die_again_and_again_are_given_up(open_study) -> None:
    study = open_study()
    trials = train_all(study, 3, die_at=tuple(range(MAX_DEATHS)))
    assert [value for _, value in trials].count(None) == 1
    assert len(trials) == 3
    failed = [trial for trial in study.study.trials if trial.state.name == "FAIL"]
    assert len(failed) == MAX_DEATHS
    assert len({tuple(trial.params.values()) for trial in failed}) == 1


CLAIM = """
    import sys, time
    from pathlib import Path
    from pipeline.search.space import Parameter, Space
    from pipeline.search.study import SharedStudy

    Space.defaults = lambda space: None
    space = Space("toy", {"learning_rate": Parameter(0.0, 1.0), "optim": Parameter(choices=("adam", "sgd"))}, {}, [])
    options = dict(metric="loss", greater_is_better=False, space=space, seed=7, settings={})
    study = SharedStudy(sys.argv[1], "toy", Path("locks"), **options)
    while trial := study.claim(int(sys.argv[2])):
        print(trial.number, flush=True)
        with study.hold(trial):
            time.sleep(float(sys.argv[3]))
            study.study.tell(trial, 1.0)
"""


def start(storage: Path, num_trials: int, seconds: float) -> subprocess.Popen:
    """A process that claims trials, prints their numbers, and takes so long for each."""
    words = [sys.executable, "-c", textwrap.dedent(CLAIM), str(storage), str(num_trials), str(seconds)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_trial_of_a_killed_process_is_repeated_and_that_of_a_living_one_is_not(open_study, tmp_path: Path) -> None:
    study = open_study()
    with start(tmp_path / "study.db", 2, 600) as killed, start(tmp_path / "study.db", 2, 600) as alive:
        assert {killed.stdout.readline(), alive.stdout.readline()} == {"0\n", "1\n"}
        assert study.claim(2) is None
        assert study.running() == [0, 1]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        repeated = study.claim(2)
        assert repeated.number == 2
        states = [trial.state.name for trial in study.study.trials]
        assert sorted(states) == ["FAIL", "RUNNING", "RUNNING"]
        (dead,) = [trial for trial in study.study.trials if trial.state.name == "FAIL"]
        assert repeated.params == dead.params
        assert study.claim(2) is None
        with study.hold(repeated):
            study.study.tell(repeated, 0.5)
        alive.kill()
    assert study.claim(2).number == 3
    assert [path.name for path in (tmp_path / "study.db.locks").glob("toy+*")] == ["toy+3.lock"]


@pytest.mark.slow
def test_processes_begin_as_many_trials_as_asked_for_together(open_study, tmp_path: Path) -> None:
    processes = [start(tmp_path / "study.db", 12, 0.1) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    numbers = [int(line) for output, _ in outputs for line in output.split()]
    assert sorted(numbers) == list(range(12)), outputs
    trials = open_study().study.trials
    assert len({trial.params["learning_rate"] for trial in trials}) == 12


def test_other_settings_are_refused_and_named(open_study) -> None:
    open_study(settings={"max_length": 64, "seed": 7})
    open_study(settings={"max_length": 64, "seed": 7})
    with pytest.raises(UserError) as error:
        open_study(settings={"max_length": 128, "seed": 7})
    assert "  max_length: 64 when it began, now 128\n" in str(error.value)
    assert "seed" not in str(error.value)


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("nosuch://user:secret@host/db", "nosuch"),
        ("postgresql+psycopg2://user:secret@host/db", "postgresql"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_an_error_without_its_password(open_study, storage, expected) -> None:
    with pytest.raises(UserError, match=expected) as error:
        open_study(storage)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_database_is_an_error(open_study, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"study\.db cannot be opened: .*not a database"):
        open_study()
