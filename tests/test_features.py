"""The features: right ids, kept once, found again, whoever asks and whoever was killed."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
from datasets import Dataset, load_from_disk
from transformers import AutoTokenizer

from pipeline.build_once import build_once
from pipeline.corpus import COLUMNS, fetch_corpus, read_blocks
from pipeline.errors import UserError
from pipeline.features import hold_out, load_features, log_examples, tokenize

NEVER = pytest.fail  # given as the reader of the corpus where it must not be read


@pytest.fixture
def tokenizer(quickstart):
    return AutoTokenizer.from_pretrained(quickstart[1])


@pytest.fixture
def load(toy_corpus: Path, tokenizer, tmp_path: Path):
    """`load_features` of the toy corpus into a cache of the test's own."""
    files = fetch_corpus(toy_corpus, official_only=False)
    given = {"tokenizer": tokenizer, "max_seq_length": 16, "cache_dir": tmp_path / "cache"}

    def load(read=None, **changes: object):
        return load_features(read or partial(read_blocks, files), files.sha256, **{**given, **changes})

    load.read = partial(read_blocks, files)
    return load


def test_rows(load, tokenizer) -> None:
    features, folder = load()
    assert features.num_rows == {"train": 150, "test": 50}
    assert features["train"].column_names == ["text", "label", "input_ids"]
    row = features["train"][8]
    assert row["input_ids"] == tokenizer(row["text"], truncation=True, max_length=16)["input_ids"]
    assert max(map(len, features["train"]["input_ids"])) <= 16
    assert min(map(len, features["train"]["input_ids"])) < 16  # not padded
    assert load_from_disk(folder)["train"][8] == row  # another experiment needs nothing of ours


@pytest.mark.parametrize("length", [3, 7, 128])
def test_ids_are_those_of_the_tokenizer_called_as_usual(tokenizer, length: int) -> None:
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
    rows = Dataset.from_dict({"text": texts * 500, "label": [0] * 5000}, features=COLUMNS)
    (ours,) = tokenize([rows], tokenizer, length)
    usual = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    assert ours["input_ids"][:] == usual * 500
    assert ours["text"][:] == texts * 500


def test_the_tokenizer_is_left_as_it_was(tokenizer) -> None:
    before = tokenizer.backend_tokenizer.to_str()
    list(tokenize([Dataset.from_dict({"text": ["재밌다"], "label": [0]}, features=COLUMNS)], tokenizer, 5))
    assert tokenizer.backend_tokenizer.to_str() == before


def test_memory_holds_a_block_and_not_the_corpus(load) -> None:
    """However many blocks there are, at most the one at work and the one before it are alive."""
    blocks: list[weakref.ref] = []
    most = 0

    def block(number: int) -> Dataset:
        nonlocal most
        rows = Dataset.from_dict({"text": [f"리뷰 {number}"] * 10, "label": [0] * 10}, features=COLUMNS)
        blocks.append(weakref.ref(rows))
        most = max(most, sum(reference() is not None for reference in blocks))
        return rows

    features, _ = load(read=lambda: {split: map(block, range(20)) for split in ("train", "test")})
    assert features.num_rows == {"train": 200, "test": 200}
    assert features["test"][-1]["text"] == "리뷰 19"
    assert most <= 2


def test_a_corpus_that_fails_half_way_leaves_nothing(load, tmp_path: Path) -> None:
    def read():
        yield from (Dataset.from_dict({"text": ["가"], "label": [0]}, features=COLUMNS) for _ in range(3))
        raise OSError("the disk is gone")

    with pytest.raises(UserError, match="the disk is gone"):
        load(read=lambda: {"train": read(), "test": read()})
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    assert not datasets.are_progress_bars_disabled()


