"""Tables of every format. A row that cannot be read costs that row only, and is named; an odd file is named."""

import csv
import datetime
import gzip
import io
import json
import re
import struct
from pathlib import Path

import datasets
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data import csv_rows, json_rows, tables
from pipeline.data.tables import Table, expand_files, format_of, list_splits, open_table
from pipeline.runtime.errors import UserError

ROWS = [
    {"id": number, "text": text, "score": number / 4}
    for number, text in enumerate(["재밌다", "", 'a "인용", 쉼표', "한\n줄"])
]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp949")
PROPERTY = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(table: Table, columns: list[str] | None = None) -> tuple[list[dict], list[int], dict[int, str]]:
    """All rows, their lines, and the reasons of the bad ones by line."""
    rows, lines, bad = [], [], {}
    for block in table.blocks(columns):
        assert block.rows.num_rows == len(block.lines)
        assert block.rows.schema.types == [table.schema.field(name).type for name in columns or table.columns]
        rows += block.rows.to_pylist()
        lines += block.lines
        bad |= {row.line: row.reason for row in block.bad_rows}
    if table.path.suffix != ".json":  # where a line may have several objects
        assert lines == sorted(set(lines) - bad.keys())
    return rows, lines, bad


def count_rows(table: Table) -> int:
    return sum(len(block.lines) + len(block.bad_rows) for block in table.blocks())


def read_texts(path: Path) -> list[str]:
    """The texts, and `line: reason` of the bad rows, in the order of the file."""
    rows, lines, bad = read(open_table(path))
    found = {line: row["text"] for line, row in zip(lines, rows, strict=True)}
    found |= {line: f"{line}: {reason}" for line, reason in bad.items()}
    return [found[line] for line in sorted(found)]


def write_csv(rows: list[list[str]], **dialect: object) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **dialect).writerows(rows)
    return stream.getvalue()


# Every format.


def write_format(path: Path) -> Path:
    """Write `ROWS`."""
    kind = format_of(path) if path.suffix else ""
    values = [[str(value) for value in row.values()] for row in ROWS]
    if kind in (".csv", ".tsv"):
        text = write_csv([list(ROWS[0]), *values], delimiter="," if kind == ".csv" else "\t")
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    elif kind == ".txt":
        path.write_text("\n".join(row["text"].replace("\n", " ") for row in ROWS))
    elif kind == ".json":
        path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=2))
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == ".xlsx":
        book = openpyxl.Workbook()
        for cells in (list(ROWS[0]), *(list(row.values()) for row in ROWS)):
            book.active.append(cells)
        book.save(path)
    else:
        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    return path


@pytest.mark.parametrize(
    "name", ["a.csv", "a.CSV", "a.tsv", "a.csv.gz", "a.txt", "a.json", "a.jsonl", "a.parquet", "a.xlsx", "saved"]
)
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    table = open_table(write_format(tmp_path / name))
    rows, lines, bad = read(table)
    assert not bad
    assert (table.num_rows, table.notes) == ((5, ()) if name[2:5].lower() in ("csv", "tsv") else (4, ()))
    if name == "a.txt":
        assert rows == [{"text": row["text"].replace("\n", " ")} for row in ROWS]
        return
    expected = ROWS
    if name[2:5].lower() in ("csv", "tsv"):
        expected = [{key: str(value) for key, value in row.items()} for row in ROWS]
    elif name == "a.xlsx":  # Excel knows no empty text
        expected = [{**row, "text": row["text"] or None} for row in ROWS]
    assert rows == expected
    assert table.columns == ("id", "text", "score")
    assert lines == ([1, 2, 3, 4] if name in ("a.jsonl", "a.parquet", "saved") else lines)
    assert lines == ([2, 7, 12, 17] if name == "a.json" else lines)
    assert lines == ([2, 3, 4, 5] if name in ("a.csv", "a.xlsx") else lines)
    assert read(table, ["score", "text"])[0] == [{"score": row["score"], "text": row["text"]} for row in expected]
    with pytest.raises(UserError, match=r"has no column `label`\. Its columns are: id, text, score"):
        table.blocks(["label"])


