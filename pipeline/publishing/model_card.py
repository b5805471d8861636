"""A finished run -> its model card; a corpus -> its dataset card. The texts are in templates/."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from pipeline.data.corpora import get_corpus
from pipeline.data.corpus import CorpusCard
from pipeline.runtime.run_dir import CARD, RESULTS, RUN, read_json
from pipeline.tasks import Task, create_task

logger = logging.getLogger(__name__)

# Settings in the card, by group of options; none of them but the model's name can be a path.
SETTINGS = {
    "data": ("max_length", "validation_fraction", "validation_seed", "batching"),
    "model": ("model_name_or_path", "model_revision", "from_scratch", "config_overrides"),
    "training": (
        *("global_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate"),
        *("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "lr_scheduler_type", "gamma"),
        *("warmup_steps", "num_train_epochs", "max_steps", "label_smoothing_factor", "seed", "full_determinism"),
    ),
}
CHANGES = (  # options of the data that the card names only where they are not at their defaults
    *("dataset_config_name", "dataset_revision", "text_column", "label_column", "problem_type", "class_names"),
    *("class_weights", "skip_bad_rows", "drop_duplicates", "clean", "long_text"),
)
ENVIRONMENT = ("processes", "mixed_precision", "device", "python")
MAX_NAMES = 10  # classes that a sentence or a table names
OWN_CARD = "MODEL_CARD.md"  # our card in a folder whose README.md is the user's
OLD_MARKER = "\n- nsmc-pipeline\n"  # cards of earlier versions have this tag instead
MARKER = (
    "<!-- Written by scripts/train.py, which replaces this file. Without this line the file is yours and stays. -->"
)
TEXTS = ("여기에 글을 적습니다.", "함께 읽을 글을 적습니다.")  # of the usage's example


def save_card(output_dir: Path, card: ModelCard) -> Path:
    """Save a model card as README.md; if that file is the user's own, as MODEL_CARD.md, and say so.

    Returns:
        Where the card is.
    """
    path = output_dir / CARD
    if path.exists() and not _is_ours(path):
        path = output_dir / OWN_CARD
        logger.warning("%s is your own and stays; the model card is in %s.", output_dir / CARD, path)
    card.save(path)
    return path


def _is_ours(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    return MARKER in text or OLD_MARKER in text


def model_card(model_dir: Path, name: str | None = None) -> ModelCard:
    """The card of a finished run, from its results.json and run.json.

    Args:
        model_dir: the run's folder.
        name: of the model on the Hub; None: the folder's name. Its path stays on this machine.

    Raises:
        UserError: the folder holds no finished run.
    """
    name = name or _folder_name(model_dir)
    results, run = read_json(model_dir / RESULTS), read_json(model_dir / RUN)
    about, task = describe_corpus(run["corpus"])
    base, commit = run["arguments"]["model"]["model_name_or_path"], run["model"]["commit"]
    origin = "origin_pretrained.md" if run["model"]["pretrained"] else "origin_from_scratch.md"
    limit_ko, limit_en = _fill(f"limit_{_option(run, 'long_text')}.md", **_max_length(run)).splitlines()
    body = _fill(
        "model_card.md",
        name=name,
        about=_about(about, task),
        origin=_fill(origin, base=_link(base, commit), corpus=about),
        usage=_usage(name, task, run, tuned="validation" in results, temperature=_temperature(results)),
        metrics=_metrics_table(results, task),
        confusion_matrix=_confusion_matrix(results["test"], task),
        selection="\n\n".join([_fill(f"selection_{_selection(results, run)}.md"), *_notes_on_scores(results)]),
        data=_data(about, task, run),
        limits_ko=f"{about.limits.ko.rstrip()}\n{limit_ko}".strip(),
        limits_en=f"{about.limits.en.rstrip()}\n{limit_en}".strip(),
        settings=_rows(_settings(run).items()),
        marker=MARKER,
    )
    data = _model_metadata(about, task, results["test"], name, base if commit else None)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def dataset_card(corpus: dict[str, Any], num_examples: dict[str, int], name: str) -> DatasetCard:
    """The card of the text dataset that a run was trained on.

    Args:
        corpus: as in run.json.
        num_examples: by split.
        name: of the dataset on the Hub.
    """
    about, task = describe_corpus(corpus)
    data_files = [{"split": split, "path": f"data/{split}.parquet"} for split in num_examples]
    data = DatasetCardData(
        language="ko",
        license=about.license_id,
        task_categories=["text-classification"],
        source_datasets=["original"],
        pretty_name=about.title.en if about.hub_id else name,
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    numbered = ", ".join(f"{label} = {class_name}" for label, class_name in enumerate(task.class_names))
    classes = numbered if task.problem_type == "single_label_classification" else ", ".join(task.class_names)
    label_ko, label_en = _fill(f"label_{task.problem_type}.md", classes=classes).splitlines()
    splits = [(split, f"{count:,}", f"`{corpus['sha256'][split]}`") for split, count in num_examples.items()]
    left_out = _rows_left_out(corpus)
    body = _fill(
        "dataset_card.md",
        name=name,
        corpus=about,
        columns=_names(task.text_columns),
        label_ko=label_ko,
        label_en=label_en,
        splits=_rows(splits),
        labels=f"{about.labels.ko}\n\n*{about.labels.en}*\n\n" if about.labels.ko else "",
        rows_left_out=f"{left_out}\n\n" if left_out else "",
        source=f"출처 · Source: <{about.source_url}>\n\n" if about.source_url else "",
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def describe_corpus(corpus: dict[str, Any]) -> tuple[CorpusCard, Task]:
    """What run.json says of a corpus: its card and its task. Runs of version 0.1 have its name only.

    Raises:
        UserError: there is no corpus of this name.
    """
    if "card" in corpus:
        return CorpusCard.from_description(corpus["card"]), create_task(**corpus["task"])
    spec = get_corpus(corpus["name"])
    return spec.card, spec.task


def _model_metadata(
    about: CorpusCard, task: Task, test_scores: dict[str, Any], name: str, base_model: str | None
) -> ModelCardData:
    """What the Hub reads of a model card: tags, and the headline metrics on the test set."""
    return ModelCardData(
        language="ko",
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base_model,
        datasets=[about.hub_id] if about.hub_id else None,
        metrics=list(dict.fromkeys(metric_type for _, metric_type, _ in task.headline_metrics)),
        tags=["korean", *about.tags],
        model_name=name.rsplit("/", 1)[-1],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=about.hub_id or "other",
                dataset_name=about.title.en,
                dataset_split="test",
                metric_type=metric_type,
                metric_name=title,
                metric_value=test_scores[key],
            )
            for key, metric_type, title in task.headline_metrics
        ],
    )


def _about(about: CorpusCard, task: Task) -> str:
    """What the model does."""
    classes = {"classes_ko": _names(task.class_names, "외 {}개"), "classes_en": _names(task.class_names, "{} more")}
    text = _fill(f"about_{task.problem_type}.md", corpus=about, **classes)
    pairs = [_fill("about_pairs.md", columns=_names(task.text_columns))] if _reads_pairs(task) else []
    return "\n\n".join([text, *pairs])


def _temperature(results: dict[str, Any]) -> float:
    """1 in a regression, and in runs that were not calibrated."""
    return results["test"].get("calibration", {}).get("temperature", 1.0)


def _usage(name: str, task: Task, run: dict[str, Any], *, tuned: bool, temperature: float) -> str:
    """An example in transformers, and what it does not do of what this project's prediction does.

    Args:
        tuned: whether the thresholds of a task that has some were chosen on validation examples.
        temperature: of the probabilities that the thresholds are of.
    """
    has_thresholds = task.problem_type == "multi_label_classification"
    thresholds = "thresholds = dict.fromkeys(scores, 0.5)"
    if tuned:  # the order of `id2label` in config.json is 0, 1, 10, 2
        value = "value" if temperature == 1 else f"1 / (1 + (1 / value - 1) ** {temperature})"
        thresholds = (
            "config = classify.model.config\n"
            f'thresholds = {{config.id2label[i]: {value} for i, value in enumerate(config.classifier["thresholds"])}}'
        )
    first, second = (f'"{text}"' for text in TEXTS)
    text = f'{{"text": {first}, "text_pair": {second}}}' if _reads_pairs(task) else first
    example = _fill(f"usage_{task.problem_type}.md", name=name, text=text, thresholds=thresholds)
    clean, long_text = _option(run, "clean"), _option(run, "long_text")
    notes = ["usage_clean.md"] if clean != "none" else []
    notes += [f"usage_{long_text}.md"] if long_text != "head" else []
    notes += ["usage_thresholds.md"] if has_thresholds and tuned else []
    notes += ["usage_temperature.md"] if temperature != 1 and not has_thresholds else []
    if not notes:
        return example
    texts = f"({first}, {second})" if _reads_pairs(task) else first
    values = {"clean": clean, "temperature": temperature, **_max_length(run)}
    listed = "\n".join(_fill(note, **values) for note in notes)
    return "\n\n".join([example, listed, _fill("usage_project.md", name=name, text=texts)])


def _metrics_table(results: dict[str, Any], task: Task) -> str:
    """The splits' scores side by side."""
    columns = {
        title: dict(task.table_rows(results[split], results["test"]))
        for split, title in {"validation": "validation", "test": "test", "test_unseen": "test, unseen texts"}.items()
        if split in results
    }
    names = next(iter(columns.values()))
    rows = [(name.strip(), *(column[name] for column in columns.values())) for name in names]
    return _table(["", *columns], rows)


