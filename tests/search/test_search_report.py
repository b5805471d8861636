"""What a search leaves: the best trial as a recipe that the real parser takes, and what mattered."""

from pathlib import Path

import pytest
import yaml

from pipeline.config.parser import parse_arguments
from pipeline.search.space import read_space

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: E402
from optuna.trial import create_trial  # noqa: E402

from pipeline.search.report import (  # noqa: E402
    best_trials,
    closing_table,
    describe_search,
    importance,
    opening_screen,
    recipe,
    trial_line,
    write_search,
)
from pipeline.search.study import SharedStudy  # noqa: E402

PARAMS = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "weight_decay": FloatDistribution(0.0, 0.1),
    "optim": CategoricalDistribution(["adam", "sgd"]),
}


@pytest.mark.parametrize("planted", PARAMS)
def test_the_importance_finds_the_planted_parameter(planted: str) -> None:
    """One parameter decides the value of random trials; a second one adds a tenth of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    other = next(name for name in PARAMS if name != planted)
    scale = {"learning_rate": 1e-3, "weight_decay": 0.1}

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial._suggest(name, each) for name, each in PARAMS.items()}
        shares = {name: params[name] == "sgd" if name == "optim" else params[name] / scale[name] for name in params}
        return shares[planted] + 0.1 * shares[other]

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=30)
    found = importance(study)
    assert next(iter(found)) == planted
    assert found[planted] > 0.8
    assert sum(found.values()) == pytest.approx(1)
    assert importance(study) == found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1] * 9, "left out: 9 complete trials, and 10 are needed"),
        ([0.1] * 12, "left out: all trials have the same score"),
    ],
)
def test_the_importance_is_left_out_with_a_reason(values: list[float], expected: str) -> None:
    study = optuna.create_study()
    for index, value in enumerate(values):
        params = {"learning_rate": 1e-4 + 1e-6 * index, "weight_decay": 0.0, "optim": "adam"}
        study.add_trial(create_trial(params=params, distributions=PARAMS, value=value))
    assert importance(study) == expected


@pytest.fixture
def searched(tmp_path: Path):
    """A study with trials of known values: 0.5, 0.3, 0.3, pruned, diverged, failed, and one at work."""

    def searched(greater_is_better: bool = False, flags: tuple[str, ...] = ()) -> SharedStudy:
        path = tmp_path / "space.yaml"
        path.write_text("learning_rate: {low: 1e-5, high: 1e-3}\nglobal_batch_size: [16, 32]\nadam_beta1: 0.85\n")
        space = read_space(str(path), ["--recipe", "quickstart", "--output_dir", "elsewhere", *flags])
        options = {"greater_is_better": greater_is_better, "space": space, "seed": 7, "settings": {"seed": 7}}
        study = SharedStudy(str(tmp_path / "s.db"), "toy", tmp_path, metric="loss", **options)
        distributions = {name: each.distribution() for name, each in space.searched.items()}
        ends = [(0.5, "COMPLETE", ""), (0.3, "COMPLETE", ""), (0.3, "COMPLETE", "")]
        ends += [(None, "PRUNED", "pruned"), (None, "PRUNED", "diverged"), (None, "FAIL", ""), (None, "RUNNING", "")]
        for number, (value, state, stopped) in enumerate(ends):
            study.study.add_trial(
                create_trial(
                    state=optuna.trial.TrialState[state],
                    params={"learning_rate": 1e-4 / 3 * (number + 1), "global_batch_size": 16},
                    distributions=distributions,
                    value=value,
                    intermediate_values={1: 0.7, 2: 0.6},
                    user_attrs={"seconds": 1.5} | ({"stopped": stopped} if stopped else {}),
                )
            )
        for waiting in study.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
            assert waiting.number == 0  # the settings without a search
        return study

    return searched


def finished(study: SharedStudy, offset: int) -> list[int]:
    return [trial.number - offset for trial in best_trials(study)]


@pytest.mark.parametrize(("greater_is_better", "expected"), [(False, [1, 2, 0]), (True, [0, 1, 2])])
def test_the_best_come_first(searched, greater_is_better: bool, expected: list[int]) -> None:
    study = searched(greater_is_better)
    assert finished(study, offset=len(study.study.trials) - 7) == expected


def test_the_recipe_gives_the_options_of_the_trial_and_nothing_else(searched, tmp_path: Path) -> None:
    study = searched(flags=("--use_cpu", "--max_length", "32"))
    best = best_trials(study)[0]
    path = tmp_path / "best.yaml"
    path.write_text(recipe(study, best), encoding="utf-8")
    assert set(yaml.safe_load(path.read_text())) == {
        *("learning_rate", "global_batch_size"),  # searched
        *("adam_beta1", "use_cpu", "max_length"),  # of the space, of the command line
        *("corpus_name", "model_name_or_path", "from_scratch", "logging_steps"),  # of its recipe
    }
    of_recipe = parse_arguments(["--recipe", str(path), "--output_dir", "x"])
    of_trial = parse_arguments([*study.space.words(best.params), "--output_dir", "x"])
    of_trial[2].overwrite_output_dir = False  # of the quickstart's recipe
    assert [vars(group) for group in of_recipe[:2]] == [vars(group) for group in of_trial[:2]]
    assert of_recipe[2].to_dict() == of_trial[2].to_dict()
    assert of_recipe[2].learning_rate == 1e-4 / 3 * 2


def test_search_json_has_every_trial(searched, tmp_path: Path) -> None:
    study = searched()
    found = describe_search(study, {"python": "3"})
    assert found["counts"] == {"complete": 3, "pruned": 1, "diverged": 1, "failed": 1, "running": 1}
    assert found["best"]["value"] == 0.3
    assert found["best"]["params"] == best_trials(study)[0].params
    outcomes = [trial["outcome"] for trial in found["trials"]]
    assert outcomes == [*["complete"] * 3, "pruned", "diverged", "failed: its process died again and again", "running"]
    assert found["trials"][0]["evaluations"] == [0.7, 0.6]
    assert [trial["value"] for trial in found["trials"]] == [0.5, 0.3, 0.3, None, None, None, None]
    write_search(tmp_path, study, {})
    assert (tmp_path / "best.yaml").read_text() == recipe(study, best_trials(study)[0])
    assert not list(tmp_path.glob("*.tmp"))


def test_the_tables_say_what_a_person_wants_to_know(searched, tmp_path: Path) -> None:
    study = searched()
    lines = closing_table(study, tmp_path).splitlines()
    assert lines[1] == "7 trials: 3 complete, 1 pruned, 1 diverged, 1 failed, 1 running."
    assert lines[2].split() == ["trial", "validation", "loss", "learning_rate", "global_batch_size", "seconds"]
    assert lines[3].split()[1:] == ["0.3000", "6.67e-05", "16", "1.5"]
    assert lines[6] == "Importance left out: 3 complete trials, and 10 are needed."
    assert lines[-1].endswith(f"scripts/train.py --recipe {tmp_path / 'best.yaml'}")
    screen = opening_screen(study, {"train": [0] * 1200, "validation": [0] * 50}, 20)
    assert "Search: 20 trials by validation loss (less is better); 7 were begun before\n" in screen
    assert (
        "  learning_rate: 1e-05 to 0.001\n  global_batch_size: one of 16, 32\nAll trials: adam_beta1=0.85\n" in screen
    )
    assert "Data: 1,200 train examples, 50 validation examples; the test examples are not used" in screen
    best, second, *_ = best_trials(study)
    assert trial_line(best, study) == f"trial {best.number}: loss 0.3000  best so far"
    assert trial_line(second, study) == f"trial {second.number}: loss 0.3000"


def test_a_search_without_a_complete_trial_has_no_recipe(tmp_path: Path) -> None:
    space = read_space("quickstart", ["--recipe", "quickstart"])
    options = {"greater_is_better": False, "space": space, "seed": 7, "settings": {}}
    study = SharedStudy(str(tmp_path / "s.db"), "toy", tmp_path, metric="loss", **options)
    write_search(tmp_path, study, {})
    assert not (tmp_path / "best.yaml").exists()
    assert "No trial was completed, so there is no recipe" in closing_table(study, tmp_path)
