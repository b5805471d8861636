"""What a search shows and leaves: a line a trial, the best trials, what mattered, and the best one as a recipe."""

import os
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from pipeline.runtime.run_dir import write_json
from pipeline.runtime.terminal import align
from pipeline.search.study import REPLACES, SETTINGS, SharedStudy
from pipeline.search.trial import DIVERGED, OUT_OF_MEMORY, PRUNED

RECIPE = "best.yaml"  # of the best trial, for scripts/train.py --recipe
SEARCH = "search.json"  # every trial
SEARCH_LOG = "search.log"
TRIALS = "trials"  # a folder a trial, for its curves
NUM_SHOWN = 10  # of the best trials
MIN_IMPORTANCE_TRIALS = 10  # complete ones; below 20, one search in three of a known objective named another parameter
ROUGH_TRIALS = 20
STOPPED, EVALUATIONS, SECONDS = "stopped", "evaluations", "seconds"  # attributes of a trial
NOT_IN_RECIPE = {"recipe", "output_dir", "overwrite_output_dir", "logging_dir", "run_name"}
CAVEAT = (
    "The best of many is optimistic: the validation examples chose it. No test example was used; train with the\n"
    "recipe to score them once."
)


def opening_screen(study: SharedStudy, splits: Mapping[str, Sized], num_trials: int) -> str:
    """What is about to be searched.

    Args:
        splits: the rows to train on and to validate on.
        num_trials: of all processes together.
    """
    better = "more" if study.greater_is_better else "less"
    done = len(study.trials())
    examples = ", ".join(f"{len(rows):,} {name} examples" for name, rows in splits.items())
    lines = [
        "",
        f"Search: {num_trials} trials by validation {study.metric} ({better} is better)"
        + f"; {done} were begun before" * bool(done),
        *(f"  {name}: {text}" for name, text in study.space.describe().items()),
    ]
    if study.space.fixed:
        lines.append("All trials: " + ", ".join(f"{name}={value}" for name, value in study.space.fixed.items()))
    return "\n".join([*lines, f"Data: {examples}; the test examples are not used", f"Study: {study.shown_url}", ""])


def trial_line(trial: FrozenTrial, study: SharedStudy) -> str:
    """What became of a trial, in one line."""
    how = f"{study.metric} {trial.value:.4f}" if trial.state == TrialState.COMPLETE else outcome_of(trial)
    best = best_trials(study)
    return f"trial {trial.number}: {how}" + "  best so far" * (bool(best) and best[0].number == trial.number)


def outcome_of(trial: FrozenTrial) -> str:
    """`complete`, or what ended the trial."""
    if trial.state == TrialState.FAIL:
        return "failed: its process died again and again"
    return trial.user_attrs.get(STOPPED) or trial.state.name.lower()


