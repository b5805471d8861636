"""Texts in from any file, labels out to any file; a row that cannot be read costs that row only."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, run

from pipeline import textio
from pipeline.corpus import LABELS
from pipeline.errors import UserError
from pipeline.fetch import fetch_model
from pipeline.model import load_model, load_tokenizer
from pipeline.textio import FORMATS, open_writer, read_rows

TEXTS = ["재밌다", "", 'a "인용", 쉼표', "끝"]


def texts_and_problems(path: Path, column: str = "text") -> list[str]:
    return [row.text if row.problem is None else f"{row.number}: {row.problem}" for row in read_rows(path, column)]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"in{kind}"
    table = pd.DataFrame({"id": range(4), "text": TEXTS})
    if kind == ".txt":
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    elif kind == ".csv":
        table.to_csv(path, index=False)
    elif kind == ".tsv":
        path.write_text("id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
    elif kind == ".jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        table.to_parquet(path)
    assert texts_and_problems(path) == TEXTS


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != ".txt"])
def test_every_format_is_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new folder" / f"out{kind}"
    rows = [{"text": text, "label": "긍정", "probability": 0.5} for text in ["재밌다", "한\n줄", 'a "b", c']]
    with open_writer(path, list(rows[0])) as write:
        for row in rows:
            write(row)
    if kind == ".parquet":
        assert pq.read_table(path).to_pylist() == rows
    elif kind == ".jsonl":
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    else:
        assert pd.read_csv(path, sep="\t" if kind == ".tsv" else ",").to_dict("records") == rows
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_many_rows_go_through_parquet_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    with open_writer(path, ["text"]) as write:
        for number in range(10_000):
            write({"text": str(number)})
    assert pq.ParquetFile(path).num_row_groups == 3
    assert texts_and_problems(path) == [str(number) for number in range(10_000)]


def test_what_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with open_writer(tmp_path / "out.csv", ["text"]) as write:
            write({"text": "a"})
            raise KeyError("something else went wrong")

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "하나\n".encode() + b"\xff\n" + "둘".encode(), ["하나", "2: is not UTF-8", "둘"]),
        ("a.txt", b"\xef\xbb\xbf" + "하나\r\n둘\r\n".encode(), ["하나", "둘"]),
        ("a.csv", "id,text\n1,하나\n2\n3,둘,셋\n4,넷\n".encode(), ["하나", "3: has 1 col", "4: has 3 col", "넷"]),
        ("a.csv", b"text\n\xff\n" + '"두\n줄"\n'.encode(), ["2: is not UTF-8", "두\n줄"]),
        ("a.csv", 'id,text\n1,"하나\n2,둘\n3,"셋 ""3"""\n4,"넷" 넷\n5,"다섯\n6,여섯\n'.encode(),
         ["2: is not valid CSV", "둘", '셋 "3"', "5: is not valid CSV", "6: is not valid CSV", "여섯"]),
        ("a.csv", "text\n좋다\n".encode("cp949"), ["2: is not UTF-8 (CP949, perhaps"]),
        ("a.jsonl", b'{"text": "\\ud800"}\n{"text": "\\ud83d\\udc4d"}', ["1: has '\\ud800' at letter 1", "👍"]),
        ("a.tsv", 'id\ttext\n1\t"하나\n2\t둘\n'.encode(), ['"하나', "둘"]),
        ("a.jsonl", '{"text": "하나"}\n{\n{"a": 1}\n[1]\n{"text": 3}\n{"text": null}\n{"text": "둘"}'.encode(),
         ["하나", "2: is not JSON", "3: has no `text`", "4: has no `text`", "5: has int in `text`", "6: has nothing",
          "둘"]),
    ],
)  # fmt: skip
def test_malformed_rows_are_named_and_passed_over(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = texts_and_problems(path)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.startswith(other)


def test_an_open_quotation_mark_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textio, "CSV_FIELD", 100)
    (tmp_path / "a.csv").write_text('text\n"열린 따옴표\n' + "줄\n" * 1000, encoding="utf-8")
    found = texts_and_problems(tmp_path / "a.csv")
    assert found[0].startswith("2: is not valid CSV (field larger than field limit")
    assert found[1:] == ["줄"] * 1000


def test_a_line_of_txt_is_one_text(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.txt", []) as write:
        write({"text": "한\n줄\t뿐", "label": "긍정", "probability": 0.5})
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "긍정\t0.5000\t한 줄 뿐\n"


def test_missing_values_in_parquet_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["하나", None]}), tmp_path / "a.parquet")
    assert texts_and_problems(tmp_path / "a.parquet") == ["하나", "2: has nothing in `text`, not text"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.doc", b"", ".doc"),
        ("missing.txt", None, "no such file"),
        ("a.csv", b"id,review\n1,a\n", "no column `text`. Its columns are: id, review"),
        ("a.csv", "id,리뷰\n1,좋다\n".encode("cp949"), "the first line is not UTF-8 (CP949, perhaps"),
        ("a.parquet", b"not parquet", "is not a Parquet file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        texts_and_problems(tmp_path / name)
    assert expected in str(caught.value)


# The script.


@pytest.fixture(scope="module")
def saved(quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    files = fetch_model(str(quickstart[1]), weights=False)
    torch.manual_seed(0)
    load_model(files, LABELS, "initializer_range=0.5").save_pretrained(folder)
    load_tokenizer(files, 16).save_pretrained(folder)
    return folder


def test_a_file_goes_through_in_order_and_bad_rows_are_said(saved: Path, tmp_path: Path) -> None:
    rows = [f'{{"review": "영화 {number}"}}' for number in range(100)]
    rows[50] = "broken"
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ("predict.py", "--model", str(saved), "--input", "in.jsonl", "--text_column", "review")
    result = run(*words, "--output", "out.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["row"].tolist() == [number for number in range(1, 101) if number != 51]
    assert out["text"].tolist() == [f"영화 {number}" for number in range(100) if number != 50]
    assert set(out["label"]) <= set(LABELS)
    assert (out[LABELS].sum(axis=1) - 1).abs().max() < 1e-6
    assert "row 51 is not JSON" in result.stderr
    assert "1 row(s) were left out" in result.stderr
    assert "99 texts labelled: out.csv" in result.stderr
    assert "Loading weights" not in result.stderr


def test_standard_input_to_standard_output(saved: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "predict.py"), "--model", str(saved)],
        input="재밌다\n\n별로다\n".encode(),
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [line[2] for line in lines] == ["재밌다", "", "별로다"]
    assert all(line[0] in LABELS and 0.5 <= float(line[1]) <= 1 for line in lines)


def test_a_reader_that_has_enough_is_no_error(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("재밌다\n" * 10_000, encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts" / "predict.py"), "--model", str(saved), "--input", "in.txt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_on_a_terminal_it_asks(saved: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "scripts" / "predict.py"), "--model", str(saved)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        os.write(ours, "재밌다\n\n".encode())
        told = process.communicate(timeout=120)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert "문장을 입력하세요" in told
    assert any(label in told for label in LABELS)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "nobody/nothing", "글"], "could not be downloaded"),
        (["--model", "{saved}", "--input", "nowhere.txt"], "no such file"),
        (["--model", "{saved}", "--input", "a.doc"], ".doc"),
    ],
)
def test_mistakes_of_the_script_show_no_traceback(
    saved: Path, tmp_path: Path, flags: list[str], expected: str
) -> None:
    result = run("predict.py", *(flag.format(saved=saved) for flag in flags), cwd=tmp_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
