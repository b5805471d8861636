"""Fine-tune a Korean classifier.

accelerate launch scripts/train.py --recipe quickstart    # two minutes, no network
accelerate launch scripts/train.py                        # kcbert-base on NSMC with the book's settings
python scripts/train.py --help                            # every option
"""

from functools import partial
from pathlib import Path

from transformers import enable_full_determinism, set_seed

from pipeline.arguments import parse_arguments, public_arguments
from pipeline.batching import make_collator
from pipeline.checkpoint import checkpoint_to_resume, make_room
from pipeline.features import hold_out, log_examples
from pipeline.launch import command, start_logging, use_all_cores
from pipeline.metrics import report, scalars
from pipeline.model import load_model
from pipeline.prepare import prepare
from pipeline.results import closing_table, environment, log_arguments, write_json
from pipeline.trainer import Trainer


@command
def main() -> None:
    start_logging()
    use_all_cores()
    data_args, model_args, training_args = parse_arguments()
    arguments = public_arguments(data_args, model_args, training_args)
    log_arguments(arguments)
    output_dir = Path(training_args.output_dir)
    resume_from = checkpoint_to_resume(output_dir, training_args.resume_from_checkpoint)
    with training_args.main_process_first(desc="looking at the output folder"):
        if training_args.should_save:
            make_room(output_dir, resuming=bool(resume_from), overwrite=training_args.overwrite_output_dir)

    prepared = prepare(data_args, model_args)
    log_examples(prepared.features["train"], prepared.tokenizer)
    labels = prepared.features["train"].features["label"].names
    train, validation = hold_out(prepared.features["train"], data_args.validation_fraction, data_args.validation_seed)
    test = prepared.features["test"]
    chosen_on = "test" if validation is None else "validation"
    splits = {"validation": validation, "test": test}
    splits = {name: rows.select_columns(["input_ids", "label"]) for name, rows in splits.items() if rows is not None}
    if training_args.fast_dev_run:
        train = train.select(range(min(len(train), training_args.total_batch_size)))
        splits = {name: rows.select(range(min(len(rows), 32))) for name, rows in splits.items()}

    (enable_full_determinism if training_args.full_determinism else set_seed)(training_args.seed)
    trainer = Trainer(
        model=load_model(prepared.model, labels, model_args.config_overrides),
        args=training_args,
        train_dataset=train.select_columns(["input_ids", "label"]),
        eval_dataset=splits[chosen_on],
        data_collator=make_collator(
            data_args.batching, prepared.tokenizer, data_args.max_seq_length, training_args.device
        ),
        processing_class=prepared.tokenizer,
        compute_metrics=partial(scalars, labels=labels),
    )
    outcome = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model(output_dir)
    trainer.save_state()

    results = {
        "checkpoint_chosen_on": chosen_on,
        "training": {**outcome.metrics, "best_checkpoint": trainer.state.best_model_checkpoint},
    }
    for name, rows in splits.items():
        prediction = trainer.predict(rows, metric_key_prefix=name)
        results[name] = report(prediction.predictions, prediction.label_ids, labels)
    if trainer.is_world_process_zero():
        write_json(
            output_dir / "run.json", {**prepared.describe(), "arguments": arguments, "environment": environment()}
        )
        write_json(output_dir / "results.json", results)  # last: it says that the run is complete
        print(closing_table(results, output_dir, prepared.folder))


if __name__ == "__main__":
    main()