def test_blocks_are_small_and_the_rest_is_not_read_yet(tmp_path: Path) -> None:
    for name, line in (("a.txt", "줄\n"), ("a.csv", "줄\n"), ("a.jsonl", '{"text": "줄"}\n')):
        content = ("text\n" if name == "a.csv" else "") + line * 100_000
        blocks = open_table(write(tmp_path, name, content)).blocks()
        assert len(next(blocks).lines) == tables.BLOCK_ROWS
        (tmp_path / name).write_bytes(b"")  # truncates the open file: only what was buffered is left
        assert sum(len(block.lines) for block in blocks) < 50_000


def test_blocks_of_long_texts_have_few_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", ("가" * 1_000_000 + "\n") * 40)
    assert [len(block.lines) for block in open_table(path).blocks()] == [17, 17, 6]


@pytest.mark.parametrize("count", [4095, 4096, 4097, 8192])
def test_rows_at_the_edges_of_blocks(tmp_path: Path, count: int) -> None:
    path = write(tmp_path, "a.csv", "a,text\n" + "".join(f"1,{i}\n" if i % 3 else f"{i}\n" for i in range(count)))
    rows, lines, bad = read(open_table(path))
    assert [row["text"] for row in rows] == [str(i) for i in range(count) if i % 3]
    assert lines == [i + 2 for i in range(count) if i % 3]
    assert len(bad) == count - len(rows)


# Encodings.


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "json", "jsonl"])
def test_encodings_are_recognized_and_said(tmp_path: Path, encoding: str, kind: str) -> None:
    text = {
        "csv": "text,n\r\n똠방각하,1\r\n",
        "tsv": "text\tn\n똠방각하\t1\n",
        "txt": "똠방각하\n",
        "json": '[{"text": "똠방각하"}]',
        "jsonl": '{"text": "똠방각하"}\n',
    }[kind]
    table = open_table(write(tmp_path, f"a.{kind}", text.encode(encoding)))
    assert [row["text"] for row in read(table)[0]] == ["똠방각하"]
    said = {"cp949": ["read as CP949"], "utf-16": ["read as UTF-16"]}.get(encoding, [])
    assert len(table.notes) == len(said)
    assert all(word in note and table.path.name in note for word, note in zip(said, table.notes, strict=True))


def test_a_file_that_is_mostly_utf8_is_not_cp949(tmp_path: Path) -> None:
    damaged = "참 좋다".encode() + b"\n" + "별로".encode("cp949") + b"\n" + "참 좋다".encode() + b"\n"
    table = open_table(write(tmp_path, "a.txt", damaged))
    assert not table.notes
    assert read(table)[2] == {2: "byte 0xba is not UTF-8"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text\nabc\n\x80\xff\n", "line 3: byte 1 of the line, 0x80, is neither UTF-8 nor CP949"),
        ("text\n좋다\n".encode("cp949") + b"\xff\xff\n", "line 3: byte 1 of the line, 0xff, is neither"),
        (b"\xff\xfe" + "text\n좋다".encode("utf-16-le") + b"\x00", "is not UTF-16"),
    ],
)
def test_another_encoding_is_an_error(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        open_table(write(tmp_path, "a.csv", content))


def test_a_character_that_the_end_cuts_is_found(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path, "a.txt", "가나다\n가나다\n가".encode()[:-1])) == [
        *("가나다", "가나다"),
        "3: byte 0xea is not UTF-8",
    ]


def test_encodings_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.text_files.CHUNK", 4)
    for encoding in ENCODINGS:
        table = open_table(write(tmp_path, "a.txt", "좋다 좋다\r\n나쁘다\n\n끝".encode(encoding)))
        assert [row["text"] for row in read(table)[0]] == ["좋다 좋다", "나쁘다", "", "끝"]
        assert table.num_rows == 4


