"""Label texts with a fine-tuned model, or with its ONNX export.

python scripts/predict.py --model outputs/kcbert-base-nsmc "연기가 정말 좋았어요" "돈이 아까웠다"
python scripts/predict.py --model USER/NAME --input reviews.csv --text_column review --output labels.csv
cat reviews.txt | python scripts/predict.py --model outputs/kcbert-base-nsmc

Files are txt (one text a line), csv, tsv, jsonl or parquet. On a terminal without texts or --input it asks for
sentences, one a line.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.inference.readers import Row, decode_lines, format_of, read_rows, row_from_text
from pipeline.inference.writers import open_writer, text_writer
from pipeline.modeling.files import fetch_model
from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier

logger = logging.getLogger("pipeline.predict")


@command
def main() -> None:
    configure_logging()
    options = parse()
    # Mistakes in file names and a missing model are reported before the slow imports.
    if options.output:
        format_of(options.output)
    rows = open_rows(options)
    fetch_model(options.model, options.revision)
    import torch

    from pipeline.inference.classifier import load_classifier

    dtype = torch.bfloat16 if options.bf16 else torch.float32
    classifier = load_classifier(options.model, options.revision, dtype=dtype)
    if rows is None:
        answer_questions(classifier)
        return
    labels = Labels(classifier, rows)
    if options.output:
        write_file(options.output, labels, classifier.task.class_names)
    elif not write_stdout(labels):
        return
    if labels.num_skipped:
        logger.warning("%s row(s) were left out (reasons above).", f"{labels.num_skipped:,}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", help="Texts to label.")
    parser.add_argument("--model", required=True, help="A folder that scripts/train.py wrote, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument("--input", type=Path, help="A file to read instead: txt, csv, tsv, jsonl or parquet.")
    parser.add_argument("--text_column", default="text", help="The column of the texts. Default: text.")
    parser.add_argument("--output", type=Path, help="A file to write; its suffix decides the format.")
    parser.add_argument("--bf16", action="store_true", help="Faster where the processor has bfloat16; less exact.")
    options = parser.parse_args()
    if options.texts and options.input:
        parser.error("give texts or --input, not both")
    return options


def open_rows(options: argparse.Namespace) -> Iterator[Row] | None:
    """The texts to label; None if a person at a terminal is asked for them.

    Of a file the first row is read at once, so that a mistake in it is reported early.
    """
    if options.input:
        rows = read_rows(options.input, options.text_column)
        return chain([row for row in [next(rows, None)] if row], rows)
    if options.texts:
        return (row_from_text(number, text) for number, text in enumerate(options.texts, start=1))
    return None if sys.stdin.isatty() else decode_lines(sys.stdin.buffer)


class Labels:
    """Each readable row with its prediction, in order. Rows that cannot be read are logged and counted."""

    def __init__(self, classifier: "Classifier", rows: Iterable[Row]) -> None:
        self.num_skipped = 0
        self._classifier, self._rows = classifier, rows
        self._pending: deque[tuple[int, str]] = deque()  # rows that the classifier has taken and not yet labelled

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for prediction in self._classifier.predict(self._texts()):
            number, text = self._pending.popleft()
            yield {
                "row": number,
                "text": text,
                "label": prediction.label,
                "probability": prediction.probability,
                **prediction.probabilities,
                "truncated": prediction.truncated,
            }

    def _texts(self) -> Iterator[str]:
        for row in self._rows:
            if row.text is None:
                logger.warning("row %d %s; left out", row.number, row.problem)
                self.num_skipped += 1
            else:
                self._pending.append((row.number, row.text))
                yield row.text


def write_file(path: Path, labels: Labels, class_names: Iterable[str]) -> None:
    """Write one row for each text: its number in the input, label, probabilities, and whether it was truncated."""
    names = ["row", "text", "label", "probability", *class_names, "truncated"]
    with open_writer(path, names) as write:
        count = sum(1 for _ in map(write, tqdm(labels, unit=" texts", disable=None)))  # None: no bar off a terminal
    logger.info("%s texts labelled: %s", f"{count:,}", path)


def write_stdout(labels: Labels) -> bool:
    """Write one line for each text. Returns False if the reader, such as `head`, has closed the pipe."""
    write = text_writer(sys.stdout, ".txt", [])
    try:
        for row in labels:
            write(row)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again as it exits
        return False
    return True


def answer_questions(classifier: "Classifier") -> None:
    """Label sentences as they are typed, until an empty line or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives `input` cursor keys and history)
    print("문장을 입력하세요. 빈 줄을 입력하면 끝납니다.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return
        except UnicodeDecodeError:
            print("읽을 수 없는 글자가 있습니다(UTF-8이 아님). 다시 입력해 주세요.")
            continue
        if not text:
            return
        (prediction,) = classifier.predict([text])
        note = f"  (앞의 {classifier.max_length}토큰만 읽었습니다)" if prediction.truncated else ""
        print(f"{prediction.label}  {prediction.probability:.4f}{note}")


if __name__ == "__main__":
    main()
