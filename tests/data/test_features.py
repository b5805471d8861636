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
import numpy as np
import pytest
from datasets import Dataset, load_from_disk
from support import OWN, TASK
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.data.corpora.nsmc_layout import NsmcLayout
from pipeline.data.corpus import CorpusFiles
from pipeline.data.features import Features, load_features, log_examples
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


Load = Callable[..., Features]


@pytest.fixture
def load(toy_corpus: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Load:
    """`load_features` of the toy corpus into a cache of the test's own."""
    given = {"tokenizer": tokenizer, "max_length": 16, "cache_dir": tmp_path / "cache"}

    def load(read: Callable[[], Blocks] | None = None, **changes: object) -> Features:
        corpus = Corpus(read)
        return load_features(corpus, corpus.fetch(toy_corpus, tmp_path), **{**given, **changes})

    return load


def test_rows(load: Load, tokenizer: PreTrainedTokenizerBase) -> None:
    features, folder = load().splits, load().folder
    assert features.num_rows == {"train": 150, "test": 50}
    assert features["train"].column_names == ["text", "label", "input_ids"]
    row = features["train"][8]
    assert row["input_ids"] == tokenizer(row["text"], truncation=True, max_length=16)["input_ids"]
    assert max(map(len, features["train"]["input_ids"])) <= 16
    assert min(map(len, features["train"]["input_ids"])) < 16  # not padded
    assert load_from_disk(folder)["train"][8] == row  # another experiment needs nothing of ours


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

    features = load(read=lambda: {split: map(block, range(20)) for split in ("train", "test")}).splits
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
    ids = max(load(max_length=5).splits["train"]["input_ids"], key=len)
    assert (len(ids), ids[0], ids[-1]) == (5, tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_the_second_time_nothing_is_read(load: Load) -> None:
    first, second = load(), load(read=never)
    assert second.splits["train"][:] == first.splits["train"][:]
    assert (second.folder, second.task, second.statistics) == (first.folder, first.task, first.statistics)


def test_overwrite_builds_it_again(load: Load) -> None:
    folder = load().folder
    before = (folder / "features.json").stat().st_mtime_ns
    assert load(overwrite_cache=True).folder == folder
    assert (folder / "features.json").stat().st_mtime_ns > before


def test_key_follows_content_and_nothing_else(load: Load, quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    folder = load().folder
    moved = shutil.copytree(quickstart[1], tmp_path / "elsewhere")
    tokenizer = AutoTokenizer.from_pretrained(moved)
    tokenizer("한 번", truncation=True, max_length=4, padding=True)  # leaves truncation and padding in its state
    assert load(read=never, tokenizer=tokenizer).folder == folder
    assert load(max_length=15).folder != folder
    content = json.loads((moved / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[100:102]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (moved / "tokenizer.json").write_text(json.dumps(content))
    assert load(tokenizer=AutoTokenizer.from_pretrained(moved)).folder != folder


@pytest.mark.parametrize("split", ["train", "test"])
def test_key_follows_the_corpus(load: Load, toy_corpus: Path, split: str) -> None:
    folder = load().folder
    path = toy_corpus / "nsmc" / f"ratings_{split}.txt"
    path.write_text(path.read_text().replace("재밌다", "재밋다"))
    assert load().folder != folder


def test_sides_of_truncation_do_not_share_a_folder(load: Load, quickstart: tuple[Path, Path]) -> None:
    """What is cut off decides the ids as much as what is read."""
    left, right = (
        load(max_length=5, tokenizer=AutoTokenizer.from_pretrained(quickstart[1], truncation_side=side))
        for side in ("left", "right")
    )
    assert left.folder != right.folder
    left_ids, right_ids = left.splits, right.splits
    text, ids = max(
        zip(right_ids["train"]["text"], right_ids["train"]["input_ids"], strict=True), key=lambda row: len(row[0])
    )
    complete = AutoTokenizer.from_pretrained(quickstart[1])(text)["input_ids"]
    assert ids == [*complete[:4], complete[-1]]
    assert left_ids["train"]["input_ids"][right_ids["train"]["text"][:].index(text)] == [complete[0], *complete[-4:]]


@pytest.mark.parametrize("change", [{"long_text": "head_tail"}, {"clean": "kcbert"}, {"max_length": 8}])
def test_what_is_read_of_a_text_is_in_the_key(load: Load, change: dict) -> None:
    assert load(**change).folder != load().folder


def test_lengths_are_counted(load: Load, tokenizer: PreTrainedTokenizerBase) -> None:
    features = load(max_length=6)
    for split, rows in features.splits.items():
        lengths = np.array([len(ids) for ids in tokenizer(rows["text"][:])["input_ids"]])
        found = features.statistics[split]
        assert (found["num_examples"], found["num_cut"]) == (len(rows), int((lengths > 6).sum()))
        assert 0 < found["num_cut"] < len(rows)
        assert found["tokens"]["mean"] == pytest.approx(lengths.mean(), abs=0.005)
        assert found["tokens"]["max"] == lengths.max()
        for name, share in (("median", 0.5), ("p95", 0.95)):
            assert found["tokens"][name] == np.quantile(lengths, share, method="inverted_cdf")


def test_the_name_says_corpus_and_length(load: Load) -> None:
    assert load().folder.name.startswith("nsmc_layout-16-")


@pytest.mark.parametrize("damage", ["cut", "missing", "no_inputs"])
def test_a_damaged_folder_is_built_again(load: Load, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    features = load()
    folder = features.folder
    rows = features.splits["train"][:]
    del features
    arrow = next((folder / "train").glob("*.arrow"))
    if damage == "cut":
        os.truncate(arrow, arrow.stat().st_size // 2)
    elif damage == "missing":
        arrow.unlink()
    else:
        (folder / "features.json").unlink()
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert load().splits["train"][:] == rows
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
    folder = load().folder
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
        features = load_features(corpus, files, tokenizer, 16, cache_dir=tmp_path / "cache").splits
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
    rows = load().splits["train"]
    with caplog.at_level(logging.DEBUG, "pipeline"):
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