# Malformed rows.


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "하나\n".encode() + b"\xff\n" + "둘".encode(), ["하나", "2: byte 0xff is not UTF-8", "둘"]),
        ("a.txt", "하나\n\0\n\n둘", ["하나", "2: holds a NUL character", "", "둘"]),
        ("a.csv", "id,text\n1,하나\n2\n3,둘,셋\n\n4,넷\n",
         ["하나", "3: has 1 column(s), the header 2", "4: has 3 column(s), the header 2", "넷"]),
        ("a.csv", 'id,text\n1,"하나\n둘",3\n4,넷\n', ["2: has 3 column(s), the header 2 (to line 3)", "넷"]),
        ("a.csv", b"text\n\xff\n" + '"두\n줄"\n'.encode(), ["2: byte 0xff is not UTF-8", "두\n줄"]),
        ("a.csv", "id,text\n1,a\0b\n2,둘\n", ["2: holds a NUL character", "둘"]),
        ("a.csv", 'id,text\n1,"하나\n2,둘\n3,"셋 ""3"""\n4,"넷" 넷\n5,"다섯\n6,여섯\n',
         ["2: is not valid CSV (',' expected after '\"')", "둘", '셋 "3"',
          "5: is not valid CSV (',' expected after '\"')",
          "6: is not valid CSV (a quotation mark is never closed)", "여섯"]),
        ("a.csv", 'id,text\n1,하나\n하나, 끝"\n2,"둘"\n',
         ["하나", "3: is not valid CSV (a quotation mark without its pair)", "둘"]),
        ("a.csv", 'id,text\n1,"하나" 하나\n둘, "둘\n3,"셋"\n',
         ["2: is not valid CSV (',' expected after '\"')", ' "둘', "셋"]),
        ("a.csv", 'id,text\n1,"하나\n둘, "둘\n3,"셋"\n4,넷\n',
         ["2: is not valid CSV (',' expected after '\"')", "3: is not valid CSV (a quotation mark without its pair)",
          "셋", "넷"]),
        ("a.csv", 'id,text\n1,ㅡ"ㅡ\n2,"끝""\n"\n', ['ㅡ"ㅡ', '끝"\n']),
        ("a.csv", "id,text\r1,하나\r2,둘\r", ["하나", "둘"]),
        ("a.tsv", 'id\ttext\n1\t"하나\n2\t"둘" 둘\n3\t"셋"\n', ['"하나', '"둘" 둘', '"셋"']),
        ("a.tsv", 'id\ttext\n1\t"하나 ""하나"""\n2\t"둘\n둘"\n3\t"셋\n',
         ['하나 "하나"', "둘\n둘", "5: is not valid CSV (a quotation mark is never closed)"]),
        ("a.tsv", 'id\ttext\n1\t"하나 ""하나"""\n2\t"둘" 둘\n3\t"셋" 셋\n',
         ['"하나 ""하나"""', '"둘" 둘', '"셋" 셋']),
        ("a.tsv", '"id"\t"text"\n"1"\t"하나"\n', ["하나"]),
        ("a.jsonl", '{"text": "하나"}\n{\n\n{"text": null}\n[1]\n{"a": 1}\n{"text": "둘"',
         ["하나", "2: is not JSON (Expecting property name enclosed in double quotes at character 3)", None,
          "5: is not a JSON object, but a list", None, "7: is not JSON (Expecting ',' delimiter at character 13)"]),
        ("a.jsonl", '{"text": "\\ud800"}\n{"text": "\\ud83d\\udc4d"}',
         ["1: '\\ud800' is not a character", "👍"]),
        ("a.json", '[\n{"text": "하나"},\n{"text": "\\udc41"},\n {"text": "둘"}]',
         ["하나", "3: '\\udc41' is not a character", "둘"]),
    ],
)  # fmt: skip
def test_malformed_rows_are_named_and_the_others_read(
    tmp_path: Path, name: str, content: bytes | str, expected: list[str]
) -> None:
    assert read_texts(write(tmp_path, name, content)) == expected


