"""Export a fine-tuned model to ONNX and compare it with PyTorch. Needs pip install -e '.[onnx]'.

python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-onnx
python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-int8 --quantize

Both models are compared on texts: those of --texts; of --corpus_name; or without these two, of the model's training,
if they are on this machine.

Then: python scripts/predict.py --model outputs/kcbert-base-nsmc-onnx "연기가 정말 좋았어요"
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.data.columns import choose_text_columns
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.modeling.prediction_settings import task_of_model
from pipeline.runtime.build_once import default_cache_dir
from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.logging import configure_logging
from pipeline.runtime.run_dir import RUN

SPLITS = ("test", "validation", "train")  # of the training's data, the first that there is

logger = logging.getLogger("pipeline.export_onnx")


@command
def main() -> None:
    configure_logging()
    options = parse()
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists. Choose another --output, or replace it with --overwrite.")
    files = fetch_model(options.model, options.revision, onnx=False)

    from pipeline.inference.onnx import NUM_TEXTS, export_onnx  # slow: a missing model is reported before

    texts, source = read_texts(options, files, NUM_TEXTS)
    logger.info("Exporting %s; comparing on %d texts of %s.", options.model, len(texts), source)
    about = export_onnx(files.folder, options.output, texts, quantize=options.quantize, overwrite=options.overwrite)
    size = sum(file.stat().st_size for file in options.output.glob("*.onnx*")) / 1e6
    print(f"largest difference of logits  {about['largest_difference']:.2g}")
    if "label_agreement" in about:
        print(f"same label                    {about['label_agreement']:.2%} of {about['num_texts']} texts")
    elif about["correlation"] is not None:
        print(f"correlation of the numbers    {about['correlation']:.6f} on {about['num_texts']} texts")
    print(f"size                          {size:.1f} MB")
    print(options.output)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="A folder that scripts/train.py wrote, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument("--output", required=True, type=Path, help="A folder for the exported model.")
    parser.add_argument("--quantize", action="store_true", help="Store the weights as int8: smaller, less exact.")
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="A file with texts to compare both models on: csv, tsv, txt, json, jsonl, parquet, xlsx.",
    )
    parser.add_argument(
        "--corpus_name",
        choices=corpus_names(),
        help="The corpus whose test texts both models are compared on. Default: the data of the model's training; if "
        "it is not on this machine, a corpus that is.",
    )
    parser.add_argument("--corpus_root_dir", help="The folder of the corpus. Default: as in training, or ~/Korpora.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the output folder if it exists.")
    options = parser.parse_args()
    if options.texts and options.corpus_name:
        parser.error("give --texts or --corpus_name, not both")
    return options


def read_texts(options: argparse.Namespace, files: ModelFiles, count: int) -> tuple[list[Any], str]:
    """At most `count` distinct texts, or pairs if the model reads pairs, and the name of what they are from.

    Raises:
        UserError: what the user named is not on this machine or not valid.
    """
    from pipeline.evaluation.results import evaluation_settings

    task = task_of_model(files)
    columns = task.text_columns if task else ("text",)
    if options.texts:
        return distinct(rows_of_file(options.texts, columns), count), str(options.texts)
    settings = evaluation_settings(files)
    root_dir = Path(options.corpus_root_dir or settings.get("corpus_root_dir") or "~/Korpora")
    cache_dir = Path(settings.get("cache_dir") or default_cache_dir()).expanduser()
    if options.corpus_name:
        return distinct(rows_of_corpus(options.corpus_name, root_dir, cache_dir, columns), count), options.corpus_name
    if found := texts_of_training(files, count):
        return found
    trained_on = settings.get("corpus_name")  # None: data of the user's own
    for name in dict.fromkeys([*filter(None, [trained_on]), *corpus_names()]):
        try:
            return distinct(rows_of_corpus(name, root_dir, cache_dir, columns), count), name
        except UserError as error:
            if name == trained_on:
                logger.info("Not comparing on the corpus of the model's training: %s", error)
    raise UserError("there are no texts on this machine to compare on. Name a file with --texts.")


def texts_of_training(files: ModelFiles, count: int) -> tuple[list[Any], str] | None:
    """Texts of the data that run.json names, from its tokenized corpus; None if there is none on this machine."""
    from datasets import load_from_disk

    try:
        run = json.loads((files.folder / RUN).read_text(encoding="utf-8"))
        columns, name = run["corpus"]["task"]["text_columns"], run["corpus"]["name"]
        splits = load_from_disk(run["features"]["folder"])
        rows = next(splits[split] for split in SPLITS if split in splits).select_columns(columns)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return distinct((tuple(row[column] for column in columns) for row in rows), count), name


def rows_of_corpus(corpus_name: str, root_dir: Path, cache_dir: Path, columns: Sequence[str]) -> Iterator[tuple]:
    """As many texts of each test example as the model reads; pairs of a corpus that has none are neighbours."""
    corpus = get_corpus(corpus_name)
    splits = corpus.read_blocks(corpus.fetch(root_dir, cache_dir, download=False))
    blocks = next(splits[split] for split in SPLITS if split in splits)
    own = corpus.task.text_columns
    rows = (row for block in blocks for row in zip(*(block[column] for column in own), strict=True))
    if len(own) >= len(columns):
        return (row[: len(columns)] for row in rows)
    return ((first, second) for (first,), (second,) in zip(rows, rows, strict=False))


def rows_of_file(path: Path, columns: Sequence[str]) -> Iterator[tuple]:
    """The texts of each row of a file.

    Raises:
        UserError: the file cannot be read, or its columns are not found or another number than the model reads.
    """
    from pipeline.data.tables import open_table

    table = open_table(path)
    found = tuple(columns)
    if not set(columns) <= set(table.columns):
        first = next((block.rows for block in table.blocks() if block.lines), None)
        found = choose_text_columns((), first.slice(0, 1).to_pylist()[0] if first else {}, str(path))
        if len(found) != len(columns):
            raise UserError(
                f"{path}: the column(s) {' and '.join(found)} were taken; the model reads {len(columns)}. Call the "
                f"column(s) {' and '.join(columns)}."
            )
    return (
        row
        for block in table.blocks(found)
        for row in zip(*(block.rows.column(name).to_pylist() for name in found), strict=True)
    )


def distinct(rows: Iterable[tuple], count: int) -> list[Any]:
    """At most `count` distinct rows from the start, without empty texts; a row of one text as the text.

    Raises:
        UserError: there are none.
    """
    filled = (row for row in rows if all(isinstance(text, str) and text for text in row))
    texts = list(dict.fromkeys(islice(filled, 4 * count)))[:count]
    if not texts:
        raise UserError("there are no texts to compare on.")
    return [row[0] if len(row) == 1 else row for row in texts]


if __name__ == "__main__":
    main()
