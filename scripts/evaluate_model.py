"""Score a fine-tuned model as the end of its training did: the same reviews, the same numbers.

accelerate launch scripts/evaluate_model.py --model outputs/kcbert-base-nsmc
accelerate launch scripts/evaluate_model.py --model USER/NAME --corpus_root_dir ~/Korpora

The options are those of scripts/train.py; what the run itself was scored with stands in for their defaults. Writes
evaluation.json and predictions.jsonl into --output_dir.
"""

from pathlib import Path

from pipeline.fetch import evaluation_settings, fetch_model
from pipeline.launch import command, start_logging, use_all_cores
from pipeline.offline import asks_for_help, glance, stop_if_missing

SETTINGS = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}


@command
def main() -> None:
    start_logging()
    settings, precision = {}, None
    if not asks_for_help():
        named = glance()
        settings = evaluation_settings(fetch_model(named["model_name_or_path"], named["model_revision"]))
        precision = settings.pop("mixed_precision", None)  # no default: not every machine has each
        stop_if_missing(defaults=settings)
    # What is not there has been said before these slow imports.
    from functools import partial

    from pipeline.arguments import parse_arguments
    from pipeline.batching import make_collator
    from pipeline.features import split_rows
    from pipeline.metrics import report, scalars
    from pipeline.model import load_model
    from pipeline.prepare import prepare
    from pipeline.results import compare_precision, evaluation_table, write_json, write_predictions
    from pipeline.trainer import Trainer

    start_logging()  # again: transformers is there now, and with it its progress bars
    use_all_cores()
    data_args, model_args, training_args = parse_arguments(defaults={**SETTINGS, **settings})
    prepared = prepare(data_args, model_args)
    labels = prepared.features["train"].features["label"].names
    splits = split_rows(prepared.features, data_args.validation_fraction, data_args.validation_seed)
    texts = split_rows(prepared.features, data_args.validation_fraction, data_args.validation_seed, column="text")
    model = load_model(prepared.model, labels)
    trainer = Trainer(
        model=model,
        args=training_args,
        data_collator=make_collator(
            data_args.batching, model, prepared.tokenizer, data_args.max_seq_length, training_args
        ),
        compute_metrics=partial(scalars, labels=labels),
    )
    compare_precision(precision, trainer.accelerator.mixed_precision)
    results, predictions = {}, {}
    for name in [name for name in ("validation", "test") if name in splits]:
        predictions[name] = trainer.predict(splits[name], metric_key_prefix=name)
        results[name] = report(predictions[name].predictions, predictions[name].label_ids, labels)
    if trainer.is_world_process_zero():
        output_dir = Path(training_args.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(output_dir / "evaluation.json", {**prepared.describe(), **results})
        write_predictions(output_dir / "predictions.jsonl", predictions, texts, labels)
        print(evaluation_table(results, output_dir))


if __name__ == "__main__":
    main()