def _confusion_matrix(scores: dict[str, Any], task: Task) -> str:
    """A table, if the task has one that a person can read."""
    matrix = task.confusion_matrix(scores)
    if matrix is None:
        return ""
    names, counts = matrix
    rows = [(name, *(f"{count:,}" for count in row)) for name, row in zip(names, counts, strict=True)]
    return f"\n{_fill('confusion_matrix.md', table=_table(['', *names], rows))}\n"


def _selection(results: dict[str, Any], run: dict[str, Any]) -> str:
    """The name of the text that says on which examples the checkpoint was chosen."""
    chosen_on = results["checkpoint_chosen_on"]
    given = "validation" in run["corpus"]["sha256"]
    return "given_validation" if given and chosen_on == "validation" else chosen_on


def _notes_on_scores(results: dict[str, Any]) -> list[str]:
    """How many test texts the model has seen, and how its probabilities were calibrated."""
    test = results["test"]
    notes = [_fill("scores_seen.md", count=test["num_seen"])] if test.get("num_seen") else []
    if _temperature(results) != 1:
        notes.append(_fill("scores_calibration.md", **test["calibration"]))
    return notes


def _data(about: CorpusCard, task: Task, run: dict[str, Any]) -> str:
    """What the data is, which of it was used, and how many examples have each label."""
    corpus, report = run["corpus"], run["corpus"].get("report", {})
    digests = [(split, f"`{digest}`") for split, digest in corpus["sha256"].items()]
    texts = [_fill("data.md", corpus=about, digests=_rows(digests))]
    if report.get("label_columns"):
        columns = {name: _names(report[name]) for name in ("text_columns", "label_columns")}
        texts.append(_fill("data_columns.md", **columns))
    if "test" not in corpus["sha256"]:
        texts.append(_fill("data_test_fraction.md", fraction=_option(run, "test_fraction")))
    texts.append(_rows_left_out(corpus))
    texts.append(_label_table(run.get("splits", {}), task))
    if weights := _option(run, "class_weights"):
        texts.append(_fill("data_class_weights.md", weights=_names(weights, "… +{}")))
    return "\n\n".join(filter(None, texts))


