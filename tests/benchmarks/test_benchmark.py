"""`python -m benchmarks`, run small: what it measures and counts is right. Its timings are not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ON_CPU, ROOT, read_corpus, token_rows

MEASUREMENTS = ["training", "profiling", "preparing", "growth", "startup", "prediction"]


def run_benchmarks(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks", *options]
    env = {**os.environ, **ON_CPU}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.slow
def test_every_measurement_runs_and_counts_right(
    tmp_path: Path, toy_corpus: Path, quickstart: tuple[Path, Path]
) -> None:
    result = run_benchmarks(
        *("--model", str(quickstart[1]), "--corpus_name", "nsmc_layout", "--corpus_root_dir", str(toy_corpus)),
        *("--batches", "4", "--max_length_batches", "2", "--batch_size", "16", "--texts", "8", "--rounds", "1"),
        *("--output", str(tmp_path / "benchmark.json")),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Warning" not in result.stderr
    assert "Tokenizing" not in result.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(found) == ["environment", "threads", *MEASUREMENTS]

    methods = found["training"]["methods"]
    drawn = token_rows(toy_corpus, quickstart[1])["train"].shuffle(seed=7)["input_ids"]
    tokens = [len(ids) for ids in drawn]  # none is longer than 32
    assert methods["a"]["useful_share"] == methods["b"]["useful_share"] == sum(tokens[:32]) / (32 * 128)
    assert methods["e"]["useful_share"] == 1.0
    assert methods["b"]["useful_share"] < methods["c"]["useful_share"] < 0.9 < methods["d"]["useful_share"] < 1
    for letter, examples in zip("abcde", (32, 32, 64, 64, 64), strict=True):
        method = methods[letter]
        per_example = method["useful_tokens_per_second"] / method["examples_per_second"]
        assert per_example == pytest.approx(sum(tokens[:examples]) / examples)
        assert method["spread"][0] <= method["examples_per_second"] <= method["spread"][1]
        assert 0 < method["share_of_peak"] < 1
    assert sum(found["profiling"].values()) <= 1 + 1e-9
    assert list(found["preparing"]) == ["tutorial", "encode_batch", "encode_batch_fast", "cold", "warm"]
    assert list(found["growth"]) == ["1", "4", "16"]
    assert all(begins < done for begins, done in zip(*found["startup"].values(), strict=True))
    assert len(found["prediction"]) == 3
    assert result.stdout.count("\n(") == 5  # (a) to (e)
    for head in ("training ", "where a step of (e) goes", "preparing both splits", "prediction "):
        assert f"\n{head}" in result.stdout


@pytest.mark.slow
def test_only_what_is_named_is_measured(tmp_path: Path, toy_corpus: Path, quickstart: tuple[Path, Path]) -> None:
    result = run_benchmarks(
        *("--model", str(quickstart[1]), "--corpus_name", "nsmc_layout", "--corpus_root_dir", str(toy_corpus)),
        *("--only", "prediction", "--texts", "4", "--rounds", "1", "--output", str(tmp_path / "benchmark.json")),
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert list(json.loads((tmp_path / "benchmark.json").read_text())) == ["environment", "threads", "prediction"]
    assert "preparing" not in result.stdout


@pytest.mark.slow
def test_a_missing_corpus_is_reported_before_anything_is_measured(
    tmp_path: Path, quickstart: tuple[Path, Path]
) -> None:
    result = run_benchmarks("--model", str(quickstart[1]), "--corpus_root_dir", str(tmp_path))
    assert result.returncode == 2
    assert f"{tmp_path / 'nsmc' / 'ratings_train.txt'} is missing" in result.stderr
    assert not result.stdout


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, toy_corpus: Path, quickstart: tuple[Path, Path]):
    """Settings of the toy corpus and the quickstart's model."""
    monkeypatch.syspath_prepend(ROOT)  # the benchmarks are no part of the installed package
    from benchmarks.common import Settings

    numbers = {"batch_size": 4, "batches": 3, "max_length_batches": 1, "texts": 1, "rounds": 1, "threads": 1}
    return Settings(str(quickstart[1]), "nsmc_layout", str(toy_corpus), "no", torch_compile=False, **numbers)


def test_grouped_batches_are_a_fair_sample_of_an_epoch(settings, toy_corpus: Path, quickstart) -> None:
    """transformers sorts all 37 full batches of the toy as one group; three of them stand for the others."""
    from benchmarks.training import grouped_rows

    epoch = token_rows(toy_corpus, quickstart[1])["train"].shuffle(seed=7)["input_ids"]
    by_length = sorted(map(len, epoch[: 37 * 4]), reverse=True)
    sampled = [len(ids) for ids in grouped_rows(settings)["input_ids"]]
    assert sampled == [length for batch in (6, 18, 30) for length in by_length[4 * batch : 4 * batch + 4]]


def test_a_corpus_is_repeated_row_by_row(settings, toy_corpus: Path, tmp_path: Path) -> None:
    from benchmarks.growth import repeat_corpus

    grown = repeat_corpus(settings, 3, tmp_path / "grown")
    once, repeated = read_corpus(toy_corpus), read_corpus(Path(grown.corpus_root_dir))
    for split in ("train", "test"):
        assert repeated[split]["text"][:] == 3 * once[split]["text"][:]
        assert repeated[split]["label"][:] == 3 * once[split]["label"][:]