def test_values_that_are_no_objects_are_named_beside_objects_of_the_same_line(tmp_path: Path) -> None:
    blocks = list(open_table(write(tmp_path, "a.json", '[{"text": "하나"}, 3, {"text": "둘"}]')).blocks())
    assert [row["text"] for block in blocks for row in block.rows.to_pylist()] == ["하나", "둘"]
    assert [str(row) for block in blocks for row in block.bad_rows] == [
        f"{tmp_path / 'a.json'}, line 1: is not a JSON object, but a int"
    ]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_the_longest_field_is_read_and_a_longer_one_named(tmp_path: Path, kind: str) -> None:
    longest = "가" * 1_000_000
    texts = read_texts(write(tmp_path, f"a.{kind}", f"text\n{longest}\n{longest}나\n끝\n"))
    assert texts[0] == longest
    assert texts[1].startswith("3: is not valid CSV (a field has more than 1,000,000 characters")
    assert texts[2:] == ["끝"]


def test_an_unclosed_quotation_mark_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_FIELD", 100)
    texts = read_texts(write(tmp_path, "a.csv", 'text\n"열린 따옴표\n' + "줄\n" * 1000))
    assert "or a quotation mark is never closed" in texts[0]
    assert texts[1:] == ["줄"] * 1000


def test_strings_of_parquet_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    bad = (1, 4095, 4097)
    binary = pa.array([b"\xff" if number in bad else b"%d" % number for number in range(5000)], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())
    pq.write_table(pa.table({"text": text, "n": range(5000)}), tmp_path / "a.parquet")
    rows, lines, found = read(open_table(tmp_path / "a.parquet"))
    good = [number for number in range(5000) if number not in bad]
    assert rows == [{"text": str(number), "n": number} for number in good]
    assert lines == [number + 1 for number in good]
    assert found == {number + 1: "`text` is not UTF-8" for number in bad}


def test_damage_that_pyarrow_does_not_survive_is_named(tmp_path: Path) -> None:
    """An offset beyond the data: reading such a string ends the process."""
    datasets.Dataset.from_dict({"text": ["x" * 12345]}).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    before, offsets, behind = file.read_bytes().rpartition(struct.pack("<ii", 0, 12345))
    assert offsets
    file.write_bytes(before + struct.pack("<ii", 0, 2**30) + behind)
    with pytest.raises(UserError, match="is not a file that can be read to its end: "):
        read(open_table(tmp_path / "saved"))


# What formats have besides rows.


def test_delimiters_are_recognized_and_said(tmp_path: Path) -> None:
    for name, content, said in (
        ("a.csv", "text;label\n좋다, 참;1\n", "semicolon-separated"),
        ("a.csv", "text\tlabel\n좋다, 참\t1\n", "tab-separated"),
        ("a.tsv", 'text,label\n"좋다, 참",1\n', "comma-separated"),
    ):
        table = open_table(write(tmp_path, name, content))
        assert read(table)[0] == [{"text": "좋다, 참", "label": "1"}]
        assert said in table.notes[0]
    assert read(open_table(write(tmp_path, "a.csv", "text\n좋다;참\n")))[0] == [{"text": "좋다;참"}]


def test_the_index_of_pandas_gets_a_name(tmp_path: Path) -> None:
    table = open_table(write(tmp_path, "a.csv", ",text\n0,좋다\n"))
    assert read(table)[0] == [{"Unnamed: 0": "0", "text": "좋다"}]
    assert "first column has no name" in table.notes[0]


