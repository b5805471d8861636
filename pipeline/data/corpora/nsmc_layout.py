"""The user's own examples in NSMC's file layout: `id<TAB>document<TAB>label`, UTF-8, one example a line."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.corpus import Bilingual, CorpusCard, CorpusSpec, SourceFile
from pipeline.runtime.errors import UserError
from pipeline.tasks import SingleLabelClassification

if TYPE_CHECKING:
    from datasets import Dataset

HEADER = b"id\tdocument\tlabel"
MAX_LINE_BYTES = 1 << 19  # NSMC has some 500 at most


class NsmcLayout(CorpusSpec):
    """Two files in NSMC's layout of which nothing else is known."""

    summary = "your own two files in NSMC's layout"
    task = SingleLabelClassification(("부정", "긍정"))
    files: Mapping[str, SourceFile] = {"train": SourceFile("ratings_train.txt"), "test": SourceFile("ratings_test.txt")}
    subfolder = "nsmc"
    layout = "one a line: id<TAB>document<TAB>label"
    card = CorpusCard(
        title=Bilingual("nsmc_layout(공식 NSMC가 아님)", "nsmc_layout (not the official NSMC)"),
        texts=Bilingual("텍스트", "texts"),
        about=Bilingual(
            "NSMC 형식의 텍스트 말뭉치(공식 NSMC가 아님)", "Texts in NSMC's layout (not the official NSMC)"
        ),
        license=Bilingual(
            "공식 NSMC가 아니며, 라이선스는 알려져 있지 않습니다.",
            "It is not the official NSMC; its licence is not known.",
        ),
        limits=Bilingual(
            "- 레이블이 텍스트와 맞는지, 학습 데이터와 테스트 데이터에 같은 텍스트가 있는지는 확인하지 않았습니다.\n"
            "- 어떤 텍스트든 둘 중 하나로 분류합니다. 학습한 것과 다른 종류의 텍스트에서는 성능이 다를 수 있습니다.\n",
            "- Whether labels fit their texts, and whether train and test share any, was not checked.\n"
            "- Any text gets one of the two labels; other kinds of text may give other scores.\n",
        ),
    )

    def check(self, path: Path, file: SourceFile, sha256: str) -> None:
        self.check_layout(path)

    def read_file(self, path: Path) -> Iterator["Dataset"]:
        # Arrow's reader gives what Korpora's gives (`test_rows_are_those_of_korpora`), in a tenth of its memory.
        import pyarrow as pa
        import pyarrow.csv as csv

        from pipeline.data.arrow_folder import dataset_from_table

        features = self.features()
        options = {
            "read_options": csv.ReadOptions(block_size=2 * MAX_LINE_BYTES),
            "parse_options": csv.ParseOptions(delimiter="\t", quote_char=False),
            "convert_options": csv.ConvertOptions(column_types={"document": pa.string(), "label": pa.int64()}),
        }
        with csv.open_csv(path, **options) as batches:
            for batch in batches:
                texts = [undo_csv_layers(text) for text in batch["document"].to_pylist()]
                yield dataset_from_table(pa.table([texts, batch["label"]], schema=features.arrow_schema), features)

    def check_layout(self, path: Path) -> int:
        """Check that a file has NSMC's layout, and return the number of its examples.

        Raises:
            UserError: it has not; the text names file, line and reason.
        """
        labels = {str(label).encode() for label in range(self.task.num_labels)}

        def fail(line: int, reason: str) -> UserError:
            return UserError(
                f"{path}, line {line}: {reason}\n  expected: UTF-8 text; first line id<TAB>document<TAB>label; then "
                "one example a line in these three columns, label 0 or 1."
            )

        number = 0
        with open(path, "rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
                if len(raw) > MAX_LINE_BYTES:
                    raise fail(number, f"has more than {MAX_LINE_BYTES:,} bytes; is a line end missing?")
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                if number == 1:
                    if line.startswith(b"\xef\xbb\xbf"):
                        raise fail(1, "starts with a byte order mark. Save the file as UTF-8 without BOM.")
                    if line != HEADER:
                        raise fail(1, f"expected the header, found {_shown(line)}")
                    continue
                if b"\x00" in line:
                    raise fail(number, "contains a NUL byte.")
                if b"\r" in line:
                    raise fail(number, "contains a carriage return, where a reader would break the line in two.")
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise fail(number, f"is not UTF-8 (byte {error.start} of the line: {error.reason}).") from error
                columns = line.split(b"\t")
                if len(columns) != 3:
                    raise fail(number, f"has {len(columns)} column(s), not 3: {_shown(line)}")
                if columns[2] not in labels:
                    raise fail(number, f"has the label {_shown(columns[2])}, not 0 or 1.")
        if number < 2:
            raise fail(number + 1, "the file ends before the first example.")
        return number - 1


_CSV_FIELD = re.compile(r'"(?:[^"]|"")*"')


def undo_csv_layers(text: str) -> str:
    """Undo the two CSV layers that the official NSMC has around every review with a quotation mark.

    The files were written by a CSV writer twice (all 856 such rows). Text that is not two complete layers deep is left
    alone: undoing "until it no longer changes" damages 31 official rows whose review itself is in quotation marks.
    """
    inner = text
    for _ in range(2):
        if not _CSV_FIELD.fullmatch(inner):
            return text
        inner = inner[1:-1].replace('""', '"')
    return inner


def _shown(raw: bytes, longest: int = 60) -> str:
    text = raw.decode("utf-8", errors="replace")
    return repr(text if len(text) <= longest else text[:longest] + "…")


CORPUS = NsmcLayout()
