"""Score a fine-tuned model as the end of its training did: the same reviews, the same numbers.

accelerate launch scripts/evaluate_model.py --model outputs/kcbert-base-nsmc
accelerate launch scripts/evaluate_model.py --model USER/NAME --corpus_root_dir ~/Korpora

The options are those of scripts/train.py; what the run itself was scored with stands in for their defaults. Writes
evaluation.json and predictions.jsonl into --output_dir.
"""

from functools import partial
from pathlib import Path

from pipeline.arguments import parse_arguments, parse_model_name
from pipeline.batching import make_collator
from pipeline.features import split_rows
from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging, use_all_cores
from pipeline.metrics import report, scalars
from pipeline.model import load_model
from pipeline.prepare import prepare
from pipeline.results import evaluation_settings, evaluation_table, write_json, write_predictions
from pipeline.trainer import Trainer

SETTINGS = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "report_to": "none"}


@command
def main() -> None:
    start_logging()
    use_all_cores()
    files = fetch_model(*parse_model_name())
    data_args, model_args, training_args = parse_arguments(defaults={**SETTINGS, **evaluation_settings(files)})
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
