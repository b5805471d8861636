"""Search hyperparameters on the validation examples. The same command goes on with a search, also in other terminals.

python scripts/search.py --recipe quickstart --space quickstart --num_trials 6        # no network; two minutes
python scripts/search.py --train_file reviews.csv --num_trials 30 --timeout 36000
python scripts/search.py --space my_space.yaml --learning_rate 3e-5                   # that one is not searched
accelerate launch scripts/train.py --recipe outputs/kcbert-base-nsmc-search/best.yaml  # what it ends with

Needs pip install -e '.[search]'. It takes the options of scripts/train.py too.
"""

from pathlib import Path

from pipeline.runtime.cli import command, install_signal_handlers
from pipeline.runtime.errors import UserError, as_user_error
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    install_signal_handlers()

    # Parse: mistakes in options and in the space are reported before anything is loaded.
    from pipeline.config.parser import given_options, parse_arguments, public_arguments
    from pipeline.prepare import fetch_sources
    from pipeline.search.options import SHOWN, check_training_options, help_text, split_options
    from pipeline.search.space import read_space

    options, flags = split_options()
    parse_arguments(flags, about=f"{__doc__}\n{help_text()}", shown=SHOWN)
    space = read_space(options.space, flags)
    words = space.words({})
    data_args, model_args, training_args = parse_arguments(words)
    check_training_options(training_args)
    if "output_dir" not in given_options(words):
        training_args.output_dir += "-search"
    output_dir = Path(training_args.output_dir)
    sources = fetch_sources(data_args, model_args)

    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(f"the search needs Optuna ({error}): pip install -e '.[search]'") from error

    from pipeline.evaluation.report import log_arguments
    from pipeline.evaluation.results import environment
    from pipeline.runtime.devices import use_all_cores
    from pipeline.runtime.logging import log_to_file, show
    from pipeline.runtime.run_dir import create_output_dir
    from pipeline.search.loop import run_trials
    from pipeline.search.report import SEARCH_LOG, closing_table, opening_screen, write_search
    from pipeline.search.study import STORAGE_ERRORS, SharedStudy, study_settings
    from pipeline.search.trial import load_data, make_trainer

    # Open the study.
    use_all_cores()
    create_output_dir(output_dir)
    log_to_file(output_dir / SEARCH_LOG, append=True)
    arguments = public_arguments(data_args, model_args, training_args)
    log_arguments(arguments)
    data = load_data(data_args, model_args, sources, training_args)
    training_args = make_trainer(words, data).args  # what all trials have in common works, or is reported now
    study = SharedStudy(
        options.storage or str(output_dir / "study.db"),
        options.study_name,
        output_dir / "locks",
        metric=training_args.metric_for_best_model,
        greater_is_better=training_args.greater_is_better,
        space=space,
        seed=training_args.seed,
        settings=study_settings(space, arguments, data.prepared.describe()),
    )
    show(opening_screen(study, data.splits, options.num_trials))

    # Search.
    machine = environment(1, training_args.mixed_precision)
    machine["command"] = machine["command"].replace(study.url, study.shown_url)  # without the password
    with as_user_error(f"--storage {study.shown_url}", *STORAGE_ERRORS):
        run_trials(study, options.num_trials, data, output_dir, machine, options.timeout)

    # Report.
    write_search(output_dir, study, machine)
    print(closing_table(study, output_dir))


if __name__ == "__main__":
    main()
