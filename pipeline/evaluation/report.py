"""What a person reads in the terminal: a screen before training, and the tables at the end."""

import logging
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runtime.run_dir import CARD, CURVES, EVALUATION, LOG, PREDICTIONS, REPORT, RESULTS, RUN
from pipeline.runtime.terminal import align, shorten, wrap
from pipeline.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SELECTION = {
    "validation": "The checkpoint was chosen on the validation examples; test was scored once.",
    "test": "The checkpoint was chosen on the test examples, so the test score is biased.",
}
COLUMNS = {"validation": "validation", "test": "test", "test_unseen": "unseen"}  # of a table of scores
BEYOND_MAX_LENGTH = {  # by --long_text
    "head": "cut",
    "head_tail": "cut in the middle",
    "windows": "read in windows",
}
WIDTH = 100  # columns of a screen
MAX_NOTES = 5  # on the files of the user's own data
MAX_CLASSES = 10  # that are shown one by one
VALUE_WIDTH = 60  # columns of an option's value
NAME_WIDTH = 24  # columns of a class name
HEADING_WIDTH = 12  # columns of a class name over the confusion matrix


def log_arguments(arguments: dict[str, dict[str, Any]]) -> None:
    """Write every argument to the log file, group by group."""
    for group, values in arguments.items():
        text = ", ".join(f"{name}={value}" for name, value in values.items())
        logger.debug(
            "%s arguments:\n%s", group, textwrap.indent(textwrap.fill(text, 116, break_on_hyphens=False), "  ")
        )


# Before training.


def opening_screen(
    name: str,
    task: Task,
    labels: Mapping[str, Mapping[str, Any]],
    statistics: Mapping[str, Mapping[str, Any]],
    *,
    report: Mapping[str, Any],
    max_length: int,
    long_text: str,
    model: str,
    changed: Mapping[str, Any],
    examples: Iterable[Mapping[str, Any]],
) -> str:
    """What is about to be trained, on one screen.

    Args:
        name: of the data.
        task: what is learnt.
        labels: by split, from `describe_labels`.
        statistics: of the tokens, by split of the corpus, from `Features`.
        report: what was seen in the user's own data, from `Features`; empty for a corpus.
        max_length, long_text: the options.
        model: its name, its size, how batches are made: a phrase.
        changed: the options that differ from the defaults.
        examples: each with `texts`, `label` and `tokens`.
    """
    options = [f"{option}={_plain(value)}" for option, value in changed.items()] or ["none"]
    return "\n".join(
        [
            "",
            f"Data: {name}, {task.problem_type.replace('_', ' ')}",
            *_indent(_report_lines(report)),
            *_indent(label_table(labels)),
            *_indent(_token_lines(statistics, max_length, long_text)),
            f"Model: {model}",
            "Options that differ from the defaults:",
            *_indent(wrap(options, WIDTH - 2)),
            "Examples:",
            *_indent(line for example in examples for line in _example_lines(example)),
            "",
        ]
    )


def describe_labels(task: Task, labels: "np.ndarray") -> dict[str, Any]:
    """`num_examples` and `label_counts`, by name; in a regression also `numbers`: mean, smallest and largest.

    Args:
        task: what is learnt.
        labels: of a split, [examples, ...].
    """
    described = {"num_examples": len(labels), "label_counts": task.label_counts(labels)}
    if task.problem_type == "regression":
        numbers = {"mean": labels.mean(), "smallest": labels.min(), "largest": labels.max()} if len(labels) else {}
        described["numbers"] = {name: float(value) for name, value in numbers.items()}
    return described


def describe_model(name: str, model: "PreTrainedModel", collator: Any, *, pretrained: bool) -> str:
    """The model's name, its size, and how its batches are made."""
    from pipeline.data.collators import PackingCollator

    weights = "" if pretrained else " from random weights"
    size = model.num_parameters() / 1e6
    if isinstance(collator, PackingCollator):
        batches = "packed batches, no padding"
    else:
        batches = f"batches padded to {collator.width or 'their longest example'}"
    return f"{name}{weights}, {size:.1f} million parameters, {batches}"


def describe_examples(
    features: "Dataset", tokenizer: "PreTrainedTokenizerBase", task: Task, count: int = 2
) -> list[dict[str, Any]]:
    """Texts, tokens and label of the first rows of a tokenized corpus."""
    return [
        {
            "texts": [row[column] for column in task.text_columns],
            "tokens": tokenizer.convert_ids_to_tokens(row["input_ids"]),
            "label": task.label_name(row["label"]),
        }
        for row in features.select(range(min(count, len(features))))
    ]


