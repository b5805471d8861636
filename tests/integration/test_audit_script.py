"""scripts/audit.py as a user runs it: planted mistakes, the quickstart's corpus, the official NSMC."""

import csv
import json
from pathlib import Path

import pytest
from support import run, toy_reviews

pytest.importorskip("rensa")
pytest.importorskip("cleanlab")

LONG = "처음부터 끝까지 한순간도 눈을 떼지 못하고 봤던 정말로 대단한 작품이었다"


def write_csv(path: Path, rows: list[tuple[str, object]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "opinion"), *rows])
    return path


def read(folder: Path) -> dict:
    return json.loads((folder / "audit.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Own files with mistakes whose places are known."""
    folder = tmp_path_factory.mktemp("planted")
    rows = [(text, "good" if label else "bad") for text, label in toy_reviews(400)]
    train = rows[:300]
    train[4] = (train[4][0], "bad" if train[4][1] == "good" else "good")  # a label that is wrong
    train += [(LONG, "good"), (LONG + ".", "good"), (LONG, "bad"), ("", "bad"), ("좋다&quot;", "good")]
    test = [*rows[300:], train[0], (LONG + "요", "good"), (LONG, "good")]
    write_csv(folder / "train.csv", train)
    write_csv(folder / "test.csv", test)
    return folder


def test_planted_mistakes_are_found(planted: Path, quickstart: tuple[Path, Path]) -> None:
    files = ("--train_file", "train.csv", "--test_file", "test.csv", "--text_column", "review")
    model = ("--model", str(quickstart[1]), "--max_length", "12")
    result = run("audit.py", *files, "--label_column", "opinion", *model, cwd=planted)
    assert result.returncode == 0, result.stderr[-3000:]
    folder = planted / "outputs" / "audit-train"
    found = read(folder)
    train = found["within"]["train"]
    assert (train["num_examples"], train["num_distinct"], train["num_distinct_normalized"]) == (305, 304, 303)
    assert train["repeated"] == [303]
    (pair,) = found["between"]
    assert pair["exact"] == [101, 103]
    assert 102 in pair["near"]  # as are toys that differ in their number alone
    assert (pair["num_exact"], pair["num_other_label"], pair["num_looked_up"]) == (2, 1, 1)
    assert found["contradictions"]["train"]["numbers"] == [301, 303]
    assert found["odd"]["empty"]["numbers"] == {"train": [304], "test": []}
    assert found["odd"]["markup"]["numbers"] == {"train": [305], "test": []}
    assert found["tokens"]["max_length"] == 12
    assert found["tokens"]["splits"]["train"]["num_cut"] > 0
    suspects = found["label_errors"]["splits"]["train"]["suspects"]
    assert 5 in [suspect["number"] for suspect in suspects[:5]]
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert LONG in page
    assert "test examples whose text stands in train" in result.stdout
    assert str(Path("outputs", "audit-train", "audit.html")) in result.stdout


def test_without_a_tokenizer_lengths_are_in_letters(planted: Path, tmp_path: Path) -> None:
    train = ("--train_file", str(planted / "train.csv"), "--label_column", "opinion")
    words = ("audit.py", *train, "--no_label_errors", "--output_dir", "out")
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    found = read(tmp_path / "out")
    assert found["tokens"] is None
    assert "beomi/kcbert-base" in found["no_tokens"]
    assert found["letters"]["splits"]["train"]["max"] > 20
    assert found["label_errors"] is None
    assert set(found["held_out"]) == {"validation", "test"}
    assert "lengths in tokens are not known" in result.stdout

    result = run(*words, "--model", "beomi/kcbert-base", cwd=tmp_path)
    assert result.returncode == 2  # it was asked for
    assert "kcbert-base is not in the Hub's cache" in result.stderr


def test_the_quickstart(tmp_path: Path) -> None:
    result = run("audit.py", "--recipe", "quickstart", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    found = read(tmp_path / "outputs" / "audit-quickstart")
    assert found["data"]["num_examples"] == {"train": 4000, "test": 1000}
    assert found["label_errors"]["splits"]["test"]["accuracy"] > 0.85
    again = run("audit.py", "--recipe", "quickstart", "--no_label_errors", cwd=tmp_path)
    assert again.returncode == 0, again.stderr[-3000:]  # of the same data: replaced


def test_mistakes_are_told_without_a_traceback(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audit.json").write_text("mine", encoding="utf-8")
    train = ("--train_file", str(planted / "train.csv"))
    for words, message in (
        ((*train, "--output_dir", "out"), "which no audit wrote"),
        (("--test_file", str(planted / "test.csv")), "without --train_file"),
        ((*train, "--nothing", "1"), "unknown option --nothing"),
        ((*train, "--model", str(planted)), "config.json"),
    ):
        result = run("audit.py", *words, cwd=tmp_path)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert (tmp_path / "out" / "audit.json").read_text(encoding="utf-8") == "mine"


def test_help_shows_the_options(tmp_path: Path) -> None:
    result = run("audit.py", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert all(
        option in result.stdout for option in ("--no_label_errors", "--overwrite", "--train_file", "--output_dir")
    )


@pytest.mark.slow
def test_a_run_judges_what_it_did_not_train_on(tmp_path: Path) -> None:
    result = run("train.py", "--recipe", "quickstart", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    result = run("audit.py", "--recipe", "quickstart", "--model", "outputs/quickstart", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    found = read(tmp_path / "outputs" / "audit-quickstart")["label_errors"]
    assert found["run"] == "quickstart"
    assert found["judged_by"] == {"train": "both", "test": "run"}
    results = json.loads((tmp_path / "outputs" / "quickstart" / "results.json").read_text(encoding="utf-8"))
    assert found["splits"]["test"]["accuracy"] == pytest.approx(
        results["test"]["accuracy"], abs=0.002
    )  # but for texts without a letter


@pytest.mark.slow
def test_the_official_nsmc(official: Path, kcbert: Path, tmp_path: Path) -> None:
    """Counted otherwise before: see docs/audit.md."""
    words = ("--corpus_name", "nsmc", "--corpus_root_dir", str(official), "--model", str(kcbert))
    result = run("audit.py", *words, "--no_label_errors", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    found = read(tmp_path / "outputs" / "audit-nsmc")
    distinct = {split: about["num_distinct"] for split, about in found["within"].items()}
    assert distinct == {"train": 146_183, "test": 49_158}
    (pair,) = found["between"]
    assert (pair["num_exact"], pair["num_other_label"]) == (1_571, 493)
    assert found["contradictions"]["train"]["num_texts"] == 158
    assert found["odd"]["empty"]["num_examples"] == {"train": 5, "test": 3}
    assert found["labels"]["splits"]["train"]["counts"] == {"부정": 75_173, "긍정": 74_827}
    assert found["tokens"]["splits"]["train"]["num_cut"] <= 3
    page = (tmp_path / "outputs" / "audit-nsmc" / "audit.html").read_text(encoding="utf-8")
    assert all(number in page for number in ("146,183", "49,158", "1,571", "158", "493"))