def test_truncation_keeps_both_ends(load, tokenizer) -> None:
    ids = max(load(max_seq_length=5)[0]["train"]["input_ids"], key=len)
    assert (len(ids), ids[0], ids[-1]) == (5, tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_the_second_time_nothing_is_read(load) -> None:
    first, folder = load()
    second, same = load(read=lambda: NEVER("the corpus was read again"))
    assert (second["train"][:], same) == (first["train"][:], folder)


def test_overwrite_makes_it_anew(load) -> None:
    _, folder = load()
    before = (folder / "features.json").stat().st_mtime_ns
    assert load(overwrite_cache=True)[1] == folder
    assert (folder / "features.json").stat().st_mtime_ns > before


def test_key_follows_content_and_nothing_else(load, quickstart, tmp_path: Path) -> None:
    folder = load()[1]
    moved = shutil.copytree(quickstart[1], tmp_path / "elsewhere")
    tokenizer = AutoTokenizer.from_pretrained(moved)
    tokenizer("한 번", truncation=True, max_length=4, padding=True)  # leaves truncation and padding in its state
    assert load(read=NEVER, tokenizer=tokenizer)[1] == folder
    assert load(max_seq_length=15)[1] != folder
    content = json.loads((moved / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[100:102]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (moved / "tokenizer.json").write_text(json.dumps(content))
    assert load(tokenizer=AutoTokenizer.from_pretrained(moved))[1] != folder


def test_key_follows_the_corpus(load, toy_corpus: Path, tokenizer, tmp_path: Path) -> None:
    folder = load()[1]
    path = toy_corpus / "nsmc" / "ratings_test.txt"
    path.write_text(path.read_text().replace("재밌다", "재밋다"))
    files = fetch_corpus(toy_corpus, official_only=False)
    other = load_features(partial(read_blocks, files), files.sha256, tokenizer, 16, cache_dir=tmp_path / "cache")[1]
    assert other != folder


@pytest.mark.parametrize("damage", ["cut", "missing", "no_about"])
def test_a_damaged_folder_is_made_anew(load, damage: str, caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_slow_tokenizer_is_refused(load) -> None:
    with pytest.raises(UserError, match="slow tokenizer"):
        load(tokenizer=SimpleNamespace(is_fast=False))


def test_a_cache_that_cannot_be_written(load, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*--cache_dir"):
        load(cache_dir=tmp_path / "a_file" / "cache")


# Several processes.


def _count_a_build(counter: Path, seconds: float, folder: Path) -> None:
    with open(counter, "a") as file:
        file.write("built\n")
    (folder / "content").write_text("half")
    time.sleep(seconds)
    (folder / "content").write_text("whole")


def _build(folder: Path, counter: Path, seconds: float, anew: bool = False) -> None:
    build_once(folder, partial(_count_a_build, counter, seconds), sound=_is_whole, anew=anew)
    assert _is_whole(folder)


def _is_whole(folder: Path) -> bool:
    return (folder / "content").read_text() == "whole"


def _start(count: int, *args: object) -> list[multiprocessing.Process]:
    processes = [multiprocessing.get_context("fork").Process(target=_build, args=args) for _ in range(count)]
    for process in processes:
        process.start()
    return processes


@pytest.mark.parametrize("anew", [False, True])
def test_eight_builders_build_once(tmp_path: Path, anew: bool) -> None:
    processes = _start(8, tmp_path / "made", tmp_path / "counter", 0.5, anew)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "counter").read_text() == "built\n"


def test_a_killed_builder_is_replaced(tmp_path: Path) -> None:
    (builder,) = _start(1, tmp_path / "made", tmp_path / "counter", 600)
    while not list(tmp_path.glob("made.tmp-*/content")):
        time.sleep(0.01)
    (waiting,) = _start(1, tmp_path / "made", tmp_path / "counter", 0)
    time.sleep(0.5)
    assert not (tmp_path / "made").exists()  # half a folder is never in place
    os.kill(builder.pid, signal.SIGKILL)
    waiting.join(60)
    assert waiting.exitcode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"made", "made.lock", "counter"}  # nothing is left over


def test_features_of_eight_processes_are_built_once(load, tmp_path: Path) -> None:
    _, folder = load()
    reference = sorted(path.name for path in folder.rglob("*"))
    shutil.rmtree(folder.parent)

    def work() -> None:
        def read() -> dict[str, Iterator[Dataset]]:
            with open(tmp_path / "counter", "a") as file:
                file.write("read\n")
            return load.read()

        assert load(read=read)[0].num_rows == {"train": 150, "test": 50}

    processes = [multiprocessing.get_context("fork").Process(target=work) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "counter").read_text() == "read\n"
    assert sorted(path.name for path in folder.rglob("*")) == reference


# Validation.


def test_hold_out_is_stratified_disjoint_and_fixed_by_its_seed(load) -> None:
    rows = load()[0]["train"]
    train, validation = hold_out(rows, 0.2, seed=7)
    assert (len(train), len(validation)) == (120, 30)
    assert sum(validation["label"]) == 15
    assert sorted(train["text"][:] + validation["text"][:]) == sorted(rows["text"])
    assert hold_out(rows, 0.2, seed=7)[1]["text"][:] == validation["text"][:]
    assert hold_out(rows, 0.2, seed=8)[1]["text"][:] != validation["text"][:]


def test_hold_out_writes_nothing_into_the_folder(load) -> None:
    features, folder = load()
    before = sorted(folder.rglob("*"))
    hold_out(features["train"], 0.2, seed=7)[0][:]
    assert sorted(folder.rglob("*")) == before


def test_hold_out_of_nothing(load) -> None:
    rows = load()[0]["train"]
    assert hold_out(rows, 0, seed=7) == (rows, None)


def test_hold_out_that_would_be_empty(load) -> None:
    with pytest.raises(UserError, match=r"0.001 holds out 0 of the 75"):
        hold_out(load()[0]["train"], 0.001, seed=7)


def test_examples_are_logged_as_the_tutorial_does(load, tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    rows = load()[0]["train"]
    with caplog.at_level(logging.INFO, "pipeline"):
        log_examples(rows, tokenizer)
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
    rows = next(tokenize([next(read_blocks(fetch_corpus(official))["train"]).select(range(20))], tokenizer, 128))
    ids = dict(zip(rows["text"], rows["input_ids"], strict=True))
    assert ids["아 더빙.. 진짜 짜증나네요 목소리"] == [2, 2170, 832, 5045, 17, 17, 7992, 29734, 4040, 10720, 3]
    assert ids["너무재밓었다그래서보는것을추천한다"] == [
        *(2, 8069, 4089, 7847, 8217, 9791, 4072, 9136, 8750, 4142, 4244, 8008, 3)
    ]
    assert (
        tokenizer("ABC abc", add_special_tokens=False)["input_ids"]
        != tokenizer("abc abc", add_special_tokens=False)["input_ids"]
    )