def label_table(labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Examples of each split and class, with the classes' shares; of many classes the largest, and the others summed.

    Args:
        labels: by split, from `describe_labels`. The first split decides which classes are the largest.
    """
    splits = list(labels.values())
    rows = [["", *labels], ["examples", *(f"{split['num_examples']:,}" for split in splits)]]
    if "numbers" in splits[0]:
        names = splits[0]["numbers"]
        return align(rows + [[name, *(f"{split['numbers'][name]:.4g}" for split in splits)] for name in names])
    counts = [split["label_counts"] for split in splits]
    shown = list(counts[0])
    if len(shown) > MAX_CLASSES + 1:  # one class is not summed
        shown = sorted(shown, key=counts[0].__getitem__, reverse=True)[:MAX_CLASSES]
    for name in shown:
        rows.append([shorten(name, NAME_WIDTH), *map(_count, (count[name] for count in counts), splits)])
    if others := counts[0].keys() - set(shown):
        sums = (sum(count[name] for name in others) for count in counts)
        rows.append([f"{len(others):,} other classes", *map(_count, sums, splits)])
    return align(rows)


def _report_lines(report: Mapping[str, Any]) -> list[str]:
    """Which columns were taken, what is odd about the files, and how many rows were left out."""
    if not report:
        return []
    text, label = (" and ".join(report[f"{kind}_columns"]) for kind in ("text", "label"))
    notes = report["notes"]
    more = [f"... and {len(notes) - MAX_NOTES} more notes, in {RUN}"] if len(notes) > MAX_NOTES else []
    count = report["num_rows_left_out"]
    left_out = [f"{count:,} rows that cannot be used are left out; the first are in {RUN}"] if count else []
    columns = f"text from {shorten(text, VALUE_WIDTH)}, label from {shorten(label, VALUE_WIDTH)}"
    return [columns, *(shorten(note, WIDTH - 2) for note in notes[:MAX_NOTES]), *more, *left_out]


def _count(count: int, split: Mapping[str, Any]) -> str:
    share = f"{100 * count / split['num_examples']:.1f}" if split["num_examples"] else "-"
    return f"{count:,} {share:>5} %"


def _token_lines(statistics: Mapping[str, Mapping[str, Any]], max_length: int, long_text: str) -> list[str]:
    lines = []
    for split, about in statistics.items():
        tokens, cut = about["tokens"], about["num_cut"]
        lengths = f"mean {tokens['mean']:.1f}, median {tokens['median']:.0f}, 95 % {tokens['p95']:.0f}"
        share = f"{cut:,} ({100 * cut / about['num_examples']:.1f} %)" if cut else "none"
        beyond = f": {BEYOND_MAX_LENGTH[long_text]}" if cut else ""
        lines.append(
            f"tokens in {split}: {lengths}, longest {tokens['max']:,}; {share} longer than {max_length}{beyond}"
        )
    return lines


def _example_lines(example: Mapping[str, Any]) -> list[str]:
    """The tutorial's form, each line cut to the screen."""
    fields = {
        "sentence": " / ".join(example["texts"]),
        "tokens": " ".join(example["tokens"]),
        "label": example["label"],
    }
    return [f"{name + ':':<9} {shorten(text, WIDTH - 12)}" for name, text in fields.items()]


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return shorten(" ".join(map(str, value)) if isinstance(value, list) else str(value), VALUE_WIDTH)


# At the end.


def closing_table(
    results: dict[str, Any], task: Task, output_dir: Path, features: Path, diagnosis: str | None = None
) -> str:
    """What training prints at its end: scores, which split selected the checkpoint, and paths.

    Args:
        results: as in results.json.
        task: what was learnt.
        output_dir, features: folders of the run and of the tokenized corpus.
        diagnosis: from `Task.diagnose`.
    """
    paths = {
        "model": output_dir,
        "results": output_dir / RESULTS,
        "settings": output_dir / RUN,
        "card": output_dir / CARD,
        "report": output_dir / REPORT,
        "curves": output_dir / CURVES,
        "log": output_dir / LOG,
        "examples": output_dir / PREDICTIONS,
        "features": features,
    }
    remarks = "\n".join(
        [SELECTION[results["checkpoint_chosen_on"]], *_overlap(results), *([diagnosis] if diagnosis else [])]
    )
    return f"\n{_score_table(results, task)}\n{_confusion(results, task)}\n{remarks}\n{_list_paths(paths)}"


def evaluation_table(results: dict[str, Any], task: Task, output_dir: Path) -> str:
    """What an evaluation prints at its end: scores and paths."""
    paths = {"results": output_dir / EVALUATION, "examples": output_dir / PREDICTIONS}
    return f"\n{_score_table(results, task)}\n{_confusion(results, task)}\n{_list_paths(paths)}"


def _overlap(results: dict[str, Any]) -> list[str]:
    """How many test texts the model has seen."""
    seen, total = results["test"].get("num_seen"), results["test"]["num_examples"]
    if not seen:
        return []
    if seen == total:
        return ["All test texts stand in the training or validation examples too: the score says nothing of new texts."]
    texts = "1 test text stands" if seen == 1 else f"{seen:,} test texts stand"
    return [f"{texts} in the training or validation examples too; the others are scored as unseen."]


def _list_paths(paths: dict[str, Path]) -> str:
    """The paths that exist; without TensorBoard there are no curves."""
    return "\n".join(f"  {what:<9} {path}" for what, path in paths.items() if path.exists())


def _score_table(results: dict[str, Any], task: Task) -> str:
    return "\n".join(align(score_rows(results, task)))


def score_rows(results: Mapping[str, Any], task: Task) -> list[list[str]]:
    """The splits' scores side by side: a header, and rows that begin with a name."""
    columns = {
        title: dict(task.table_rows(results[split], results.get("test")))
        for split, title in COLUMNS.items()
        if split in results
    }
    names = next(iter(columns.values()))
    return [["", *columns], *([name, *(column[name] for column in columns.values())] for name in names)]


def _confusion(results: dict[str, Any], task: Task) -> str:
    """The confusion matrix of the test examples, or of the validation examples if there are no others; "" if none."""
    split = "test" if "test" in results else "validation"
    found = task.confusion_matrix(results[split])
    if found is None:
        return ""
    names, matrix = found
    names = [shorten(name, HEADING_WIDTH) for name in names]
    rows = [[name, *(f"{count:,}" for count in counts)] for name, counts in zip(names, matrix, strict=True)]
    title = f"Confusion matrix of {split}; row: label, column: prediction"
    return "\n".join(["", title, *align([["", *names], *rows]), ""])
