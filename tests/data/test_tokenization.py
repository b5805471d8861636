"""The features: right ids, kept once, found again, whoever asks and whoever was killed."""

import json
import logging
import multiprocessing
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from support import OWN, TASK
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.data.corpora import get_corpus
from pipeline.data.corpora.nsmc_layout import NsmcLayout
from pipeline.data.corpus import CorpusFiles
from pipeline.data.tokenization import load_features, log_examples, tokenize
from pipeline.runtime.errors import UserError

Blocks = dict[str, Iterator[Dataset]]


class Corpus(NsmcLayout):
    """The toy, read by a function of the test's own."""

    name = "nsmc_layout"

    def __init__(self, read: Callable[[], Blocks] | None = None) -> None:
        self.read_own = read

    def read_blocks(self, files: CorpusFiles) -> Blocks:
        return self.read_own() if self.read_own else super().read_blocks(files)


def never() -> Blocks:
    pytest.fail("the corpus was read again")


def rows_of(texts: list[str]) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": [0] * len(texts)}, features=OWN.features())


@pytest.fixture
def tokenizer(quickstart: tuple[Path, Path]) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(quickstart[1])


Load = Callable[..., tuple[DatasetDict, Path]]


@pytest.fixture
def load(toy_corpus: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Load:
    """`load_features` of the toy corpus into a cache of the test's own."""
    given = {"tokenizer": tokenizer, "max_length": 16, "cache_dir": tmp_path / "cache"}

    def load(read: Callable[[], Blocks] | None = None, **changes: object) -> tuple[DatasetDict, Path]:
        corpus = Corpus(read)
        return load_features(corpus, corpus.fetch(toy_corpus, tmp_path), **{**given, **changes})

    return load


def test_rows(load: Load, tokenizer: PreTrainedTokenizerBase) -> None:
    features, folder = load()
    assert features.num_rows == {"train": 150, "test": 50}
    assert features["train"].column_names == ["text", "label", "input_ids"]
    row = features["train"][8]
    assert row["input_ids"] == tokenizer(row["text"], truncation=True, max_length=16)["input_ids"]
    assert max(map(len, features["train"]["input_ids"])) <= 16
    assert min(map(len, features["train"]["input_ids"])) < 16  # not padded
    assert load_from_disk(folder)["train"][8] == row  # another experiment needs nothing of ours


@pytest.mark.parametrize("length", [3, 7, 128])
def test_ids_are_those_of_the_tokenizer_called_as_usual(tokenizer: PreTrainedTokenizerBase, length: int) -> None:
    texts = [
        "",
        " ",
        "[SEP] 안 [MASK]",
        "가" * 300,
        "x" * 200,
        "ㅋㅋㅋ 재밌다!!",
        "é e\u0301 Ａ",
        "👍🏽",
        "\u200b",
        "영화 " * 200,
    ]
    rows = rows_of(texts * 500)
    (ours,) = tokenize([rows], tokenizer, length)
    usual = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    assert ours["input_ids"][:] == usual * 500
    assert ours["text"][:] == texts * 500


def test_the_tokenizer_is_left_as_it_was(tokenizer: PreTrainedTokenizerBase) -> None:
    before = tokenizer.backend_tokenizer.to_str()
    list(tokenize([rows_of(["재밌다"])], tokenizer, 5))
    assert tokenizer.backend_tokenizer.to_str() == before


def test_memory_holds_a_block_and_not_the_corpus(load: Load) -> None:
    """However many blocks there are, at most the one at work and the one before it are alive."""
    blocks: list[weakref.ref] = []
    most = 0

    def block(number: int) -> Dataset:
        nonlocal most
        rows = rows_of([f"리뷰 {number}"] * 10)
        blocks.append(weakref.ref(rows))
        most = max(most, sum(reference() is not None for reference in blocks))
        return rows

    features, _ = load(read=lambda: {split: map(block, range(20)) for split in ("train", "test")})
    assert features.num_rows == {"train": 200, "test": 200}
    assert features["test"][-1]["text"] == "리뷰 19"
    assert most <= 2


def test_a_corpus_that_fails_half_way_leaves_nothing(load: Load, tmp_path: Path) -> None:
    def read():
        yield from (rows_of(["가"]) for _ in range(3))
        raise OSError("the disk is gone")

    with pytest.raises(UserError, match="the disk is gone"):
        load(read=lambda: {"train": read(), "test": read()})
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    assert not datasets.are_progress_bars_disabled()


def test_truncation_keeps_both_ends(load: Load, tokenizer: PreTrainedTokenizerBase) -> None:
    ids = max(load(max_length=5)[0]["train"]["input_ids"], key=len)
    assert (len(ids), ids[0], ids[-1]) == (5, tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_the_second_time_nothing_is_read(load: Load) -> None:
    first, folder = load()
    second, same = load(read=never)
    assert (second["train"][:], same) == (first["train"][:], folder)


def test_overwrite_builds_it_again(load: Load) -> None:
    _, folder = load()
    before = (folder / "features.json").stat().st_mtime_ns
    assert load(overwrite_cache=True)[1] == folder
    assert (folder / "features.json").stat().st_mtime_ns > before


def test_key_follows_content_and_nothing_else(load: Load, quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    folder = load()[1]
    moved = shutil.copytree(quickstart[1], tmp_path / "elsewhere")
    tokenizer = AutoTokenizer.from_pretrained(moved)
    tokenizer("한 번", truncation=True, max_length=4, padding=True)  # leaves truncation and padding in its state
    assert load(read=never, tokenizer=tokenizer)[1] == folder
    assert load(max_length=15)[1] != folder
    content = json.loads((moved / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[100:102]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (moved / "tokenizer.json").write_text(json.dumps(content))
    assert load(tokenizer=AutoTokenizer.from_pretrained(moved))[1] != folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_key_follows_the_corpus(load: Load, toy_corpus: Path, split: str) -> None:
    folder = load()[1]
    path = toy_corpus / "nsmc" / f"ratings_{split}.txt"
    path.write_text(path.read_text().replace("재밌다", "재밋다"))
    assert load()[1] != folder


def test_sides_of_truncation_do_not_share_a_folder(load: Load, quickstart: tuple[Path, Path]) -> None:
    """What is cut off decides the ids as much as what is read."""
    (left_ids, left), (right_ids, right) = (
        load(max_length=5, tokenizer=AutoTokenizer.from_pretrained(quickstart[1], truncation_side=side))
        for side in ("left", "right")
    )
    assert left != right
    text, ids = max(
        zip(right_ids["train"]["text"], right_ids["train"]["input_ids"], strict=True), key=lambda row: len(row[0])
    )
    complete = AutoTokenizer.from_pretrained(quickstart[1])(text)["input_ids"]
    assert ids == [*complete[:4], complete[-1]]
    assert left_ids["train"]["input_ids"][right_ids["train"]["text"][:].index(text)] == [complete[0], *complete[-4:]]


def test_the_name_says_corpus_and_length(load: Load) -> None:
    assert load()[1].name.startswith("nsmc_layout-16-")


@pytest.mark.parametrize("damage", ["cut", "missing", "no_inputs"])
def test_a_damaged_folder_is_built_again(load: Load, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    features, folder = load()
    rows = features["train"][:]
    del features
    arrow = next((folder / "train").glob("*.arrow"))
    if damage == "cut":
        os.truncate(arrow, arrow.stat().st_size // 2)
    elif damage == "missing":
        arrow.unlink()
    else:
        (folder / "features.json").unlink()
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert load()[0]["train"][:] == rows
    assert "damaged" in caplog.text


def test_a_slow_tokenizer_is_refused(load: Load) -> None:
    with pytest.raises(UserError, match="slow tokenizer"):
        load(tokenizer=SimpleNamespace(is_fast=False))


def test_a_cache_that_cannot_be_written(load: Load, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*--cache_dir"):
        load(cache_dir=tmp_path / "a_file" / "cache")


def test_features_of_eight_processes_are_built_once(
    load: Load, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    _, folder = load()
    reference = sorted(path.name for path in folder.rglob("*"))
    shutil.rmtree(folder.parent)

    class Counted(Corpus):
        def read_blocks(self, files: CorpusFiles) -> Blocks:
            with open(tmp_path / "counter", "a") as file:
                file.write("read\n")
            return super().read_blocks(files)

    def work() -> None:
        corpus = Counted()
        files = corpus.fetch(tmp_path / "toy", tmp_path)
        features, _ = load_features(corpus, files, tokenizer, 16, cache_dir=tmp_path / "cache")
        assert features.num_rows == {"train": 150, "test": 50}

    processes = [multiprocessing.get_context("fork").Process(target=work) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "counter").read_text() == "read\n"
    assert sorted(path.name for path in folder.rglob("*")) == reference


def test_examples_are_logged_as_the_tutorial_does(
    load: Load, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    rows = load()[0]["train"]
    with caplog.at_level(logging.INFO, "pipeline"):
        log_examples(rows, tokenizer, TASK)
    assert len(caplog.records) == 5
    text = caplog.records[0].getMessage()
    for expected in (
        f"sentence: {rows[0]['text']}",
        "tokens:   [CLS] ",
        "label:    긍정",
        f"ids:      {rows[0]['input_ids']}",
    ):
        assert expected in text


# kcbert's own vocabulary.


def test_kcbert_ids(kcbert: Path, official: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(kcbert)
    nsmc = get_corpus("nsmc")
    first = next(nsmc.read_blocks(nsmc.fetch(official, official, download=False))["train"]).select(range(20))
    rows = next(tokenize([first], tokenizer, 128))
    ids = dict(zip(rows["text"], rows["input_ids"], strict=True))
    assert ids["아 더빙.. 진짜 짜증나네요 목소리"] == [2, 2170, 832, 5045, 17, 17, 7992, 29734, 4040, 10720, 3]
    assert ids["너무재밓었다그래서보는것을추천한다"] == [
        *(2, 8069, 4089, 7847, 8217, 9791, 4072, 9136, 8750, 4142, 4244, 8008, 3)
    ]
    assert (
        tokenizer("ABC abc", add_special_tokens=False)["input_ids"]
        != tokenizer("abc abc", add_special_tokens=False)["input_ids"]
    )
