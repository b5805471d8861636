"""scripts/benchmark.py, run small: what it counts is right. What it times is nothing to test."""

import json
from pathlib import Path

import pytest
from conftest import ON_CPU, run, token_rows


@pytest.mark.slow
def test_every_part_runs_and_counts_right(tmp_path: Path, toy_corpus: Path, quickstart: tuple[Path, Path]) -> None:
    small = ("--batches", "4", "--fixed_batches", "2", "--batch_size", "16", "--texts", "8", "--rounds", "1")
    where = ("--config", str(quickstart[1]), "--corpus_root_dir", str(toy_corpus))
    result = run("benchmark.py", *where, *small, cwd=tmp_path, timeout=900, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Warning" not in result.stderr
    assert "Tokenizing" not in result.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())

    ways = found["train"]["ways"]
    drawn = token_rows(toy_corpus, quickstart[1])["train"].shuffle(seed=7)["input_ids"]
    tokens = [len(ids) for ids in drawn]  # none is longer than 32
    assert ways["a"]["useful_share"] == ways["b"]["useful_share"] == sum(tokens[:32]) / (32 * 128)
    assert ways["e"]["useful_share"] == 1.0
    assert ways["b"]["useful_share"] < ways["c"]["useful_share"] < 0.9 < ways["d"]["useful_share"] < 1
    for letter, reviews in zip("abcde", (32, 32, 64, 64, 64), strict=True):
        way = ways[letter]
        per_review = way["useful_tokens_per_second"] / way["reviews_per_second"]
        assert per_review == pytest.approx(sum(tokens[:reviews]) / reviews)
        assert way["spread"][0] <= way["reviews_per_second"] <= way["spread"][1]
        assert 0 < way["share_of_peak"] < 1
    assert sum(found["profile"].values()) <= 1 + 1e-9
    assert list(found["prepare"]) == ["tutorial", "encode_batch", "encode_batch_fast", "cold", "warm"]
    assert list(found["grow"]) == ["1", "4", "16"]
    assert all(begins < done for begins, done in zip(*found["start"].values(), strict=True))
    assert len(found["predict"]) == 3
    for head in ("training ", "where a step of (e) goes", "preparing both splits", "prediction "):
        assert f"\n{head}" in result.stdout
