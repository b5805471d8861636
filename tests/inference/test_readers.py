"""Texts from every format. A row that cannot be read costs that row only, and is named."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inference import readers
from pipeline.inference.readers import FORMATS, Row, read_rows, row_from_text
from pipeline.runtime.errors import UserError

TEXTS = ["재밌다", "", 'a "인용", 쉼표', "끝"]


def texts_and_problems(path: Path, column: str = "text") -> list[str]:
    return [row.text if row.problem is None else f"{row.number}: {row.problem}" for row in read_rows(path, column)]


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("kind", [*FORMATS, ".CSV"])
def test_every_format_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"in{kind}"
    table = pd.DataFrame({"id": range(4), "text": TEXTS})
    if kind == ".txt":
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    elif kind == ".tsv":
        path.write_text("id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
    elif kind == ".jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    elif kind == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    assert texts_and_problems(path) == TEXTS


def test_rows_are_numbered_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,text\n1,"한\n줄"\n2,둘\n3,"세\n줄\n짜리"\n4,넷\n')
    assert [row.number for row in read_rows(path, "text")] == [2, 4, 5, 8]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "하나\n".encode() + b"\xff\n" + "둘".encode(), ["하나", "2: is not UTF-8", "둘"]),
        ("a.txt", b"\xef\xbb\xbf" + "하나\r\n둘\r\n".encode(), ["하나", "둘"]),
        ("a.csv", "id,text\n1,하나\n2\n3,둘,셋\n4,넷\n", ["하나", "3: has 1 column(s)", "4: has 3 column(s)", "넷"]),
        ("a.csv", b"text\n\xff\n" + '"두\n줄"\n'.encode(), ["2: is not UTF-8", "두\n줄"]),
        ("a.csv", 'id,text\n1,"하나\n2,둘\n3,"셋 ""3"""\n4,"넷" 넷\n5,"다섯\n6,여섯\n',
         ["2: is not valid CSV", "둘", '셋 "3"', "5: is not valid CSV", "6: is not valid CSV", "여섯"]),
        ("a.csv", "text\n좋다\n".encode("cp949"), ["2: is not UTF-8 (if it is CP949: iconv"]),
        ("a.csv", "\ufefftext\n하나\n", ["하나"]),
        ("a.jsonl", '{"text": "\\ud800"}\n{"text": "\\ud83d\\udc4d"}', ["1: has '\\ud800' at position 1", "👍"]),
        ("a.tsv", 'id\ttext\n1\t"하나\n2\t둘\n', ['"하나', "둘"]),
        ("a.jsonl", '{"text": "하나"}\n{\n{"a": 1}\n[1]\n{"text": 3}\n{"text": null}\n{"text": "둘"}',
         ["하나", "2: is not JSON", "3: has no `text`", "4: has no `text`", "5: has int in `text`", "6: has nothing",
          "둘"]),
    ],
)  # fmt: skip
def test_malformed_rows_are_named_and_the_others_read(
    tmp_path: Path, name: str, content: bytes | str, expected: list[str]
) -> None:
    found = texts_and_problems(write(tmp_path, name, content))
    assert len(found) == len(expected)
    for text, start in zip(found, expected, strict=True):
        # A good row must be equal, not only begin alike.
        assert text.startswith(start) if start[:2] in {f"{number}:" for number in range(9)} else text == start


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_the_longest_field_is_read_and_a_longer_one_named(tmp_path: Path, kind: str) -> None:
    longest = "가" * 1_000_000
    rows = list(read_rows(write(tmp_path, f"a.{kind}", f"text\n{longest}\n{longest}나\n끝\n"), "text"))
    assert rows[0] == Row(2, longest)
    assert rows[1].number == 3
    assert "field limit" in rows[1].problem
    assert rows[2:] == [Row(4, "끝")]


def test_an_unclosed_quotation_mark_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_CSV_FIELD", 100)
    found = texts_and_problems(write(tmp_path, "a.csv", 'text\n"열린 따옴표\n' + "줄\n" * 1000))
    assert found[0].startswith("2: is not valid CSV (field larger than field limit")
    assert found[1:] == ["줄"] * 1000


def test_missing_values_in_parquet_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["하나", None]}), tmp_path / "a.parquet")
    assert texts_and_problems(tmp_path / "a.parquet") == ["하나", "2: has nothing in `text`, not text"]


def test_only_the_rows_that_are_needed_are_read(tmp_path: Path) -> None:
    """Each reader is lazy: after the first row a text file of a hundred thousand is open, not read."""
    for kind, line in (("txt", "줄\n"), ("csv", "줄\n"), ("jsonl", '{"text": "줄"}\n')):
        content = ("text\n" if kind == "csv" else "") + line * 100_000
        rows = read_rows(write(tmp_path, f"a.{kind}", content), "text")
        assert next(rows).text == "줄"
        (tmp_path / f"a.{kind}").write_bytes(b"")  # truncates the open file: only what was buffered is left
        assert sum(1 for _ in rows) < 50_000


def test_a_lone_surrogate_is_no_text() -> None:
    assert row_from_text(7, "글\udcff").problem == "has '\\udcff' at position 2, which is not a character"
    assert row_from_text(7, "글") == Row(7, "글")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.doc", b"", r"a\.doc: the name ends in \.doc; expected one of \.txt, \.csv, \.tsv, \.jsonl, \.parquet"),
        ("a", b"", "ends in nothing"),
        ("missing.txt", None, "no such file"),
        ("a.csv", b"id,review\n1,a\n", "no column `text`. Its columns are: id, review"),
        ("a.csv", b"", "no column `text`. Its columns are: none"),
        ("a.csv", "id,리뷰\n1,좋다\n".encode("cp949"), r"the first line is not UTF-8 \(if it is CP949"),
        ("a.csv", b'id,"text\n', "the first line is not valid CSV"),
        ("a.parquet", b"not parquet", "is not a Parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        texts_and_problems(tmp_path / name)
