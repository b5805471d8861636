"""Tokenize the corpus into an Arrow folder and print the folder's path as the last line of stdout.

python scripts/prepare_data.py                        # NSMC for kcbert-base
python scripts/prepare_data.py --recipe quickstart    # with the options of scripts/train.py

Then, in any other experiment: datasets.load_from_disk(path)
"""

from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    from pipeline.config.help_page import PREPARATION
    from pipeline.config.parser import parse_arguments
    from pipeline.prepare import fetch_sources, prepare

    data_args, model_args, _ = parse_arguments(about=__doc__, shown=PREPARATION)
    model_args.from_scratch = True  # weights are not needed to tokenize
    sources = fetch_sources(data_args, model_args)

    from pipeline.data.features import log_examples  # slow: missing files are reported before

    prepared = prepare(data_args, sources)
    log_examples(prepared.features.splits["train"], prepared.tokenizer, prepared.task)
    print(prepared.features.folder)


if __name__ == "__main__":
    main()
