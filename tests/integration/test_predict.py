"""scripts/predict.py: texts from the command line, a file, a pipe or a terminal; labels in order, mistakes named."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from support import ON_CPU, ROOT, TASK, run
from support.models import save_random_classifier

from pipeline.inference.classifier import load_classifier
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model
from pipeline.tasks import MultiLabelClassification, create_task

LABELS = list(TASK.class_names)


@pytest.fixture(scope="module")
def saved(quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_classifier(tmp_path_factory.mktemp("saved"), quickstart[1])


def command(saved: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "predict.py"), "--model", str(saved), *words]


def test_a_file_is_labelled_in_order_and_bad_rows_are_named(saved: Path, tmp_path: Path) -> None:
    texts = [f"영화 {'정말 ' * (number % 20)}재밌다 {number}" for number in range(1100)]  # in three turns of the model
    rows = [json.dumps({"리뷰": text, "label": number}) for number, text in enumerate(texts)]
    rows[50], rows[70] = "broken", '{"리뷰": null}'
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ("predict.py", "--model", str(saved), "--input", "in.jsonl")
    result = run(*words, "--output", "out.csv", "--encoding", "utf-8-sig", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    out = pd.read_csv(tmp_path / "out.csv")
    assert out.columns.tolist() == ["리뷰", "label", "label_predicted", "probability", *LABELS, "truncated"]
    assert out["label_predicted"].isna().tolist() == [number == 70 for number in range(1100) if number != 50]
    out = out[out["label_predicted"].notna()]
    assert out["label"].tolist() == [number for number in range(1100) if number not in (50, 70)]
    assert out["리뷰"].tolist() == [texts[int(number)] for number in out["label"]]
    predictions = list(load_classifier(str(saved)).predict(out["리뷰"]))
    assert out["label_predicted"].tolist() == [prediction.label for prediction in predictions]
    assert set(out["label_predicted"]) == set(LABELS)
    assert out["truncated"].tolist() == [prediction.truncated for prediction in predictions]
    assert set(out["truncated"]) == {True, False}
    assert out["probability"].tolist() == pytest.approx([prediction.probability for prediction in predictions])
    for name in LABELS:
        assert out[name].tolist() == pytest.approx([prediction.probabilities[name] for prediction in predictions])
    messages = [
        line.split(" ", 2)[2] for line in result.stderr.splitlines() if line[:1].isdigit()
    ]  # without time, level
    assert messages == [
        "in.jsonl: labelling `리뷰`",
        "in.jsonl has a column `label`: the prediction's is called `label_predicted`",
        "2 row(s) could not be labelled:",
        "1,098 text(s) labelled: out.csv",
    ]
    assert "\n  in.jsonl, line 51: is not JSON (" in result.stderr
    assert "\n  in.jsonl, line 71: has no text in `리뷰`\n" in result.stderr


def test_a_file_of_korean_excel_and_what_stands_already(saved: Path, tmp_path: Path) -> None:
    texts = ["재밌다", "별로다"]
    table = pd.DataFrame({"번호": [7, 8], "내용": texts})
    table.to_csv(tmp_path / "in.csv", index=False, encoding="cp949")
    (tmp_path / "out.xlsx").write_text("mine")
    words = ("predict.py", "--model", str(saved), "--input", "in.csv", "--output")
    for output, reason in (
        (("out.xlsx",), "--output out.xlsx exists. Name another file, or replace it with --overwrite."),
        (("in.csv", "--overwrite"), "--output in.csv is the input itself."),
    ):
        result = run(*words, *output, cwd=tmp_path)
        assert result.returncode == 2
        assert reason in result.stderr
    result = run(*words, "out.xlsx", "--overwrite", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "in.csv: read as CP949" in result.stderr
    header, *rows = openpyxl.load_workbook(tmp_path / "out.xlsx").active.iter_rows(values_only=True)
    assert header == ("번호", "내용", "label", "probability", *LABELS, "truncated")
    assert [row[1] for row in rows] == texts
    assert [row[2] for row in rows] == [one.label for one in load_classifier(str(saved)).predict(texts)]


def test_nothing_to_label_is_exit_code_1(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": null}\n' * 30)
    words = ("predict.py", "--model", str(saved), "--input", "in.jsonl", "--output", "out.csv")
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 1
    assert "30 row(s) could not be labelled:" in result.stderr
    assert "line 10: has no text in `text`\n  … and 20 more" in result.stderr
    assert "nothing was labelled" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_processes_share_the_rows_and_write_once(saved: Path, tmp_path: Path, two_processes: tuple[str, ...]) -> None:
    texts = [f"영화 {'정말 ' * (number % 20)}재밌다 {number}" if number % 7 else None for number in range(1001)]
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "in.parquet")
    words = ("predict.py", "--model", str(saved))
    result = run(*words, "--input", "in.parquet", "--output", "out.csv", cwd=tmp_path, launcher=two_processes, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count("858 text(s) labelled") == result.stderr.count("143 row(s) could not") == 1
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["text"].fillna("").tolist() == [text or "" for text in texts]
    predictions = load_classifier(str(saved)).predict(filter(None, texts))
    assert out["label"].dropna().tolist() == [prediction.label for prediction in predictions]
    assert out["label"].isna().tolist() == [text is None for text in texts]
    result = run(*words, "재밌다", "별로다", cwd=tmp_path, launcher=two_processes, **ON_CPU)
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ["재밌다", "별로다"]


def save_with(saved: Path, folder: Path, **changes: object) -> Path:
    """The model with another config."""
    shutil.copytree(saved, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


def test_pairs_of_a_file_of_the_command_line_and_of_stdin(saved: Path, tmp_path: Path) -> None:
    model = save_with(saved, tmp_path / "pairs", classifier={"text_columns": ["전제", "가설"]})
    (tmp_path / "in.tsv").write_text("가설\t전제\ttext\n나\t가\t다\n", encoding="utf-8")
    (prediction,) = load_classifier(str(model)).predict([("가", "나")])
    expected = f"{prediction.label}\t{prediction.probability:.4f}\t가\t나\n"
    words = ("predict.py", "--model", str(model))
    for more in (("--input", "in.tsv"), ("가", "나")):
        result = run(*words, *more, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, expected), result.stderr[-3000:]
    lines = "가\t나\n가\n".encode()
    result = subprocess.run(command(model), input=lines, capture_output=True, cwd=tmp_path, check=True)
    assert result.stdout.decode() == expected
    assert "stdin, line 2: has 1 text(s), expected 2 by tabs" in result.stderr.decode()


def test_a_regression_gives_numbers(saved: Path, tmp_path: Path) -> None:
    model = tmp_path / "regression"
    task = create_task("regression", ["점수"])
    load_model(fetch_model(str(saved)), task, new_head=True).save_pretrained(model)
    for file in saved.glob("*token*"):
        shutil.copy(file, model)
    (tmp_path / "in.txt").write_text("재밌다\n별로다\n", encoding="utf-8")
    result = run("predict.py", "--model", str(model), "--input", "in.txt", "--output", "out.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    out = pd.read_csv(tmp_path / "out.csv")
    assert out.columns.tolist() == ["text", "label", "truncated"]
    expected = [one.probabilities["점수"] for one in load_classifier(str(model)).predict(["재밌다", "별로다"])]
    assert out["label"].tolist() == pytest.approx(expected)


def test_texts_of_the_command_line(saved: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        command(saved, "재밌다", b"\xff bytes", "별로다"), capture_output=True, cwd=tmp_path, check=True
    )
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [line[2] for line in lines] == ["재밌다", "별로다"]
    assert b"texts, line 2: byte 0xff is not UTF-8" in result.stderr


def test_standard_input_to_standard_output(saved: Path, tmp_path: Path) -> None:
    text = "재밌다\n\n별로다\n"
    result = subprocess.run(command(saved), input=text.encode(), capture_output=True, cwd=tmp_path, check=True)
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [line[2] for line in lines] == ["재밌다", "", "별로다"]
    predictions = load_classifier(str(saved)).predict(["재밌다", "", "별로다"])
    assert [line[:2] for line in lines] == [[one.label, f"{one.probability:.4f}"] for one in predictions]


def test_a_closed_pipe_is_no_error(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("재밌다\n" * 10_000, encoding="utf-8")
    words = command(saved, "--input", "in.txt")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read().count(b"\n") == 1  # which column is read
    assert process.returncode == 0


def test_on_a_terminal_it_asks(saved: Path, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(command(saved), stdin=terminal, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        os.write(controller, ("재밌다\n" + "정말 재밌다 " * 10 + "\n\n").encode())
        output = process.communicate(timeout=120)[0].decode()
    os.close(controller)
    os.close(terminal)
    assert process.returncode == 0
    short, long = load_classifier(str(saved)).predict(["재밌다", "정말 재밌다 " * 10])
    assert output.splitlines() == [
        "문장을 입력하세요. 빈 줄을 입력하면 끝납니다.",
        f"> {short.label}  {short.probability:.4f}",
        f"> {long.label}  {long.probability:.4f}  (앞의 16토큰만 읽었습니다)",
        "> ",
    ]


def test_on_a_terminal_no_label_is_said(saved: Path, tmp_path: Path) -> None:
    model = save_random_classifier(
        tmp_path / "several",
        saved,
        initializer_range=0.0,
        task=MultiLabelClassification(("가", "나"), thresholds=(0.9, 0.9)),
    )
    controller, terminal = pty.openpty()
    with subprocess.Popen(command(model), stdin=terminal, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        os.write(controller, "재밌다\n\n".encode())
        output = process.communicate(timeout=120)[0].decode()
    os.close(controller)
    os.close(terminal)
    assert output.splitlines()[1].startswith("> (레이블 없음)  0.")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "nobody/nothing", "글"], "could not be downloaded"),
        (["--model", "{saved}", "--input", "nowhere.txt"], "nowhere.txt: there is no such file"),
        (["--model", "{saved}", "--input", "a.doc"], "a.doc: the name ends in .doc"),
        (["--model", "{saved}", "--output", "a.doc", "글"], "a.doc: the name ends in .doc"),
        (["--model", "{saved}", "--input", "a.csv"], "no column has a name by which the text is known. Name it with"),
        (["--model", "{saved}", "--input", "a.csv", "--text_column", "x"], "--text_column x: a.csv has no such column"),
        (["--model", "{saved}", "--input", "a.csv", "--text_column", "p", "q"], "the model reads 1, as text"),
        (["--model", "{saved}", "--overwrite", "글"], "--overwrite is of a file: give --output"),
        (["--model", "{saved}", "--split", "test", "글"], "--split is of a file: give --input"),
        (["--model", "{saved}", "--output", "a.xlsx", "--encoding", "utf-8-sig", "글"], "is for csv, tsv and txt"),
    ],
)
def test_mistakes_show_no_traceback(saved: Path, tmp_path: Path, flags: list[str], expected: str) -> None:
    (tmp_path / "a.csv").write_text("p,q\n1,2\n")
    (tmp_path / "a.doc").write_text("글")
    result = run("predict.py", *(flag.format(saved=saved) for flag in flags), cwd=tmp_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
