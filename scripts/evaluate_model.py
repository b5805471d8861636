"""Evaluate a fine-tuned model as at the end of its training: the same examples, the same digits.

accelerate launch scripts/evaluate_model.py --model outputs/kcbert-base-nsmc
accelerate launch scripts/evaluate_model.py --model USER/NAME --corpus_root_dir ~/Korpora

The options are those of scripts/train.py. Where you give none, the model's training decides. Writes evaluation.json
and predictions.jsonl into --output_dir; by default that is the model's folder.
"""

import sys
from pathlib import Path
from typing import Any

from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging

NO_TRAINING = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}


@command
def main() -> None:
    configure_logging()
    from pipeline.config.parser import parse_arguments
    from pipeline.prepare import fetch_sources, prepare

    trained_with = {} if {"-h", "--help"} & set(sys.argv) else settings_of_training()
    precision = trained_with.pop("mixed_precision", None)  # not a default: not every machine has every precision
    data_args, model_args, training_args = parse_arguments(defaults={**NO_TRAINING, **trained_with})
    sources = fetch_sources(data_args, model_args)

    # Slow imports: mistakes and missing files are reported by now.
    from pipeline.data.splits import select_splits
    from pipeline.evaluation.report import evaluation_table
    from pipeline.evaluation.results import compare_precision, write_predictions
    from pipeline.evaluation.scoring import score_splits
    from pipeline.modeling.batching import make_collator
    from pipeline.modeling.loading import load_model
    from pipeline.runtime.devices import use_all_cores
    from pipeline.runtime.run_dir import EVALUATION, PREDICTIONS, write_json
    from pipeline.training.trainer import Trainer

    use_all_cores()

    # Data.
    prepared = prepare(data_args, sources)
    task = sources.corpus.task
    split = (prepared.features, task, data_args.validation_fraction, data_args.validation_seed)
    splits, texts = select_splits(*split), select_splits(*split, columns=task.text_columns)

    # Model.
    model = load_model(sources.model_files, task)
    trainer = Trainer(
        model=model,
        task=task,
        args=training_args,
        data_collator=make_collator(data_args.batching, model, prepared.tokenizer, data_args.max_length, training_args),
    )

    # Evaluate and report.
    compare_precision(precision, trainer.accelerator.mixed_precision)
    scores, logits = score_splits(trainer, task, splits)
    if trainer.is_world_process_zero():
        output_dir = Path(training_args.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(output_dir / EVALUATION, {**prepared.describe(), **scores})
        write_predictions(output_dir / PREDICTIONS, logits, texts, task)
        print(evaluation_table(scores, task, output_dir))


def settings_of_training() -> dict[str, Any]:
    """The options of the model's training that decide its scores, and the model's own folder as --output_dir."""
    from pipeline.config.parser import peek_arguments
    from pipeline.evaluation.results import evaluation_settings
    from pipeline.modeling.files import fetch_model

    given = peek_arguments()
    files = fetch_model(given.model_name_or_path, given.model_revision)
    output_dir = {} if files.commit else {"output_dir": str(files.folder)}
    return output_dir | evaluation_settings(files)


if __name__ == "__main__":
    main()
