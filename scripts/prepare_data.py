"""Tokenize the corpus into an Arrow folder and print the folder's path as the last line of stdout.

python scripts/prepare_data.py                        # NSMC for kcbert-base
python scripts/prepare_data.py --recipe quickstart    # with the options of scripts/train.py

Then, in any other experiment: datasets.load_from_disk(path)
"""

from pipeline.launch import command, start_logging
from pipeline.offline import stop_if_missing


@command
def main() -> None:
    start_logging()
    stop_if_missing(defaults={"from_scratch": True})  # before the slow imports
    from pipeline.arguments import parse_arguments
    from pipeline.features import log_examples
    from pipeline.prepare import prepare

    data_args, model_args, _ = parse_arguments()
    model_args.from_scratch = True  # weights are not needed to tokenize
    prepared = prepare(data_args, model_args)
    log_examples(prepared.features["train"], prepared.tokenizer)
    print(prepared.folder)


if __name__ == "__main__":
    main()
