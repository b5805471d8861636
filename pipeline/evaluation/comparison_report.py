"""What scripts/compare.py says and writes: a sentence, a table, and examples on which two sides differ."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.comparison import Difference, McNemar, align, differences, mcnemar
from pipeline.evaluation.stored_predictions import StoredPredictions, read_predictions
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import PREDICTIONS, RESULTS, RUN
from pipeline.runtime.terminal import align as align_columns
from pipeline.runtime.terminal import shorten
from pipeline.tasks import Task

SEED_FOLDERS = "seed-*"  # of a series, by scripts/train_seeds.py
# Options that decide no score, or are to differ between the runs of a side.
SAME_SETTINGS = {
    *("seed", "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "cache_dir", "corpus_root_dir"),
    *("logging_dir", "logging_steps", "report_to", "run_name", "no_report", "disable_tqdm", "save_total_limit"),
    *("dataloader_num_workers", "push_to_hub", "hub_model_id", "hub_private_repo"),
}
TEXT_WIDTH = 60
NAME_WIDTH = 20


@dataclass(frozen=True)
class Comparison:
    """Two sides on the same examples.

    Attributes:
        a, b: the runs of each side, in the same order of examples.
        differences: the headline metrics, the first one first.
        mcnemar: of two classifiers; None with several runs, or in a regression.
        notes: what a reader must know besides.
    """

    a: list[StoredPredictions]
    b: list[StoredPredictions]
    split: str
    differences: list[Difference]
    mcnemar: McNemar | None
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        return self.a[0].task


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run folders: a folder with `seed-*` folders, as scripts/train_seeds.py leaves it, stands for these."""
    found = []
    for path in paths:
        seeds = [each for each in path.glob(SEED_FOLDERS) if each.is_dir() and each.name[5:].isdigit()]
        is_run = (path / PREDICTIONS).exists() or not seeds
        found += [path] if is_run else sorted(seeds, key=lambda each: int(each.name[5:]))
    return found


def compare(
    a: Sequence[Path], b: Sequence[Path], *, split: str = "test", unseen: bool = False, seed: int = 0
) -> Comparison:
    """Compare two sides.

    Args:
        a, b: the run folders of each side.
        split: test or validation.
        unseen: leave out the examples whose text stands in the training or validation examples of a run.
        seed: of the bootstrap.

    Raises:
        UserError: a run has no predictions, is given twice, or was scored on other examples.
    """
    folders = [path.resolve() for path in (*a, *b)]
    if twice := next((path for path in (*a, *b) if folders.count(path.resolve()) > 1), None):
        raise UserError(f"{twice} is given twice. A run can be compared with others, and counts once.")
    first, *others = (read_predictions(path, split) for path in (*a, *b))
    runs = [first]
    for other in others:
        runs.append(align(first, other))
    notes = [note for note in (_order_note(others, runs[1:]), _test_note(runs)) if note]
    if unseen:
        runs = _only_unseen(runs)
    sides = runs[: len(a)], runs[len(a) :]
    for side in sides:
        _check_distinct(side)
    notes += [note for name, side in zip("AB", sides, strict=True) if (note := _settings_note(name, side))]
    references = runs[0].references
    decisions = [np.stack([run.decisions for run in side]) for side in sides]
    found = differences(first.task, references, *decisions, seed=seed)
    is_pair = len(runs) == 2 and first.task.problem_type != "regression"
    counts = mcnemar(references, decisions[0][0], decisions[1][0]) if is_pair else None
    return Comparison(*sides, split, found, counts, notes)


def _only_unseen(runs: list[StoredPredictions]) -> list[StoredPredictions]:
    seen = np.zeros(len(runs[0]), dtype=bool)
    for run in runs:
        if run.in_training is None:
            raise UserError(
                f"--unseen: {run.run / PREDICTIONS} does not say which test texts stand in the training examples. "
                f"`accelerate launch scripts/evaluate_model.py --model {run.run}` writes it."
            )
        seen |= run.in_training
    rows = np.flatnonzero(~seen)
    if not len(rows):
        raise UserError("--unseen: every test text stands in the training examples.")
    return [run.select(rows) for run in runs]


def _check_distinct(side: Sequence[StoredPredictions]) -> None:
    for index, run in enumerate(side):
        for other in side[:index]:
            if np.array_equal(run.probabilities, other.probabilities):
                raise UserError(
                    f"{other.run} and {run.run} predict the same to the last digit: they are one training, done twice. "
                    "Give one of them, or train with other seeds."
                )


