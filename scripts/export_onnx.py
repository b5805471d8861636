"""Export a fine-tuned model to ONNX and compare it with PyTorch. Needs pip install -e '.[onnx]'.

python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-onnx
python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-int8 --quantize

Then: python scripts/predict.py --model outputs/kcbert-base-nsmc-onnx "연기가 정말 좋았어요"
"""

import argparse
import logging
from itertools import islice
from pathlib import Path

from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.runtime.build_once import default_cache_dir
from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.logging import configure_logging

logger = logging.getLogger("pipeline.export_onnx")


@command
def main() -> None:
    configure_logging()
    options = parse()
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists. Choose another --output, or replace it with --overwrite.")
    files = fetch_model(options.model, options.revision)

    from pipeline.inference.onnx import NUM_TEXTS, export_onnx  # slow: a missing model is reported before

    texts, corpus_name = read_texts(options, files, NUM_TEXTS)
    logger.info("Exporting %s; comparing on %d test texts of %s.", options.model, len(texts), corpus_name)
    about = export_onnx(files.folder, options.output, texts, quantize=options.quantize, overwrite=options.overwrite)
    size = sum(file.stat().st_size for file in options.output.glob("*.onnx*")) / 1e6
    print(f"largest difference of logits  {about['largest_difference']:.2g}")
    print(f"same label                    {about['label_agreement']:.2%} of {about['num_texts']} texts")
    print(f"size                          {size:.1f} MB")
    print(options.output)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="A folder that scripts/train.py wrote, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument("--output", required=True, type=Path, help="A folder for the exported model.")
    parser.add_argument("--quantize", action="store_true", help="Store the weights as int8: smaller, less exact.")
    parser.add_argument(
        "--corpus_name",
        choices=corpus_names(),
        help="The corpus whose test texts both models are compared on. Default: that of the model's training; if it is "
        "not on this machine, another one that is.",
    )
    parser.add_argument("--corpus_root_dir", help="The folder of the corpus. Default: as in training, or ~/Korpora.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the output folder if it exists.")
    return parser.parse_args()


def read_texts(options: argparse.Namespace, files: ModelFiles, count: int) -> tuple[list[str], str]:
    """At most `count` distinct texts to compare on, and the name of their corpus.

    Raises:
        UserError: the corpus that the user named is not on this machine or not valid.
    """
    from pipeline.evaluation.results import evaluation_settings

    settings = evaluation_settings(files)
    root_dir = Path(options.corpus_root_dir or settings.get("corpus_root_dir") or "~/Korpora")
    cache_dir = Path(settings.get("cache_dir") or default_cache_dir()).expanduser()
    if options.corpus_name:
        return read_test_texts(options.corpus_name, root_dir, cache_dir, count), options.corpus_name
    trained_on = settings.get("corpus_name", "")
    for name in dict.fromkeys([trained_on, *corpus_names()]):
        try:
            return read_test_texts(name, root_dir, cache_dir, count), name
        except UserError as error:
            if name == trained_on:
                logger.info("Not comparing on the corpus of the model's training: %s", error)
    raise UserError("there is no corpus on this machine to compare on. Name one with --corpus_name.")


def read_test_texts(corpus_name: str, root_dir: Path, cache_dir: Path, count: int) -> list[str]:
    """At most `count` distinct texts from the start of a corpus' test split."""
    corpus = get_corpus(corpus_name)
    blocks = corpus.read_blocks(corpus.fetch(root_dir, cache_dir, download=False))["test"]
    texts = (text for block in blocks for text in block[corpus.task.text_columns[0]] if text)
    return list(dict.fromkeys(islice(texts, 4 * count)))[:count]


if __name__ == "__main__":
    main()
