"""Look at the data before training: duplicates, leaks, contradicting labels, odd texts, lengths, label errors.

python scripts/audit.py                                          # NSMC, for kcbert-base
python scripts/audit.py --train_file a.csv --test_file b.csv     # with the options of scripts/train.py
python scripts/audit.py --model outputs/kcbert-base-nsmc         # labels judged by a run's predictions too

Writes audit.html, to open in a browser, and audit.json, with the numbers of the rows, into --output_dir; by default
that is outputs/audit-<data>. Nothing is changed. Needs pip install -e '.[audit]'.

  --no_label_errors               Judge no labels; that takes half of the time.
  --overwrite                     Replace an audit of other data in --output_dir.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.logging import configure_logging

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pipeline.config.arguments import DataArguments, ModelArguments


@command
def main() -> None:
    configure_logging()
    from pipeline.audit.extra import require_libraries
    from pipeline.config.help_page import PREPARATION
    from pipeline.config.parser import given_options, parse_arguments
    from pipeline.prepare import cache_dir_of, create_corpus

    own, argv = parse_own(sys.argv[1:])
    splitting = ("validation_fraction", "validation_seed", "test_fraction")
    shown = {**PREPARATION, "data": (*PREPARATION["data"], *splitting), "output": ("output_dir",)}
    data, model, training = parse_arguments(argv, about=__doc__, shown=shown)
    given = given_options(argv)
    output_dir = Path(training.output_dir if "output_dir" in given else f"outputs/audit-{data.name}")

    from pipeline.audit.files import prepare_output_dir, write_audit

    if data.files and not data.train_file:
        raise UserError(f"--{min(data.files)}_file without --train_file: the other splits are compared with train.")
    require_libraries(label_errors=not own.no_label_errors)
    prepare_output_dir(output_dir, data.name, overwrite=own.overwrite)
    corpus = create_corpus(data)
    files = corpus.fetch(Path(data.corpus_root_dir), cache_dir_of(data), force_download=data.force_download)
    data.force_download = False
    tokenizer, run = load_tokenizer(data, model, must_exist="model_name_or_path" in given)

    # Slow imports: mistakes and missing files are reported by now.
    from pipeline.audit.audit import audit
    from pipeline.audit.examples import collect_examples
    from pipeline.audit.summary import summary

    corpus = corpus.resolve(files)
    examples = collect_examples(corpus.read(files), corpus.task)
    found = audit(examples, data, corpus.describe(files), tokenizer, label_errors=not own.no_label_errors, run=run)
    write_audit(output_dir, found)
    print(summary(found, output_dir))


def parse_own(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of this script alone, and the words that are left."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--no_label_errors", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    return parser.parse_known_args(argv)


def load_tokenizer(
    data: "DataArguments", model: "ModelArguments", *, must_exist: bool
) -> tuple["PreTrainedTokenizerBase | str", Path | None]:
    """The tokenizer, or why there is none; and the model's folder, if it is a run with predictions.

    Args:
        must_exist: the user has named the model, so that it is an error if it cannot be read.

    Raises:
        UserError: it cannot be read.
    """
    from pipeline.modeling.prediction_settings import task_of_model
    from pipeline.prepare import fetch_sources
    from pipeline.runtime.run_dir import PREDICTIONS, RESULTS

    model.from_scratch = True  # weights are not needed to tokenize
    try:
        files = fetch_sources(data, model).model_files
        from pipeline.modeling.loading import load_tokenizer  # slow: a missing model is reported before

        is_run = task_of_model(files) and any((files.folder / name).exists() for name in (RESULTS, PREDICTIONS))
        return load_tokenizer(files, data.max_length), files.folder if is_run else None
    except UserError as error:
        if must_exist:
            raise
        return str(error).splitlines()[0], None


if __name__ == "__main__":
    main()