def best_trials(study: SharedStudy) -> list[FrozenTrial]:
    """The complete trials, the best first; of equal ones the earlier."""
    sign = -1 if study.greater_is_better else 1
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def importance(study: optuna.Study) -> dict[str, float] | str:
    """The share of the metric's variance that each parameter explains, the largest first; or why it is left out.

    fANOVA (Hutter et al. 2014): a random forest is fitted to the complete trials. It found the parameter that decides a
    synthetic objective in 23 of 24 searches of 20 trials; Optuna's default, PED-ANOVA, in 7.
    """
    values = [trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(values) < MIN_IMPORTANCE_TRIALS:
        return f"left out: {len(values)} complete trials, and {MIN_IMPORTANCE_TRIALS} are needed"
    if len(set(values)) == 1:
        return "left out: all trials have the same score"
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def describe_search(study: SharedStudy, environment: dict[str, Any]) -> dict[str, Any]:
    """The content of search.json."""
    best = best_trials(study)
    return {
        "study": study.name,
        "storage": study.shown_url,
        "metric": study.metric,
        "greater_is_better": study.greater_is_better,
        "space": study.space.describe(),
        "counts": count_outcomes(study),
        "best": {"number": best[0].number, "value": best[0].value, "params": best[0].params} if best else None,
        "importance": importance(study.study),
        "settings": study.study.user_attrs[SETTINGS],
        "trials": [
            {
                "number": trial.number,
                "outcome": outcome_of(trial),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "params": trial.params,
                "evaluations": list(trial.intermediate_values.values()),
                "seconds": trial.user_attrs.get(SECONDS),
                "repeats": trial.user_attrs.get(REPLACES),
            }
            for trial in study.trials()
        ],
        "environment": environment,
    }


def count_outcomes(study: SharedStudy) -> dict[str, int]:
    """How many trials ended in which way."""
    counts: dict[str, int] = {}
    for trial in study.trials():
        name = outcome_of(trial).partition(":")[0]
        if trial.state == TrialState.PRUNED and name not in (PRUNED, DIVERGED, OUT_OF_MEMORY):
            name = "with values that do not work"
        counts[name] = counts.get(name, 0) + 1
    return counts


def write_search(output_dir: Path, study: SharedStudy, environment: dict[str, Any]) -> None:
    """Write search.json and best.yaml as far as the search has come. Other processes are kept out."""
    with study.locked():
        write_json(output_dir / SEARCH, describe_search(study, environment))
        if best := best_trials(study):
            text = recipe(study, best[0])
            tmp_path = output_dir / f"{RECIPE}.tmp"
            tmp_path.write_text(text, encoding="utf-8")
            os.replace(tmp_path, output_dir / RECIPE)


def recipe(study: SharedStudy, best: FrozenTrial) -> str:
    """The options of a trial as YAML: what the user and the space give to all trials, and what was searched."""
    given = {
        name: value
        for name, value in study.space.given(best.params).items()
        if name not in NOT_IN_RECIPE and not name.endswith("_token")
    }
    searched = {name: given.pop(name) for name in best.params}
    lines = [
        f"# The best of {len(study.trials())} trials of scripts/search.py: trial {best.number}, "
        f"validation {study.metric} {best.value}.",
        "# Searched:",
        yaml.safe_dump(searched, sort_keys=False, allow_unicode=True).rstrip(),
        *(
            ["# Given to all trials:", yaml.safe_dump(given, sort_keys=False, allow_unicode=True).rstrip()]
            if given
            else []
        ),
    ]
    return "\n".join(lines) + "\n"


def closing_table(study: SharedStudy, output_dir: Path) -> str:
    """What a search prints at its end."""
    best = best_trials(study)
    counts = ", ".join(f"{count} {name}" for name, count in count_outcomes(study).items())
    lines = ["", f"{len(study.trials())} trials: {counts}."]
    if not best:
        return "\n".join([*lines, f"No trial was completed, so there is no recipe. See {output_dir / SEARCH_LOG}."])
    names = list(study.space.searched)
    rows = [["trial", f"validation {study.metric}", *names, "seconds"]]
    for trial in best[:NUM_SHOWN]:
        cells = [_short(trial.params[name]) for name in names]
        rows.append([str(trial.number), f"{trial.value:.4f}", *cells, _short(trial.user_attrs.get(SECONDS, "-"))])
    shares = importance(study.study)
    if isinstance(shares, str):
        mattered = [f"Importance {shares}."]
    else:
        rough = f"; rough below {ROUGH_TRIALS}" if len(best) < ROUGH_TRIALS else ""
        mattered = [
            f"Importance, the share of the variance that each explains (fANOVA on {len(best)} complete trials{rough}):",
            *(f"  {line}" for line in align([[name, f"{share:.2f}"] for name, share in shares.items()])),
        ]
    paths = {"recipe": RECIPE, "trials": SEARCH, "curves": TRIALS, "log": SEARCH_LOG}
    return "\n".join(
        [
            *lines,
            *align(rows),
            *mattered,
            CAVEAT,
            *(f"  {name:<9} {output_dir / path}" for name, path in paths.items()),
            f"  {'next':<9} accelerate launch scripts/train.py --recipe {output_dir / RECIPE}",
        ]
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