def _order_note(read: Sequence[StoredPredictions], aligned: Sequence[StoredPredictions]) -> str | None:
    moved = [str(before.run) for before, after in zip(read, aligned, strict=True) if before is not after]
    return (
        f"The examples of {', '.join(moved)} had another order, and were put in that of the first." if moved else None
    )


def _test_note(runs: Sequence[StoredPredictions]) -> str | None:
    chosen = [str(run.run) for run in runs if _read(run.run / RESULTS).get("checkpoint_chosen_on") == "test"]
    return f"Chosen on the test examples, so that its test score is too high: {', '.join(chosen)}." if chosen else None


def _settings_note(name: str, side: Sequence[StoredPredictions]) -> str | None:
    changed = changed_options([run.run for run in side])
    if not changed:
        return None
    return f"The runs of {name} differ in more than the seed: {', '.join(changed)}. Their spread is not that of seeds."


def changed_options(runs: Iterable[Path]) -> dict[str, list[Any]]:
    """The options in which runs differ, besides the seed and their folders: the values, run by run.

    A run that does not tell its options is left out.
    """
    told = [
        {name: value for group in arguments.values() for name, value in group.items() if name not in SAME_SETTINGS}
        for run in runs
        if (arguments := _read(run / RUN).get("arguments"))
    ]
    names = dict.fromkeys(name for options in told for name in options)
    values = {name: [options.get(name) for options in told] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


# In words.


def sentence(comparison: Comparison) -> str:
    """The answer, by the task's first metric, and what it does not say."""
    lines = [_answer(comparison.differences[0], len(comparison.a), len(comparison.b), comparison.split)]
    sizes = {"A": len(comparison.a), "B": len(comparison.b)}
    if set(sizes.values()) == {1}:
        lines.append(
            "These are two models of one seed each: this does not tell which settings are better, since how much other "
            "seeds would change the scores is unknown. Train several with scripts/train_seeds.py."
        )
    elif 1 in sizes.values():
        one, other = ("A", "B") if sizes["A"] == 1 else ("B", "A")
        lines.append(f"{one} is one run: other seeds of it are taken to differ as much as those of {other} do.")
    return " ".join(lines)


def _answer(difference: Difference, num_a: int, num_b: int, split: str) -> str:
    several = num_a > 1 or num_b > 1
    names = ("A", "B") if several else ("Model A", "Model B")
    better = names[difference.favours_b]
    sign = 1 if difference.value > 0 else -1
    low, high = sorted(sign * bound for bound in difference.interval)
    size = f"{_number(difference, abs(difference.value))}{_unit(difference)}"
    interval = f"[{_number(difference, low)}, {_number(difference, high)}]"
    limit = f"a difference below {_number(difference, difference.smallest)} cannot be told from chance"
    where = f"with {num_a} and {num_b} seeds on this {split} set" if several else f"on this {split} set"
    if difference.is_significant:
        return f"{better} is better by {size} {interval}; {where} {limit}."
    if difference.value == 0:
        return f"{names[0]} and {names[1]} have the same {difference.name} {interval}; {where} {limit}."
    p = f" (p = {difference.p:.2g})" if difference.p is not None and (low > 0 or high < 0) else ""  # which decided
    ahead = f"{better} is ahead by {size} {interval}{p}"
    return f"{names[0]} and {names[1]} cannot be told apart: {ahead}, and {where} {limit}."


def table(comparison: Comparison) -> list[str]:
    """Scores, differences, intervals; with several seeds their standard deviations."""
    rows = [["", "A", "B", "B - A", "95 % interval", "chance below", "p"]]
    for each in comparison.differences:
        low, high = (_number(each, bound) for bound in each.interval)
        scores = [_number(each, float(np.mean(side))) for side in (each.a, each.b)]
        p = "" if each.p is None else f"{each.p:.2g}"
        value = f"{'+' * (each.value > 0)}{_number(each, each.value)}"
        rows.append([each.name, *scores, value, f"{low} to {high}", _number(each, each.smallest), p])
        if len(each.a) > 1 or len(each.b) > 1:
            spread = [_number(each, float(np.std(side, ddof=1))) if len(side) > 1 else "-" for side in (each.a, each.b)]
            rows.append(["  sd of seeds", *spread, "", "", "", ""])
    return align_columns(rows)


def mcnemar_lines(counts: McNemar) -> list[str]:
    """By which of two models the examples are right."""
    names = ("both right", "only A right", "only B right", "both wrong")
    values = (counts.both_right, counts.only_a_right, counts.only_b_right, counts.both_wrong)
    kind = "exact" if counts.is_exact else "chi-square"
    return [
        ", ".join(f"{name} {value:,}" for name, value in zip(names, values, strict=True)),
        f"McNemar's test ({kind}): p = {counts.p:.2g}",
    ]


def disagreements(comparison: Comparison, count: int) -> list[dict[str, Any]]:
    """Examples that the two sides decide differently, those first whose probabilities differ most.

    Several runs of a side decide by the mean of their probabilities, with the thresholds of the first.
    """
    sides = [np.mean([run.probabilities for run in side], axis=0) for side in (comparison.a, comparison.b)]
    distance = np.abs(sides[0] - sides[1]).max(axis=1)
    first = comparison.a[0]
    found: list[dict[str, Any]] = []
    for row in np.argsort(-distance, kind="stable"):
        if len(found) >= count or distance[row] == 0:
            break
        tasks = (comparison.a[0].task, comparison.b[0].task)
        decided = [task.decide(side[row]) for task, side in zip(tasks, sides, strict=True)]
        if decided[0].label != decided[1].label:
            found.append(
                {
                    **dict(zip(comparison.task.text_columns, first.texts[row], strict=True)),
                    "label": first.labels[row],
                    **{
                        name: {"predicted": each.label, "probability": each.probability}
                        for name, each in zip("ab", decided, strict=True)
                    },
                    "distance": float(distance[row]),
                }
            )
    return found


def disagreement_lines(examples: Sequence[dict[str, Any]], task: Task) -> list[str]:
    """The examples, one a line."""

    def cell(side: dict[str, Any]) -> str:
        name = shorten(side["predicted"] or "-", NAME_WIDTH)
        return name if side["probability"] is None else f"{name} {side['probability']:.2f}"

    rows = [["label", "A", "B"]]
    rows += [[shorten(each["label"] or "-", NAME_WIDTH), cell(each["a"]), cell(each["b"])] for each in examples]
    texts = ["text", *(" / ".join(each[column] for column in task.text_columns) for each in examples)]
    lines = align_columns(rows)
    return [f"{line}  {shorten(text, TEXT_WIDTH)}" for line, text in zip(lines, texts, strict=True)]


def screen(comparison: Comparison, examples: Sequence[dict[str, Any]]) -> str:
    """All that a person reads."""
    lines = [sentence(comparison), *comparison.notes, ""]
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        lines.append(f"{name}  {', '.join(str(run.run) for run in side)}")
    if between := options_between(comparison):
        lines.append("Options that differ: " + ", ".join(f"{name} {a} and {b}" for name, (a, b) in between.items()))
    lines += ["", f"{len(comparison.a[0]):,} {comparison.split} examples", *table(comparison)]
    if comparison.mcnemar:
        lines += ["", *mcnemar_lines(comparison.mcnemar)]
    if examples:
        lines += ["", "Where they differ most:", *disagreement_lines(examples, comparison.task)]
    return "\n".join(line.rstrip() for line in lines)


def options_between(comparison: Comparison) -> dict[str, tuple[Any, Any]]:
    """The options in which the first runs of the two sides differ."""
    changed = changed_options([comparison.a[0].run, comparison.b[0].run])
    return {name: (values[0], values[1]) for name, values in changed.items()}


def describe(comparison: Comparison, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same as JSON: scores and differences as they are, not in points."""
    counts = comparison.mcnemar
    several = len(comparison.a) + len(comparison.b) > 2
    return {
        "sentence": sentence(comparison),
        "notes": comparison.notes,
        "a": [str(run.run) for run in comparison.a],
        "b": [str(run.run) for run in comparison.b],
        "options": {name: {"a": a, "b": b} for name, (a, b) in options_between(comparison).items()},
        "split": comparison.split,
        "num_examples": len(comparison.a[0]),
        "method": "t test over seeds and examples" if several else "paired bootstrap over examples",
        "metrics": {
            each.metric: {
                "a": list(each.a),
                "b": list(each.b),
                "difference": each.value,
                "interval": list(each.interval),
                "smallest": each.smallest,
                "p": each.p,
                "significant": each.is_significant,
            }
            for each in comparison.differences
        },
        **({"mcnemar": vars(counts)} if counts else {}),
        "examples": list(examples),
    }


def _is_share(difference: Difference) -> bool:
    return difference.metric == "accuracy" or difference.metric.startswith("f1")


def _number(difference: Difference, value: float) -> str:
    return f"{100 * value:.2f}" if _is_share(difference) else f"{value:.4f}"


def _unit(difference: Difference) -> str:
    return f" points of {difference.name}" if _is_share(difference) else f" of {difference.name}"
