"""Fine-tune a Korean classifier.

accelerate launch scripts/train.py --recipe quickstart    # half a minute, no network
accelerate launch scripts/train.py                        # kcbert-base on NSMC with the book's settings
accelerate launch scripts/train.py --push_to_hub --hub_model_id USER/NAME
python scripts/train.py --help                            # every option
"""

from functools import partial
from pathlib import Path

from pipeline.launch import (
    be_interruptible,
    check_machines_agree,
    command,
    start_logging,
    use_all_cores,
)
from pipeline.offline import stop_if_missing


@command
def main() -> None:
    start_logging()
    be_interruptible()
    stop_if_missing()
    # What is not there has been said before these slow imports.
    from transformers import enable_full_determinism, set_seed

    from pipeline import xla
    from pipeline.arguments import parse_arguments, public_arguments
    from pipeline.batching import make_collator
    from pipeline.card import model_card
    from pipeline.checkpoint import check_settings, checkpoint_to_resume, decisive_settings, make_room
    from pipeline.features import log_examples, split_rows
    from pipeline.hub import check_size, destination_of
    from pipeline.metrics import report, scalars
    from pipeline.model import load_model
    from pipeline.prepare import prepare
    from pipeline.publish import publish_finished_run
    from pipeline.results import (
        closing_table,
        describe_training,
        environment,
        log_arguments,
        make_output_dir,
        write_json,
    )
    from pipeline.trainer import Trainer

    start_logging()  # again: transformers is there now, and with it its progress bars
    use_all_cores()
    data_args, model_args, training_args = parse_arguments()
    arguments = public_arguments(data_args, model_args, training_args)
    log_arguments(arguments)
    output_dir = Path(training_args.output_dir)
    resume_from = checkpoint_to_resume(output_dir, training_args.resume_from_checkpoint)
    destination = destination_of(training_args)
    with training_args.main_process_first(desc="looking at the output folder"):
        if training_args.should_save:
            make_room(
                output_dir,
                resuming=bool(resume_from),
                overwrite=training_args.overwrite_output_dir,
                auto=training_args.resume_from_checkpoint == "auto",
            )

    with xla.one_at_a_time:
        prepared = prepare(data_args, model_args)
    if training_args.should_save:
        make_output_dir(output_dir)
    same = {"features": prepared.folder.name, "checkpoint": resume_from and Path(resume_from).name}
    check_machines_agree({**arguments["data"], **arguments["model"], **arguments["training"], **same})
    log_examples(prepared.features["train"], prepared.tokenizer)
    labels = prepared.features["train"].features["label"].names
    first = training_args.total_batch_size if training_args.fast_dev_run else None
    splits = split_rows(prepared.features, data_args.validation_fraction, data_args.validation_seed, first)
    chosen_on = "validation" if "validation" in splits else "test"

    with xla.drawing():
        (enable_full_determinism if training_args.full_determinism else set_seed)(training_args.seed)
        model = load_model(prepared.model, labels, model_args.config_overrides)
    check_size(model, destination)
    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=splits.pop("train"),
        eval_dataset=splits[chosen_on],
        data_collator=make_collator(
            data_args.batching, model, prepared.tokenizer, data_args.max_seq_length, training_args
        ),
        processing_class=prepared.tokenizer,
        compute_metrics=partial(scalars, labels=labels),
        settings=decisive_settings(arguments, prepared.describe(), prepared.folder.name, model.config.to_dict()),
    )
    if resume_from:
        check_settings(resume_from, trainer.about, allow_changed=training_args.allow_changed_settings)
    outcome = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model(output_dir)
    trainer.save_state()

    precision = trainer.accelerator.mixed_precision
    results = describe_training(outcome, trainer.state, chosen_on, data_args, training_args, precision)
    for name, rows in splits.items():
        prediction = trainer.predict(rows, metric_key_prefix=name)
        results[name] = report(prediction.predictions, prediction.label_ids, labels)
    if trainer.is_world_process_zero():
        about = environment(training_args.world_size, precision)
        write_json(output_dir / "run.json", {**prepared.describe(), "arguments": arguments, "environment": about})
        write_json(output_dir / "results.json", results)  # says that the run is complete
        model_card(output_dir, str(output_dir)).save(output_dir / "README.md")
        print(closing_table(results, output_dir, prepared.folder))
    if destination:
        print(f"  {'pushed':<9} {publish_finished_run(output_dir, destination)}")


if __name__ == "__main__":
    main()
