"""Export a fine-tuned model to ONNX and check it against PyTorch. Needs pip install -e '.[onnx]'.

python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-onnx
python scripts/export_onnx.py --model outputs/kcbert-base-nsmc --output outputs/kcbert-base-nsmc-int8 --quantize

Then: python scripts/predict.py --model outputs/kcbert-base-nsmc-onnx "연기가 정말 좋았어요"
"""

import argparse
import tempfile
from pathlib import Path

from pipeline.errors import UserError
from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="What scripts/train.py left, or a model on the Hub.")
    parser.add_argument("--output", required=True, type=Path, help="A folder for the exported model.")
    parser.add_argument("--quantize", action="store_true", help="Keep the weights as int8: smaller, less exact.")
    parser.add_argument("--corpus_root_dir", default="~/Korpora", help="Where NSMC is, whose reviews are compared.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the output folder if it is there.")
    return parser.parse_args()


def sentences(root_dir: str, count: int) -> tuple[list[str], str]:
    """Distinct reviews to compare on, and where they are from: NSMC if it is here, else the quickstart's corpus."""
    from pipeline.corpus import fetch_corpus, read_corpus
    from pipeline.quickstart import write_quickstart

    with tempfile.TemporaryDirectory() as temporary:
        try:
            files, source = fetch_corpus(root_dir, official_only=False, download=False), root_dir
        except UserError:
            files, source = fetch_corpus(write_quickstart(Path(temporary))[0], official_only=False), "the quickstart"
        texts = read_corpus(files)["test"]["text"][: 4 * count]
    return [text for text in dict.fromkeys(texts) if text][:count], source


@command
def main() -> None:
    logger = start_logging()
    options = parse()
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} is there already. Choose another --output, or say --overwrite.")
    files = fetch_model(options.model)
    from pipeline.export import SENTENCES, export_onnx  # slow to import: a model that is not there is said before

    start_logging()  # again: transformers is there now, and with it its progress bars

    texts, source = sentences(options.corpus_root_dir, SENTENCES)
    logger.info("Exporting %s and comparing on %d reviews of %s.", options.model, len(texts), source)
    about = export_onnx(files.folder, options.output, texts, quantize=options.quantize, overwrite=options.overwrite)
    size = sum(file.stat().st_size for file in options.output.glob("*.onnx*")) / 1e6
    print(f"largest difference of logits  {about['largest_difference']:.2g}")
    print(f"same label                    {about['label_agreement']:.2%} of {about['sentences']} reviews")
    print(f"size                          {size:.1f} MB")
    print(options.output)


if __name__ == "__main__":
    main()
