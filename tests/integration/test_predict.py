"""scripts/predict.py: texts from the command line, a file, a pipe or a terminal; labels in order, mistakes named."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support import ROOT, TASK, run
from support.models import save_random_classifier

from pipeline.inference.classifier import load_classifier

LABELS = list(TASK.class_names)


@pytest.fixture(scope="module")
def saved(quickstart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_classifier(tmp_path_factory.mktemp("saved"), quickstart[1])


def command(saved: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "predict.py"), "--model", str(saved), *words]


def test_a_file_is_labelled_in_order_and_bad_rows_are_named(saved: Path, tmp_path: Path) -> None:
    texts = [f"영화 {'정말 ' * (number % 20)}재밌다 {number}" for number in range(100)]
    rows = [f'{{"review": "{text}"}}' for text in texts]
    rows[50], rows[70] = "broken", "{}"
    (tmp_path / "in.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ("predict.py", "--model", str(saved), "--input", "in.jsonl", "--text_column", "review")
    result = run(*words, "--output", "out.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    out = pd.read_csv(tmp_path / "out.csv")
    kept = [number for number in range(100) if number not in (50, 70)]
    assert out.columns.tolist() == ["row", "text", "label", "probability", *LABELS, "truncated"]
    assert out["row"].tolist() == [number + 1 for number in kept]
    assert out["text"].tolist() == [texts[number] for number in kept]
    predictions = list(load_classifier(str(saved)).predict(out["text"]))
    assert out["label"].tolist() == [prediction.label for prediction in predictions]
    assert out["truncated"].tolist() == [prediction.truncated for prediction in predictions]
    assert set(out["truncated"]) == {True, False}
    assert out["probability"].tolist() == pytest.approx([prediction.probability for prediction in predictions])
    for name in LABELS:
        assert out[name].tolist() == pytest.approx([prediction.probabilities[name] for prediction in predictions])
    messages = [line.split(" ", 2)[2] for line in result.stderr.splitlines()]  # without time and level
    expected = (
        "row 51 is not JSON (",
        "row 71 has no `review`",
        "98 texts labelled: out.csv",
        "2 row(s) were left out",
    )
    assert len(messages) == len(expected)
    assert all(message.startswith(start) for message, start in zip(messages, expected, strict=True))


def test_texts_of_the_command_line(saved: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        command(saved, "재밌다", b"\xff bytes", "별로다"), capture_output=True, cwd=tmp_path, check=True
    )
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [line[2] for line in lines] == ["재밌다", "별로다"]
    assert b"row 2 has '\\udcff' at position 1" in result.stderr


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
        assert process.stderr.read() == b""
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


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "nobody/nothing", "글"], "could not be downloaded"),
        (["--model", "{saved}", "--input", "nowhere.txt"], "nowhere.txt: there is no such file"),
        (["--model", "{saved}", "--input", "a.doc"], "a.doc: the name ends in .doc"),
        (["--model", "{saved}", "--output", "a.doc", "글"], "a.doc: the name ends in .doc"),
    ],
)
def test_mistakes_show_no_traceback(saved: Path, tmp_path: Path, flags: list[str], expected: str) -> None:
    result = run("predict.py", *(flag.format(saved=saved) for flag in flags), cwd=tmp_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
