"""A finished run -> its model card; a corpus -> its dataset card. The texts are in templates/."""

from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from pipeline.data.corpora import get_corpus
from pipeline.data.corpus import CorpusCard
from pipeline.runtime.run_dir import RESULTS, RUN, read_json
from pipeline.tasks import Task

SETTINGS = {  # in the card, by group of options; none of them but the model's name can be a path
    "data": ("corpus_name", "max_length", "validation_fraction", "validation_seed", "batching"),
    "model": ("model_name_or_path", "model_revision", "from_scratch", "config_overrides"),
    "training": (
        *("global_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate"),
        *("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "lr_scheduler_type", "gamma"),
        *("warmup_steps", "num_train_epochs", "max_steps", "label_smoothing_factor", "seed", "full_determinism"),
    ),
}
ENVIRONMENT = ("processes", "mixed_precision", "device", "python")


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
    corpus = get_corpus(run["corpus"]["name"])
    base, commit = run["arguments"]["model"]["model_name_or_path"], run["model"]["commit"]
    origin = "origin_pretrained.md" if run["model"]["pretrained"] else "origin_from_scratch.md"
    body = _fill(
        "model_card.md",
        name=name,
        corpus=corpus.card,
        class_names=", ".join(f"`{class_name}`" for class_name in corpus.task.class_names),
        origin=_fill(origin, base=_link(base, commit), corpus=corpus.card),
        metrics=_metrics_table(results, corpus.task),
        selection=_fill(f"selection_{results['checkpoint_chosen_on']}.md"),
        digests=_rows(run["corpus"]["sha256"].items(), "| {} | `{}` |"),
        limits_ko=corpus.card.limits.ko.rstrip(),
        limits_en=corpus.card.limits.en.rstrip(),
        max_length=run["arguments"]["data"]["max_length"],
        settings=_rows(_settings(run).items(), "| {} | {} |"),
    )
    data = _model_metadata(corpus.card, corpus.task, results["test"], name, base if commit else None)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def dataset_card(corpus: dict[str, Any], num_examples: dict[str, int], name: str) -> DatasetCard:
    """The card of the text dataset that a run was trained on.

    Args:
        corpus: its name and the digests of its files, as in run.json.
        num_examples: by split.
        name: of the dataset on the Hub.
    """
    spec = get_corpus(corpus["name"])
    about, task = spec.card, spec.task
    data_files = [{"split": split, "path": f"data/{split}.parquet"} for split in num_examples]
    data = DatasetCardData(
        language="ko",
        license=about.license_id,
        task_categories=["text-classification"],
        source_datasets=["original"],
        pretty_name=about.title.en if about.hub_id else name,
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    splits = [(split, f"{count:,}", corpus["sha256"][split]) for split, count in num_examples.items()]
    body = _fill(
        "dataset_card.md",
        name=name,
        corpus=about,
        columns=", ".join(f"`{column}`" for column in task.text_columns),
        classes=", ".join(f"{label} = {class_name}" for label, class_name in enumerate(task.class_names)),
        splits=_rows(splits, "| {} | {} | `{}` |"),
        labels=f"{about.labels.ko}\n\n*{about.labels.en}*\n\n" if about.labels.ko else "",
        source=f"출처 · Source: <{about.source_url}>\n\n" if about.source_url else "",
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


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
        metrics=[metric_type for _, metric_type, _ in task.headline_metrics],
        tags=["korean", *about.tags, "nsmc-pipeline"],
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


def _fill(template: str, **values: object) -> str:
    text = resources.files("pipeline.publishing").joinpath("templates", template).read_text(encoding="utf-8")
    return text.format(**values).strip()


def _rows(rows: Any, pattern: str) -> str:
    return "\n".join(pattern.format(*row) for row in rows)


def _link(base: str, commit: str | None) -> str:
    """The base model with its commit on the Hub; of a local folder only its name, not its path."""
    return f"[{base}](https://huggingface.co/{base}) (`{commit[:12]}`)" if commit else _folder_name(base)


def _folder_name(path: str | Path) -> str:
    return Path(path).expanduser().resolve().name


def _metrics_table(results: dict[str, Any], task: Task) -> str:
    """The splits' scores side by side."""
    columns = {split: dict(task.table_rows(results[split])) for split in ("validation", "test") if split in results}
    header = f"| | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|\n"
    names = next(iter(columns.values()))
    return header + "\n".join(
        f"| {name.strip()} | {' | '.join(column[name] for column in columns.values())} |" for name in names
    )


def _settings(run: dict[str, Any]) -> dict[str, Any]:
    """The options and versions that decide the result, by name."""
    settings = {
        name: value
        for group, names in SETTINGS.items()
        for name in names
        if (value := run["arguments"][group].get(name)) is not None
    }
    if run["model"]["commit"] is None:
        settings["model_name_or_path"] = _folder_name(settings["model_name_or_path"])
    return settings | {name: run["environment"][name] for name in ENVIRONMENT} | run["environment"]["packages"]
