"""Evaluate a fine-tuned model: as at the end of its training, to the same digits; or on any other labelled data.

accelerate launch scripts/evaluate_model.py --model outputs/kcbert-base-nsmc
accelerate launch scripts/evaluate_model.py --model outputs/kcbert-base-nsmc --test_file labelled.csv
accelerate launch scripts/evaluate_model.py --model USER/NAME --corpus_name nsmc --corpus_root_dir ~/Korpora

The options are those of scripts/train.py. Where you give none, the model's training decides; data that you name
replaces the training's. Writes evaluation.json and predictions.jsonl into --output_dir; by default that is the model's
folder.
"""

import sys
from pathlib import Path
from typing import Any

from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.logging import configure_logging

NO_TRAINING = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}
# Where the data is and how it is read: given one of the first, none of them comes from the training.
SOURCE = ("corpus_name", "train_file", "validation_file", "test_file", "dataset_name")
READING = ("dataset_config_name", "dataset_revision", "text_column", "label_column", "problem_type", "class_names")


@command
def main() -> None:
    configure_logging()
    from pipeline.config.help_page import EVALUATION as SHOWN
    from pipeline.config.parser import parse_arguments
    from pipeline.prepare import fetch_sources, prepare

    trained_with, expected = ({}, None) if {"-h", "--help", "--help_all"} & set(sys.argv) else settings_of_training()
    precision = trained_with.pop("mixed_precision", None)  # not a default: not every machine has every precision
    data_args, model_args, training_args = parse_arguments(
        defaults={**NO_TRAINING, **trained_with}, about=__doc__, shown=SHOWN
    )
    sources = fetch_sources(data_args, model_args, expected)

    # Slow imports: mistakes and missing files are reported by now.
    from pipeline.data.duplicates import occurs_in
    from pipeline.data.splits import model_inputs
    from pipeline.evaluation.report import evaluation_table
    from pipeline.evaluation.results import compare_precision, write_predictions
    from pipeline.evaluation.scoring import score_splits
    from pipeline.modeling.batching import make_collator
    from pipeline.modeling.loading import load_model
    from pipeline.modeling.prediction_settings import check_same_labels
    from pipeline.runtime.devices import use_all_cores
    from pipeline.runtime.run_dir import EVALUATION, PREDICTIONS, write_json
    from pipeline.training.trainer import Trainer

    use_all_cores()

    # Data.
    prepared = prepare(data_args, sources)
    task = check_same_labels(expected, prepared.task)
    rows = prepared.select_splits(data_args)
    splits = {name: model_inputs(split) for name, split in rows.items()}
    trained_on = [split for name, split in rows.items() if name != "test"]
    seen = occurs_in(rows["test"], trained_on, task.text_columns) if "train" in rows else None

    # Model.
    model = load_model(sources.model_files, task, new_head=False)
    batches = (data_args.batching, model, prepared.tokenizer, data_args.max_length, training_args, data_args.long_text)
    trainer = Trainer(
        model=model,
        task=task,
        args=training_args,
        data_collator=make_collator(*batches),
    )

    # Evaluate and report.
    compare_precision(precision, trainer.accelerator.mixed_precision)
    _, scores, logits = score_splits(trainer, task, splits, seen=seen)
    if trainer.is_world_process_zero():
        output_dir = Path(training_args.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(output_dir / EVALUATION, {**prepared.describe(), **scores})
        write_predictions(output_dir / PREDICTIONS, logits, rows, task, seen)
        print(evaluation_table(scores, task, output_dir))


def settings_of_training() -> tuple[dict[str, Any], Any]:
    """The options of the model's training that decide its scores, with the model's own folder as --output_dir.

    Returns:
        The options; and the model's task, which is None for a base model.
    """
    from pipeline.config.parser import given_options, peek_arguments
    from pipeline.evaluation.results import evaluation_settings
    from pipeline.modeling.files import fetch_model
    from pipeline.modeling.prediction_settings import task_of_model

    given = peek_arguments()
    if "corpus_root_dir" in given_options() and not Path(given.corpus_root_dir).expanduser().is_dir():
        raise UserError(f"--corpus_root_dir {given.corpus_root_dir}: there is no such folder.")
    files = fetch_model(given.model_name_or_path, given.model_revision, onnx=False)
    settings = evaluation_settings(files)
    if {*SOURCE} & given_options():
        settings = {name: value for name, value in settings.items() if name not in (*SOURCE, *READING)}
    output_dir = {} if files.commit else {"output_dir": str(files.folder)}
    return output_dir | settings, task_of_model(files)


if __name__ == "__main__":
    main()
