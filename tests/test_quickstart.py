"""The embedded default: the same every time, in NSMC's layout, varied, and a little noisy."""

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipeline.corpus import fetch_corpus, read_corpus
from pipeline.quickstart import SPECIAL_TOKENS, VOCABULARY_SIZE, write_quickstart, write_review


@pytest.fixture(scope="module")
def texts(quickstart) -> list[str]:
    return read_corpus(fetch_corpus(quickstart[0], official_only=False))["train"]["text"][:]


def test_it_comes_out_the_same_every_time(quickstart, tmp_path: Path) -> None:
    again = write_quickstart(tmp_path)
    files = ["nsmc/ratings_train.txt", "nsmc/ratings_test.txt", "model/tokenizer.json", "model/config.json"]
    assert [(again[0] / file).read_bytes() for file in files] == [
        (quickstart[0] / file).read_bytes() for file in files
    ]


def test_reviews_are_varied(texts: list[str]) -> None:
    assert len(texts) == 4000
    assert len(set(texts)) > 3900
    assert texts.count("") == 1
    assert any('"' in text for text in texts)
    for slang_misspelling_emoticon in ("꿀잼", "잼있", "ㅠㅠ"):
        assert 5 < sum(slang_misspelling_emoticon in text for text in texts) < 1000


def test_particles_follow_the_last_syllable() -> None:
    reviews = " ".join(write_review(random.Random(seed), seed % 2) for seed in range(500))
    assert "연기가" in reviews
    assert "음악이" in reviews
    assert "연기이" not in reviews
    assert "음악가" not in reviews


def test_the_vocabulary_fits_the_reviews(quickstart, texts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(quickstart[1])
    assert [tokenizer.convert_ids_to_tokens(number) for number in range(5)] == SPECIAL_TOKENS
    assert len(tokenizer) == VOCABULARY_SIZE
    ids = [number for text in tokenizer(texts)["input_ids"] for number in text]
    assert ids.count(tokenizer.unk_token_id) == 0  # it was trained on them, letters alone included
    used = {tokenizer.convert_ids_to_tokens(number) for number in ids}
    assert len(used) > VOCABULARY_SIZE / 2  # the rest are steps on the way to longer ones
    assert any(piece.startswith("##") for piece in used)