def _rows_left_out(corpus: dict[str, Any]) -> str:
    count = corpus.get("report", {}).get("num_rows_left_out", 0)
    return _fill("data_rows_left_out.md", count=count) if count else ""


def _label_table(splits: dict[str, dict[str, Any]], task: Task) -> str:
    """How many examples of each split have each label, and their share; of many classes the most frequent.

    Args:
        splits: by name, `num_examples`, `label_counts` and of a regression `numbers`, as in run.json.
    """
    if not splits:
        return ""
    if task.problem_type == "regression":
        numbers = {name: None for each in splits.values() for name in each["numbers"]}
        rows = [(name, *(f"{each['numbers'].get(name, math.nan):.4g}" for each in splits.values())) for name in numbers]
        return _table([task.class_names[0], *splits], rows)
    counts = {split: each["label_counts"] for split, each in splits.items()}
    most = next(iter(counts.values()))
    names = list(task.class_names)
    if len(names) > MAX_NAMES:
        names.sort(key=lambda name: -most[name])  # stable

    def count(split: str, name: str) -> str:
        number = counts[split][name]
        return f"{number:,} ({number / splits[split]['num_examples']:.1%})"

    rows = [(name, *(count(split, name) for split in splits)) for name in names[:MAX_NAMES]]
    if more := len(names) - len(rows):
        rows.append((f"외 {more}개 · {more} more", *[""] * len(splits)))
    return _table(["label", *splits], rows)


