"""Label texts with a fine-tuned model, or with its ONNX export.

python scripts/predict.py --model outputs/kcbert-base-nsmc "연기가 정말 좋았어요" "돈이 아까웠다"
python scripts/predict.py --model USER/NAME --input reviews.xlsx --output labelled.xlsx
cat reviews.txt | python scripts/predict.py --model outputs/kcbert-base-nsmc
accelerate launch --num_processes 4 scripts/predict.py --model USER/NAME --input reviews.csv --output labelled.csv

--output has every column of --input, and behind them label, probability, the probability of each class, and whether
the text was truncated. On a terminal without texts or --input it asks for sentences, one a line.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from tqdm import tqdm

from pipeline.data.columns import choose_text_columns, counted
from pipeline.data.tables import SUFFIXES as INPUTS
from pipeline.data.tables import BadRow, Block, Table, open_table
from pipeline.data.text_files import unreadable
from pipeline.inference.labelling import Labels
from pipeline.inference.writers import ENCODED, ENCODINGS, check_output, open_writer, text_writer
from pipeline.inference.writers import SUFFIXES as OUTPUTS
from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.modeling.prediction_settings import prediction_settings
from pipeline.runtime.cli import command
from pipeline.runtime.distributed import destroy_process_group, is_distributed, is_rank_zero, local_rank
from pipeline.runtime.errors import UserError, as_user_error
from pipeline.runtime.logging import configure_logging

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier

EXIT_NOTHING_LABELLED = 1
BLOCK_ROWS = 4096  # of texts that are no file

logger = logging.getLogger("pipeline.predict")


@command
def main() -> None:
    configure_logging()
    options = parse()
    # Mistakes in file names, columns and a missing model are reported before the slow imports.
    if options.output:
        check_output(options.output, overwrite=options.overwrite, source=options.input)
    if not options.input and not is_rank_zero():
        return  # texts of the command line and of stdin are too few to be shared out
    table = open_table(options.input, options.split) if options.input else None
    files = fetch_model(options.model, options.revision)
    columns = find_text_columns(files, table, options.text_column)
    if table:
        blocks, schema, source = table.blocks(), table.schema, table.path
        log_input(table, columns)
    else:
        blocks, schema, source = blocks_of_texts(options.texts, columns), None, Path("texts")
    classifier = load(options)
    if not table and not options.texts and sys.stdin.isatty():
        answer_questions(classifier)
        return
    schema = schema or pa.schema([(name, pa.string()) for name in columns])
    labels = Labels(classifier, blocks, schema, columns, source, share=table is not None)
    for old, new in labels.renamed.items():
        logger.info("%s has a column `%s`: the prediction's is called `%s`", source, old, new)
    if not is_rank_zero():
        for _ in labels:
            pass
    elif options.output:
        write_file(options, labels, table.num_rows if table else len(options.texts) or None)
    else:
        write_stdout(labels)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", help="Texts to label.")
    parser.add_argument("--model", required=True, help="A folder that scripts/train.py wrote, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument("--bf16", action="store_true", help="Faster where the processor has bfloat16; less exact.")
    reading = parser.add_argument_group("a file of texts")
    reading.add_argument("--input", type=Path, help=f"{', '.join(INPUTS)}, or a folder of `save_to_disk`.")
    reading.add_argument(
        "--text_column", nargs="+", metavar="COLUMN", help="One, or the two of a pair. Default: found by its name."
    )
    reading.add_argument("--split", help="Which one, if --input is the folder of a `DatasetDict`.")
    writing = parser.add_argument_group("a file of labels")
    writing.add_argument("--output", type=Path, help=f"The file to write: {', '.join(OUTPUTS)}.")
    writing.add_argument("--overwrite", action="store_true", help="Replace --output if it exists; never --input.")
    writing.add_argument(
        "--encoding", choices=ENCODINGS, default="utf-8", help="utf-8-sig: for csv that Excel opens. Default: utf-8."
    )
    options = parser.parse_args()
    if options.texts and options.input:
        parser.error("give texts or --input, not both")
    for name in ("text_column", "split"):
        if getattr(options, name) and not options.input:
            parser.error(f"--{name} is of a file: give --input")
    if options.output is None and (options.overwrite or options.encoding != "utf-8"):
        parser.error(f"--{'overwrite' if options.overwrite else 'encoding'} is of a file: give --output")
    if options.encoding != "utf-8" and options.output.suffix.lower() not in ENCODED:
        parser.error(f"--encoding {options.encoding} is for csv, tsv and txt; {options.output.suffix} has its own")
    return options


def find_text_columns(files: ModelFiles, table: Table | None, given: Sequence[str] | None) -> tuple[str, ...]:
    """`--text_column`; or the columns by whose names the model was trained; or those with a common name.

    Raises:
        UserError: there is no such column, several may be meant, or the model reads another number of them.
    """
    with as_user_error(f"{files.folder / 'config.json'} cannot be read", OSError, ValueError, AttributeError):
        config = json.loads((files.folder / "config.json").read_text(encoding="utf-8"))
        own = tuple(prediction_settings(config)["text_columns"])
    if table is None or (not given and set(own) <= set(table.columns)):
        return own
    first = next((block.rows for block in table.blocks() if block.lines), None)
    example = first.slice(0, 1).to_pylist()[0] if first else dict.fromkeys(table.columns)
    columns = choose_text_columns(given or (), example, str(table.path))
    if len(columns) != len(own):
        raise UserError(
            f"{table.path}: the column(s) {' and '.join(columns)} were taken; the model reads {len(own)}, as "
            f"{' and '.join(own)}. Name {len(own)} with --text_column."
        )
    return columns


def log_input(table: Table, columns: Sequence[str]) -> None:
    """Say what was found out about the input."""
    for note in table.notes:
        logger.info("%s", note)
    logger.info("%s: labelling %s", table.path, " and ".join(f"`{column}`" for column in columns))


def load(options: argparse.Namespace) -> "Classifier":
    import torch

    from pipeline.inference.classifier import load_classifier

    dtype = torch.bfloat16 if options.bf16 else torch.float32
    device = f"cuda:{local_rank()}" if is_distributed() and torch.cuda.is_available() else None
    return load_classifier(options.model, options.revision, device, dtype)


def decode_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """One text a line. Bytes that are not UTF-8 become lone surrogates."""
    for number, line in enumerate(lines):
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        yield content.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def blocks_of_texts(texts: Sequence[str], columns: Sequence[str]) -> Iterator[Block]:
    """The texts of the command line or, without any, the lines of stdin.

    Of a pair the command line has one text behind the other, and stdin both on a line with a tab between them.
    """
    if texts:
        source = Path("texts")
        pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=False)]
        if len(columns) == 2 and len(texts) % 2:
            raise UserError(f"the model reads pairs: expected an even number of texts, found {len(texts)}.")
        rows: Iterable[list[str]] = pairs if len(columns) == 2 else [[text] for text in texts]
    else:
        source = Path("stdin")
        rows = (line.split("\t") if len(columns) == 2 else [line] for line in decode_lines(sys.stdin.buffer))
    numbered = enumerate(rows, start=1)
    while some := list(islice(numbered, BLOCK_ROWS)):
        problems = {number: problem for number, row in some if (problem := problem_of(row, len(columns)))}
        good = {number: row for number, row in some if number not in problems}
        arrays = [pa.array([row[index] for row in good.values()], pa.string()) for index in range(len(columns))]
        bad_rows = [BadRow(source, number, problem) for number, problem in problems.items()]
        yield Block(pa.Table.from_arrays(arrays, names=list(columns)), list(good), bad_rows)


def problem_of(row: Sequence[str], expected: int) -> str | None:
    """Why texts cannot be labelled: a byte that is not UTF-8, or another number of them."""
    problem = next((problem for text in row if (problem := unreadable(text))), None)
    return problem or (f"has {len(row)} text(s), expected {expected} by tabs" if len(row) != expected else None)


def write_file(options: argparse.Namespace, labels: Labels, num_rows: int | None) -> None:
    """Write the rows with their labels. The file appears complete, or not at all.

    Args:
        options: `output` and `encoding`.
        labels: what to write.
        num_rows: how many rows there are, if that is known.
    """
    names = labels.names() if options.output.suffix.lower() == ".txt" else labels.schema.names
    schema = pa.schema([labels.schema.field(name) for name in names])
    with (
        open_writer(options.output, schema, options.encoding) as write,
        tqdm(total=num_rows, unit=" texts", disable=None) as bar,  # None: no bar off a terminal
    ):
        for rows in labels:
            write(rows.select(names))
            bar.update(labels.num_read - bar.n)
        bar.close()
        report_problems(labels)
    logger.info("%s text(s) labelled: %s", f"{labels.num_labelled:,}", options.output)


def write_stdout(labels: Labels) -> None:
    """Write one line for each text."""
    write = text_writer(sys.stdout, ".txt", [])
    try:
        for rows in labels:
            write(rows.select(labels.names()))
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout again as it exits
        return
    report_problems(labels)


def report_problems(labels: Labels) -> None:
    """Warn of the rows without a label, and end with exit code 1 if no row has one."""
    if labels.num_problems:
        named = counted(map(str, labels.problems), labels.num_problems)
        logger.warning("%s row(s) could not be labelled:\n%s", f"{labels.num_problems:,}", named)
    if not labels.num_labelled:
        logger.error("nothing was labelled")
        destroy_process_group()
        sys.exit(EXIT_NOTHING_LABELLED)


def answer_questions(classifier: "Classifier") -> None:
    """Label sentences as they are typed, until an empty line or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives `input` cursor keys and history)
    columns = classifier.task.text_columns
    print("문장을 입력하세요. 빈 줄을 입력하면 끝납니다.")
    while True:
        try:
            texts = []
            for prompt in ["> "] if len(columns) == 1 else [f"{column}> " for column in columns]:
                texts.append(input(prompt).strip())
                if not texts[-1]:
                    return
        except EOFError:
            print()
            return
        except UnicodeDecodeError:
            print("읽을 수 없는 글자가 있습니다(UTF-8이 아님). 다시 입력해 주세요.")
            continue
        (prediction,) = classifier.predict([(texts[0], texts[1])] if len(columns) == 2 else texts)
        probability = "" if prediction.probability is None else f"  {prediction.probability:.4f}"
        note = f"  (앞의 {classifier.max_length}토큰만 읽었습니다)" if prediction.truncated else ""
        print(f"{prediction.label or '(레이블 없음)'}{probability}{note}")  # of several labels there may be none


if __name__ == "__main__":
    main()
