"""Fine-tune a Korean classifier.

accelerate launch scripts/train.py --recipe quickstart    # half a minute, no network
accelerate launch scripts/train.py                        # kcbert-base on NSMC with the book's settings
accelerate launch scripts/train.py --push_to_hub --hub_model_id USER/NAME
python scripts/train.py --help                            # every option
"""

from pathlib import Path

from pipeline.runtime.cli import command, install_signal_handlers
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    install_signal_handlers()

    # Parse, and find the files of corpus and model: mistakes are reported before the slow imports.
    from pipeline.config.parser import parse_arguments, public_arguments
    from pipeline.prepare import fetch_sources, prepare
    from pipeline.runtime import xla

    data_args, model_args, training_args = parse_arguments()
    with xla.thread_lock:
        sources = fetch_sources(data_args, model_args)

    from transformers import enable_full_determinism, set_seed

    from pipeline.data.splits import select_splits
    from pipeline.data.tokenization import log_examples
    from pipeline.evaluation.report import closing_table, log_arguments
    from pipeline.evaluation.results import describe_training, environment
    from pipeline.evaluation.scoring import score_splits
    from pipeline.modeling.batching import make_collator
    from pipeline.modeling.loading import load_model
    from pipeline.publishing.hub import check_size, create_repository, requested_destination
    from pipeline.publishing.model_card import model_card
    from pipeline.publishing.publish import publish_finished_run
    from pipeline.runtime.devices import use_all_cores
    from pipeline.runtime.run_dir import CARD, RESULTS, RUN, write_json
    from pipeline.training.resume_settings import check_resume_settings, result_settings
    from pipeline.training.run import check_nodes, open_run
    from pipeline.training.trainer import Trainer

    # Open the run.
    use_all_cores()
    arguments = public_arguments(data_args, model_args, training_args)
    log_arguments(arguments)
    destination = requested_destination(training_args)
    resume_from = open_run(training_args)
    create_repository(destination)
    training_args.push_to_hub = False  # Trainer's own push would overwrite our card and upload pickles

    # Data.
    task = sources.corpus.task
    with xla.thread_lock:
        prepared = prepare(data_args, sources)
    check_nodes(arguments, prepared.folder, resume_from)
    log_examples(prepared.features["train"], prepared.tokenizer, task)
    limit = training_args.global_batch_size if training_args.fast_dev_run else None
    seed, fraction = data_args.validation_seed, data_args.validation_fraction
    splits = select_splits(prepared.features, task, fraction, seed, limit=limit)
    chosen_on = "validation" if "validation" in splits else "test"

    # Model.
    with xla.initialize_in_turn():
        (enable_full_determinism if training_args.full_determinism else set_seed)(training_args.seed)
        model = load_model(sources.model_files, task, model_args.config_overrides)
    check_size(model, destination)

    # Train.
    trainer = Trainer(
        model=model,
        task=task,
        args=training_args,
        train_dataset=splits["train"],
        eval_dataset=splits[chosen_on],
        data_collator=make_collator(data_args.batching, model, prepared.tokenizer, data_args.max_length, training_args),
        processing_class=prepared.tokenizer,
        settings=result_settings(arguments, prepared.describe(), prepared.folder.name, model.config.to_dict()),
    )
    if resume_from:
        check_resume_settings(resume_from, trainer.origin, allow_changed=training_args.allow_changed_settings)
    outcome = trainer.train(resume_from_checkpoint=resume_from)
    trainer.save_model(training_args.output_dir)
    trainer.save_state()

    # Evaluate and report.
    scores, _ = score_splits(trainer, task, splits)
    if trainer.is_world_process_zero():
        output_dir, precision = Path(training_args.output_dir), trainer.accelerator.mixed_precision
        training = describe_training(outcome, trainer.state, chosen_on, data_args, training_args, precision)
        origin = {**prepared.describe(), "arguments": arguments}
        machine = environment(training_args.world_size, precision)
        write_json(output_dir / RUN, {**origin, "environment": machine})
        write_json(output_dir / RESULTS, {**training, **scores})  # last: it marks the run as finished
        model_card(output_dir).save(output_dir / CARD)
        print(closing_table({**training, **scores}, task, output_dir, prepared.folder))

    # Publish.
    if destination:
        print(f"  {'pushed':<9} {publish_finished_run(Path(training_args.output_dir), destination)}")


if __name__ == "__main__":
    main()