def test_json_columns_of_several_types(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "b": True, "c": ["x"], "d": 1, "e": {"k": 1}, "f": 10**30, "g": None, "h": [[1], "x"]},
        {"a": 2.5, "b": False, "c": [], "d": "둘", "e": None, "i": [1, 2.5]},
    ]
    table = open_table(write(tmp_path, "a.json", json.dumps(rows)))
    assert [str(kind) for kind in table.schema.types] == [
        *("double", "bool", "list<item: string>", "string", "string", "string", "string", "list<item: string>"),
        "list<item: double>",
    ]
    first, second = read(table)[0]
    assert first == {
        **{"a": 1.0, "b": True, "c": ["x"], "d": "1", "e": '{"k": 1}', "f": str(10**30), "g": None, "h": ["[1]", "x"]},
        "i": None,
    }
    assert (second["d"], second["i"]) == ("둘", [1.0, 2.5])
    assert table.notes == (f"{table.path}: `d` holds values of several types (int, str); read as text",)


def test_xlsx_cells_are_values(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("뒤").append(["text"])
    sheet = book.active
    sheet.title = "앞"
    for cells in (
        [],
        ["text", "label", "날짜", None],
        ["좋다", 1, datetime.datetime(2026, 1, 2), None],
        [None, None, None, None],
        [5, 2.5, datetime.datetime(2026, 1, 2, 3, 4)],
        ["별로", None, None, "밖"],
    ):
        sheet.append(cells)
    book.save(tmp_path / "a.xlsx")
    table = open_table(tmp_path / "a.xlsx")
    rows, lines, bad = read(table)
    assert rows == [
        {"text": "좋다", "label": 1.0, "날짜": "2026-01-02"},
        {"text": "5", "label": 2.5, "날짜": "2026-01-02 03:04:00"},
    ]
    assert (lines, bad) == ([3, 5], {6: "has 4 column(s), the header 3"})
    assert [word in note for word, note in zip(("`앞`", "(int, str)"), table.notes, strict=True)] == [True, True]


LABELLED = datasets.Dataset.from_dict(
    {"text": ["가", "나", "다"], "label": [1, 0, -1], "labels": [[0, 1], [], None], "n": [1, 2, 3]},
    features=datasets.Features(
        {
            "text": datasets.Value("large_string"),
            "label": datasets.ClassLabel(names=["부정", "긍정"]),
            "labels": datasets.List(datasets.ClassLabel(names=["x", "y"])),
            "n": datasets.Value("int32"),
        }
    ),
)
NAMED = [
    {"text": "가", "label": "긍정", "labels": ["x", "y"], "n": 1},
    {"text": "나", "label": "부정", "labels": [], "n": 2},
    {"text": "다", "label": None, "labels": None, "n": 3},
]


def test_class_labels_of_saved_datasets_are_names(tmp_path: Path) -> None:
    LABELLED.save_to_disk(tmp_path / "saved", num_shards=2)
    LABELLED.to_parquet(tmp_path / "a.parquet")
    for name in ("saved", "a.parquet"):
        table = open_table(tmp_path / name)
        assert read(table)[0] == NAMED
        assert read(table)[1] == [1, 2, 3]


def test_rows_of_a_selected_and_shuffled_dataset(tmp_path: Path) -> None:
    LABELLED.select([2, 0]).remove_columns("n").save_to_disk(tmp_path / "saved")
    assert [row["text"] for row in read(open_table(tmp_path / "saved"))[0]] == ["다", "가"]
    assert open_table(tmp_path / "saved").columns == ("text", "label", "labels")


def test_splits_of_a_saved_dataset_dict(tmp_path: Path) -> None:
    both = datasets.DatasetDict({"train": LABELLED, "test": LABELLED.select([1])})
    both.save_to_disk(tmp_path / "both")
    assert list_splits(tmp_path / "both") == ("train", "test")
    assert read(open_table(tmp_path / "both", "test"))[0] == NAMED[1:2]
    with pytest.raises(UserError, match=r"has the splits train, test\. Name the folder of one: .*both/train"):
        open_table(tmp_path / "both")
    with pytest.raises(UserError, match="has no split dev; it has train, test"):
        open_table(tmp_path / "both", "dev")
    datasets.DatasetDict({"train": LABELLED}).save_to_disk(tmp_path / "one")
    assert read(open_table(tmp_path / "one"))[0] == NAMED
    LABELLED.save_to_disk(tmp_path / "saved")
    assert list_splits(tmp_path / "saved") == ()
    with pytest.raises(UserError, match="has no split train"):
        open_table(tmp_path / "saved", "train")


# Files that are something else.

XLSX = io.BytesIO()
BOOK = openpyxl.Workbook()
BOOK.active.append(["text"])
BOOK.save(XLSX)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.doc", b"x", "the name ends in .doc; expected one of .csv, .tsv, .txt, .json, .jsonl, .parquet, .xlsx"),
        ("a", b"x", "the name ends in no suffix"),
        ("a.parquet.gz", b"x", "the name ends in .gz"),
        ("missing.txt", None, "there is no such file"),
        *((name, b"", "is empty") for name in ("a.csv", "a.txt", "a.jsonl", "a.json")),
        ("a.csv", b"\xef\xbb\xbf\n \n", "is empty"),
        ("a.csv", "\n".encode("utf-16"), "is empty"),
        ("a.csv", b"id,text\n", "has a header (id, text) and no rows"),
        ("a.csv", b"id,text\n\n\n", "has a header (id, text) and no rows"),
        ("a.csv", b"id,text,text\n1,2,3\n", "several columns of the same name: text"),
        ("a.csv", b"id,text,\n1,2,3\n", "column 3 of 3 has no name"),
        ("a.csv", b'id,"text\n1,2\n', "line 1: is not valid CSV"),
        ("a.csv", b"t\xff\n\xea\xb0\x80\n", "line 1: byte 0xff is not UTF-8"),
        ("a.csv", XLSX.getvalue(), "but an Excel workbook or a zip archive: if it is a workbook, name it .xlsx"),
        ("a.csv", b"\xd0\xcf\x11\xe0" + b"x" * 100, "an old Excel file (.xls)"),
        ("a.csv", b"\x1f\x8b" + b"x" * 100, "compressed with gzip"),
        ("a.csv.gz", b"text\nx\n", "cannot be read"),
        ("a.csv", b"ab\0\0\0cd" * 100, "is no text file: 300 of its first 700 bytes are zero"),
        ("a.csv", b"<!DOCTYPE html>\n<title>login</title>", "is an HTML page"),
        ("a.csv", b'{"text": "x", "n": 1}\n{"text": "y", "n": 2}\n', "is JSON"),
        ("a.jsonl", b"id,text\n1,2\n", "has no rows: expected an array of objects, or one object a line; line 1"),
        ("a.json", b"[]", "has no rows"),
        ("a.json", b"[1, 2]", "line 1 is not a JSON object, but a int"),
        ("a.json", b'{"text": {"0": "x"}}', "is one JSON object of lists or objects"),
        ("a.json", b'[{"text": "x"},\n{"text": oops}]', "is not JSON: Expecting value in line 2"),
        ("a.json", b'[{"text": "x"}\n{"text": "y"}]', "is not JSON: '{' in line 2, where `,` or `]` is expected"),
        ("a.json", b'[{"text": "x"},', "is not JSON: Expecting value in line 1"),
        ("a.json", b'[{"text": "x"}', "is not JSON: the end of the file in line 1"),
        ("a.json", b'[{"text": "x"}]\n[]', "line 2: there is more after the array's end"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.jsonl", b'{"": 1}\n', "column 1 of 1 has no name"),
        ("a.jsonl", json.dumps({str(number): 1 for number in range(2000)}).encode(), "has 2,000 columns"),
        ("a.parquet", b"no parquet", "is not a Parquet file that can be read"),
        ("a.parquet", b"", "is not a Parquet file that can be read"),
        ("a.xlsx", b"text,label\n1,2\n", "is not a workbook (.xlsx) that can be read"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + b"x" * 100, "is an old Excel file"),
        ("a.xlsx", XLSX.getvalue(), "has a header (text) and no rows"),
        ("a.txt", b"x" * (17 << 20), "line 1: is longer than 16 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # a workbook has the time in its bytes
)  # fmt: skip
def test_files_that_are_something_else_are_named(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        open_table(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_folders_that_are_no_saved_dataset_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none that `save_to_disk` wrote\. Name files: .*\*\.csv"):
        open_table(tmp_path)
    write(tmp_path, "dataset_dict.json", "{")
    with pytest.raises(UserError, match=r"dataset_dict\.json is not a JSON file"):
        open_table(tmp_path)
    LABELLED.save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="is not a saved dataset that can be read"):
        open_table(tmp_path / "saved")


# Names of files.


def test_files_are_expanded_in_order_and_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.csv", "a.csv", "c[1].csv"):
        write(tmp_path, name, "x")
    (tmp_path / "d").mkdir()
    write(tmp_path, "d/e.csv", "x")
    names = ["c[1].csv", "d", "[ab].csv"]
    assert [str(path) for path in expand_files(names)] == ["c[1].csv", "d", "a.csv", "b.csv"]
    assert [str(path) for path in expand_files(["**/*.csv"])] == ["a.csv", "b.csv", "c[1].csv", "d/e.csv"]
    for patterns, reason in (
        (["*.txt"], r"\*\.txt: no file has a name like this"),
        (["x.csv"], r"x\.csv: there is no such file"),
        (["a.csv", str(tmp_path / "a.csv")], r"a\.csv is named twice"),
        (["a.csv", "*.csv"], r"a\.csv is named twice \(by a\.csv and \*\.csv\)"),
        (["a.csv", "a.csv"], r"a\.csv is named twice"),
    ):
        with pytest.raises(UserError, match=reason):
            expand_files(patterns)


# Properties.

WORDS = ("좋다", "별로예요", "똠방각하", "참, 좋다", 'a "b"', '"', "한\n줄", "\r\n", ";", "\t", "", " ", "ㅋㅋ", "1")
KOREAN = st.lists(st.sampled_from(WORDS), max_size=4).map("".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | KOREAN
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[list[list[str]], bytes, str]:
    """Rows, the file that the standard library writes of them, and its suffix."""
    encoding = draw(st.sampled_from(ENCODINGS))
    width = draw(st.integers(2, 4))
    text = KOREAN if encoding == "cp949" else ANY_TEXT
    rows = draw(st.lists(st.lists(text, min_size=width, max_size=width), min_size=1, max_size=8))
    dialect = draw(DIALECTS)
    if dialect["quoting"] == csv.QUOTE_MINIMAL and dialect["lineterminator"] != "\r\n":
        # Before Python 3.13 the writer quotes no line breaks but its own.
        rows = [[re.sub("[\r\n]", " ", cell) for cell in row] for row in rows]
    content = write_csv([[f"열{column}" for column in range(width)], *rows], **dialect)
    return rows, content.encode(encoding), draw(st.sampled_from(["csv", "tsv"]))


@PROPERTY
@given(csv_files())
def test_what_the_standard_library_writes_is_read_back(
    tmp_path: Path, file: tuple[list[list[str]], bytes, str]
) -> None:
    rows, content, kind = file
    found, _, bad = read(open_table(write(tmp_path, f"a.{kind}", content)))
    assert not bad
    assert [list(row.values()) for row in found] == rows


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from([bytes([byte]) for byte in b'",\n\r\xff\0\tx}'])),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damage(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Replace some bytes at places from 0 (the beginning) to 1 (the end) by another."""
    for place, count, byte in edits:
        start = int(place * len(content))
        content = content[:start] + byte + content[start + count :]
    return content


@PROPERTY
@given(st.lists(st.lists(KOREAN, min_size=2, max_size=2), min_size=1, max_size=8), DIALECTS, EDITS)
def test_every_line_of_a_damaged_csv_is_accounted_for(
    tmp_path: Path, rows: list[list[str]], dialect: dict, edits: list[tuple[float, int, bytes]]
) -> None:
    content = b"id,text\n" + damage(write_csv(rows, **{**dialect, "delimiter": ","}).encode(), edits)
    path = write(tmp_path, "a.csv", content)
    try:
        found, starts, bad = read(open_table(path))
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        blank = {number for number, line in enumerate(file, start=1) if not line.strip("\r\n")}
    seen = set(blank) | {1}
    for start, row in zip(starts, found, strict=True):
        breaks = sum(len(re.findall("\r\n|\r|\n", cell)) for cell in row.values())
        seen |= set(range(start, start + 1 + breaks))
    for start, reason in bad.items():
        last = re.search(r"to line (\d+)", reason)
        seen |= set(range(start, int(last[1]) + 1 if last else start + 1))
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        assert seen >= {number for number, _ in enumerate(file, start=1)}


@PROPERTY
@given(st.lists(ANY_TEXT, min_size=1, max_size=6), EDITS)
def test_every_line_of_a_damaged_jsonl_is_accounted_for(
    tmp_path: Path, texts: list[str], edits: list[tuple[float, int, bytes]]
) -> None:
    content = damage("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(), edits)
    path = write(tmp_path, "a.jsonl", b'{"text": ""}\n' + content)
    try:
        _, lines, bad = read(open_table(path))
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    expected = [number for number, line in enumerate(path.read_bytes().split(b"\n"), start=1) if line.strip()]
    assert sorted([*lines, *bad]) == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
ARRAYS = st.lists(st.dictionaries(st.sampled_from(["text", "label", "b"]), JSON_VALUES), min_size=1, max_size=5)


@PROPERTY
@given(ARRAYS, st.sampled_from([None, 2]), st.integers(1, 9))
def test_json_arrays_are_read_across_chunks(tmp_path: Path, rows: list[dict], indent: int | None, chunk: int) -> None:
    content = json.dumps(rows, ensure_ascii=False, indent=indent)
    path = write(tmp_path, "a.json", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        found = list(json_rows.read_array(tables.inspect_text(path)))
    assert [row.value for row in found] == rows
    starts = [1] * len(rows)
    if indent:
        starts = [number for number, line in enumerate(content.split("\n"), start=1) if re.match(r"  \{", line)]
    assert [row.line for row in found] == starts


@PROPERTY
@given(ARRAYS, EDITS)
def test_a_damaged_json_array_is_read_as_python_reads_it_or_named(
    tmp_path: Path, rows: list[dict], edits: list[tuple[float, int, bytes]]
) -> None:
    content = damage(json.dumps(rows, ensure_ascii=False).encode(), edits)
    path = write(tmp_path, "a.json", b"[" + content[1:])
    try:
        count = count_rows(open_table(path))
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert count == len(json.loads(path.read_bytes().replace(b"\xff", b"x")))


@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx", "saved"])
@PROPERTY
@given(st.floats(0, 1), st.integers(0, 200), st.binary(max_size=8))
def test_a_damaged_binary_file_is_read_or_named(
    tmp_path: Path, name: str, place: float, count: int, inserted: bytes
) -> None:
    path = tmp_path / name
    if not path.exists():
        write_format(path)
    file = next(path.glob("*.arrow")) if path.is_dir() else path
    content = file.read_bytes()
    file.write_bytes(damage(content, [(place, count, inserted)]))
    try:
        count_rows(open_table(path))
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017
    finally:
        file.write_bytes(content)
