"""Fine-tune a Korean classifier.

accelerate launch scripts/train.py --recipe quickstart    # no network
accelerate launch scripts/train.py --train_file reviews.csv
accelerate launch scripts/train.py                        # kcbert-base on NSMC with the book's settings
accelerate launch scripts/train.py --push_to_hub --hub_model_id USER/NAME
python scripts/train.py --help                            # --help_all: every option of transformers too
"""

from pathlib import Path

from pipeline.runtime.cli import command, install_signal_handlers
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    install_signal_handlers()

    # Parse, and find the files of corpus and model: mistakes are reported before the slow imports.
    from pipeline.config.parser import (
        changed_options,
        check_metric,
        given_options,
        parse_arguments,
        public_arguments,
    )
    from pipeline.prepare import fetch_sources, prepare
    from pipeline.runtime import xla

    data_args, model_args, training_args = parse_arguments(about=__doc__)
    with xla.thread_lock:
        sources = fetch_sources(data_args, model_args)

    from transformers import enable_full_determinism, set_seed

    from pipeline.data.duplicates import occurs_in
    from pipeline.data.features import log_examples
    from pipeline.data.splits import labels_of, model_inputs
    from pipeline.evaluation.report import (
        closing_table,
        describe_examples,
        describe_labels,
        describe_model,
        log_arguments,
        opening_screen,
    )
    from pipeline.evaluation.results import describe_training, environment, write_predictions
    from pipeline.evaluation.scoring import score_splits
    from pipeline.modeling.batching import make_collator
    from pipeline.modeling.loading import check_config_overrides, load_model
    from pipeline.modeling.prediction_settings import keep_prediction_settings
    from pipeline.publishing.hub import check_size, create_repository, requested_destination
    from pipeline.publishing.model_card import model_card, save_card
    from pipeline.publishing.publish import publish_finished_run
    from pipeline.report.report import write_report
    from pipeline.runtime.devices import use_all_cores
    from pipeline.runtime.logging import log_to_file, show
    from pipeline.runtime.run_dir import LOG, PREDICTIONS, RESULTS, RUN, write_json
    from pipeline.tasks.weights import with_class_weights
    from pipeline.training.progress import show_progress
    from pipeline.training.resume_settings import check_resume_settings, result_settings
    from pipeline.training.run import check_nodes, open_run
    from pipeline.training.trainer import Trainer

    # Open the run.
    use_all_cores()
    check_config_overrides(sources.model_files, model_args.config_overrides)
    output_dir = Path(training_args.output_dir)
    arguments = public_arguments(data_args, model_args, training_args)
    destination = requested_destination(training_args)
    resume_from = open_run(training_args)
    log_to_file(output_dir / LOG, append=bool(resume_from))
    log_arguments(arguments)
    create_repository(destination)
    training_args.push_to_hub = False  # Trainer's own push would overwrite our card and upload pickles

    # Data.
    with xla.thread_lock:
        prepared = prepare(data_args, sources)
    check_nodes(arguments, prepared.features.folder, resume_from)
    check_metric(training_args, prepared.task, "greater_is_better" in given_options())
    rows = prepared.select_splits(data_args, training_args.global_batch_size if training_args.fast_dev_run else None)
    splits = {name: model_inputs(split) for name, split in rows.items()}
    if "logging_steps" not in given_options():
        training_args.logging_steps = training_args.default_logging_steps(len(splits["train"]))
    # What only the data decides.
    arguments["training"] |= {name: getattr(training_args, name) for name in ("logging_steps", "greater_is_better")}
    task = with_class_weights(prepared.task, data_args.class_weights, labels_of(splits["train"]))
    log_examples(prepared.features.splits["train"], prepared.tokenizer, task)
    labels = {name: describe_labels(task, labels_of(split)) for name, split in splits.items()}
    chosen_on = "validation" if "validation" in splits else "test"

    # Model.
    with xla.initialize_in_turn():
        (enable_full_determinism if training_args.full_determinism else set_seed)(training_args.seed)
        model = load_model(sources.model_files, task, model_args.config_overrides)
    keep_prediction_settings(model.config, task, data_args.clean, data_args.long_text)
    check_size(model, destination)
    batches = (data_args.batching, model, prepared.tokenizer, data_args.max_length, training_args, data_args.long_text)
    collator = make_collator(*batches)
    show(
        opening_screen(
            data_args.name,
            task,
            labels,
            prepared.features.statistics,
            report=prepared.features.report,
            max_length=data_args.max_length,
            long_text=data_args.long_text,
            model=describe_model(
                model_args.model_name_or_path, model, collator, pretrained=sources.model_files.weights
            ),
            changed=changed_options(),
            examples=describe_examples(prepared.features.splits["train"], prepared.tokenizer, task),
        )
    )

    # Train.
    trainer = Trainer(
        model=model,
        task=task,
        args=training_args,
        train_dataset=splits["train"],
        eval_dataset=splits[chosen_on],
        data_collator=collator,
        processing_class=prepared.tokenizer,
        settings=result_settings(arguments, prepared.describe(), prepared.features.folder.name, model.config.to_dict()),
    )
    if resume_from:
        check_resume_settings(resume_from, trainer.origin, allow_changed=training_args.allow_changed_settings)
    show_progress(trainer, task, chosen_on)
    outcome = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model(str(output_dir))
    trainer.save_state()

    # Evaluate and report.
    seen = occurs_in(rows["test"], [rows[name] for name in rows if name != "test"], task.text_columns)
    task, scores, logits = score_splits(trainer, task, splits, seen=seen, tune=True)
    keep_prediction_settings(model.config, task, data_args.clean, data_args.long_text)
    if trainer.is_world_process_zero():
        precision = trainer.accelerator.mixed_precision
        model.config.save_pretrained(output_dir)  # temperature and thresholds are known only now
        training = describe_training(outcome, trainer.state, chosen_on, data_args, training_args, precision)
        origin = {**prepared.describe(), "splits": labels, "arguments": arguments}
        machine = environment(training_args.world_size, precision)
        write_predictions(output_dir / PREDICTIONS, logits, rows, task, seen)
        write_json(output_dir / RUN, {**origin, "environment": machine})
        write_json(output_dir / RESULTS, {**training, **scores})  # last: it marks the run as finished
        save_card(output_dir, model_card(output_dir))
        if not training_args.no_report:
            write_report(output_dir)
        diagnosis = task.diagnose(logits["test"], labels_of(splits["test"]))
        print(closing_table({**training, **scores}, task, output_dir, prepared.features.folder, diagnosis))

    # Publish.
    if destination:
        print(f"  {'pushed':<9} {publish_finished_run(output_dir, destination)}")


if __name__ == "__main__":
    main()