def _settings(run: dict[str, Any]) -> dict[str, Any]:
    """The options and versions that decide the result, by name."""
    settings = {
        name: value
        for group, names in SETTINGS.items()
        for name in names
        if (value := run["arguments"][group].get(name)) is not None
    }
    for name, default in _data_defaults().items():
        if name in CHANGES and (value := _option(run, name)) != default:
            settings[name] = " ".join(value) if isinstance(value, list) else value
    if "validation" in run["corpus"]["sha256"]:  # which was given, and not split off
        settings = {name: value for name, value in settings.items() if not name.startswith("validation_")}
    if run["model"]["commit"] is None:
        settings["model_name_or_path"] = _folder_name(settings["model_name_or_path"])
    packages = {name.removeprefix("nsmc-"): version for name, version in run["environment"]["packages"].items()}
    return settings | {name: run["environment"][name] for name in ENVIRONMENT} | packages


def _option(run: dict[str, Any], name: str) -> Any:
    """An option of the data; the default in runs that did not have it yet."""
    return run["arguments"]["data"].get(name, _data_defaults()[name])


def _data_defaults() -> dict[str, Any]:
    from pipeline.config.arguments import DataArguments  # slow to import: a folder without a run is refused before

    return {field.name: field.default for field in fields(DataArguments)}


def _max_length(run: dict[str, Any]) -> dict[str, Any]:
    return {"max_length": _option(run, "max_length")}


def _reads_pairs(task: Task) -> bool:
    return len(task.text_columns) == 2


# Markdown.


def _fill(template: str, **values: object) -> str:
    text = resources.files("pipeline.publishing").joinpath("templates", template).read_text(encoding="utf-8")
    return text.format(**values).strip()


def _table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join([_rows([header]), "|---" * len(header) + "|", _rows(rows)])


def _rows(rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(value: Any) -> str:
    """A name can have what would end the cell or the row."""
    return " ".join(str(value).replace("|", "\\|").split())


def _names(names: Sequence[str], more: str = "+{}") -> str:
    """Names as code, the first ten; `more` tells how many others there are."""
    ticks = ["``" if "`" in name else "`" for name in names]
    quoted = [f"{tick}{' '.join(name.split())}{tick}" for tick, name in zip(ticks, names, strict=True)]
    rest = [more.format(len(names) - MAX_NAMES)] if len(names) > MAX_NAMES else []
    return ", ".join([*quoted[:MAX_NAMES], *rest])


def _link(base: str, commit: str | None) -> str:
    """The base model with its commit on the Hub; of a local folder only its name, not its path."""
    return f"[{base}](https://huggingface.co/{base}) (`{commit[:12]}`)" if commit else _folder_name(base)


def _folder_name(path: str | Path) -> str:
    return Path(path).expanduser().resolve().name
