"""Label texts with a fine-tuned model, or with what scripts/export_onnx.py made of it.

python scripts/predict.py --model outputs/kcbert-base-nsmc "연기가 정말 좋았어요" "돈이 아까웠다"
python scripts/predict.py --model USER/NAME --input reviews.csv --text_column review --output labels.csv
cat reviews.txt | python scripts/predict.py --model outputs/kcbert-base-nsmc

Files are txt (one text a line), csv, tsv, jsonl or parquet. With nothing to read it asks for sentences, one a line.
"""

import argparse
import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging
from pipeline.textio import Row, format_of, open_writer, read_lines, read_rows, row_of, text_writer

if TYPE_CHECKING:
    from pipeline.inference import Classifier


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", help="Texts to label.")
    parser.add_argument("--model", required=True, help="A folder of scripts/train.py, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument("--input", type=Path, help="A file to read instead: txt, csv, tsv, jsonl or parquet.")
    parser.add_argument("--text_column", default="text", help="The column that has the texts. Default: text.")
    parser.add_argument("--output", type=Path, help="A file to write to, in the format that its name says.")
    parser.add_argument("--bf16", action="store_true", help="Faster where the processor has bfloat16; less exact.")
    options = parser.parse_args()
    if options.texts and options.input:
        parser.error("give texts or --input, not both")
    return options


@command
def main() -> None:
    logger = start_logging()
    options = parse()
    # What is wrong with files and model is said before the slow imports.
    if options.output:
        format_of(options.output)
    rows = rows_of(options)
    fetch_model(options.model, options.revision)
    import torch

    from pipeline.inference import load_classifier

    start_logging()  # again: transformers is there now, and with it its progress bars
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    classifier = load_classifier(options.model, options.revision, dtype=dtype)
    if rows is None:
        ask(classifier)
        return
    skipped: list[Row] = []
    answers = tqdm(label(classifier, rows, skipped), unit=" texts", disable=None if options.output else True)
    if options.output:
        names = ["row", "text", "label", "probability", *classifier.labels, "truncated"]
        with open_writer(options.output, names) as write:
            count = sum(1 for _ in map(write, answers))
        logger.info("%s texts labelled: %s", f"{count:,}", options.output)
    else:
        write = text_writer(sys.stdout, ".txt", [])
        try:
            for answer in answers:
                write(answer)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read, as `head` does, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    if skipped:
        logger.warning("%s row(s) were left out, as said above.", f"{len(skipped):,}")


def rows_of(options: argparse.Namespace) -> Iterator[Row] | None:
    """The texts to label, of which the first is read already; None where they are to be asked for."""
    if options.input:
        rows = read_rows(options.input, options.text_column)
        return chain([row for row in [next(rows, None)] if row], rows)
    if options.texts:
        return (row_of(number, text) for number, text in enumerate(options.texts, start=1))
    if sys.stdin.isatty():
        return None
    return read_lines(line.rstrip(b"\r\n") for line in sys.stdin.buffer)


def label(classifier: "Classifier", rows: Iterator[Row], skipped: list[Row]) -> Iterator[dict]:
    """Pair each readable row with its answer, in order; report the others as they come."""
    logger = start_logging()
    waiting: deque[tuple[int, str]] = deque()

    def texts() -> Iterator[str]:
        for row in rows:
            if row.problem:
                logger.warning("row %d %s; left out", row.number, row.problem)
                skipped.append(Row(row.number))
            else:
                waiting.append((row.number, row.text))
                yield row.text

    for answer in classifier.predict(texts()):
        number, text = waiting.popleft()
        yield {
            "row": number,
            "text": text,
            "label": answer.label,
            "probability": answer.probability,
            **answer.probabilities,
            "truncated": answer.truncated,
        }


def ask(classifier: "Classifier") -> None:
    """Label sentences as they are typed, until an empty line or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lets `input` go back in the line and to earlier ones)
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
        (answer,) = classifier.predict([text])
        cut = f"  (앞의 {classifier.max_seq_length}토큰만 읽었습니다)" if answer.truncated else ""
        print(f"{answer.label}  {answer.probability:.4f}{cut}")


if __name__ == "__main__":
    main()
