"""A corpus: found by its file's name, its files checked and read whatever their form."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Value

from pipeline.data import corpus
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.data.corpus import Bilingual, CorpusCard, CorpusSpec, SourceFile
from pipeline.runtime.errors import UserError
from pipeline.tasks import SingleLabelClassification

ROWS = [("오늘 너무 행복하다", "joy"), ("시험에 떨어졌다", "sadness"), ("왜 이렇게 늦어", "anger")]


class Emotions(CorpusSpec):
    """Three classes by name, in columns of other names."""

    summary = "toys"
    task = SingleLabelClassification(("anger", "joy", "sadness"), text_columns=("sentence",))
    files = {"train": SourceFile("train.csv"), "test": SourceFile("test.csv")}
    card = CorpusCard(*[Bilingual("감정", "emotions")] * 4)

    def read_file(self, path: Path) -> Iterator[Dataset]:
        with open(path, encoding="utf-8", newline="") as file:
            rows = ({"sentence": row["content"], "label": row["emotion"]} for row in csv.DictReader(file))
            yield from self.blocks(path, rows)


def write(root: Path, rows: list[tuple[str, str]] = ROWS) -> Path:
    folder = root / Emotions().name
    folder.mkdir(exist_ok=True)
    for name in ("train.csv", "test.csv"):
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("emotion", "content"), *((label, text) for text, label in rows)])
    return folder


def test_every_file_here_is_a_corpus_by_its_name() -> None:
    assert set(corpus_names()) >= {"nsmc", "nsmc_layout", "quickstart"}
    for name in corpus_names():
        spec = get_corpus(name)
        assert spec.name == name
        assert set(spec.files) == {"train", "test"}
        assert spec.summary


def test_a_corpus_that_is_none(tmp_path: Path) -> None:
    """Its name may come from the file of a model, so that it must not import what it likes."""
    for name in ("imdb", "..config", "__init__", ""):
        with pytest.raises(UserError, match=r"expected one of nsmc, nsmc_layout, quickstart"):
            get_corpus(name)


def test_columns_and_classes_are_the_tasks(tmp_path: Path) -> None:
    write(tmp_path)
    data = Emotions().read(Emotions().fetch(tmp_path, tmp_path))
    assert data["train"].column_names == ["sentence", "label"]
    assert data["train"].features["sentence"] == Value("string")
    assert data["train"].features["label"] == ClassLabel(names=["anger", "joy", "sadness"])
    assert list(data["train"]) == [
        {"sentence": "오늘 너무 행복하다", "label": 1},
        {"sentence": "시험에 떨어졌다", "label": 2},
        {"sentence": "왜 이렇게 늦어", "label": 0},
    ]


def test_rows_come_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK_SIZE", 4)
    write(tmp_path, ROWS * 3)
    blocks = Emotions().read_blocks(Emotions().fetch(tmp_path, tmp_path))["test"]
    assert [block["label"][:] for block in blocks] == [[1, 2, 0, 1], [2, 0, 1, 2], [0]]


def test_an_unknown_label_is_named_with_its_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK_SIZE", 2)
    folder = write(tmp_path, [*ROWS, ("그냥 그렇다", "neutral")])
    with pytest.raises(UserError) as caught:
        Emotions().read(Emotions().fetch(tmp_path, tmp_path))
    assert f"{folder / 'train.csv'}, example 4: " in str(caught.value)
    assert "neutral" in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_known_digest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    folder = write(tmp_path)
    digest = hashlib.sha256((folder / "train.csv").read_bytes()).hexdigest()  # of both: they are equal
    monkeypatch.setattr(
        Emotions, "files", {name: SourceFile(f"{name}.csv", sha256=digest) for name in ("train", "test")}
    )
    assert Emotions().fetch(tmp_path, tmp_path).sha256 == {"train": digest, "test": digest}
    (folder / f"{split}.csv").write_text("emotion,content\njoy,다른 글\n")
    with pytest.raises(UserError, match=rf"{split}.csv is not the official emotions file"):
        Emotions().fetch(tmp_path, tmp_path)


def test_a_file_that_the_user_must_bring(tmp_path: Path) -> None:
    (write(tmp_path) / "test.csv").unlink()
    with pytest.raises(UserError, match=r"test.csv is missing. Expected your own examples.*--corpus_root_dir"):
        Emotions().fetch(tmp_path, tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / Emotions().name / "train.csv").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train.csv is not a file"):
        Emotions().fetch(tmp_path, tmp_path)
