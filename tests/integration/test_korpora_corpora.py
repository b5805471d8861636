"""Corpora of Korpora other than NSMC, the real files, through the real scripts: a regression and pairs."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from support import ON_CPU, run

pytestmark = pytest.mark.slow

BRIEFLY = ("--recipe", "quickstart", "--max_steps", "30", "--report_to", "none", "--cache_dir", "cache")


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def train(cwd: Path, *words: str) -> None:
    done = run("train.py", *BRIEFLY, "--output_dir", "run", *words, cwd=cwd, **ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]


def test_korsts_is_a_regression_on_pairs(kakao: Path, tmp_path: Path) -> None:
    (tmp_path / "korsts").mkdir()
    for path in (kakao / "korsts").iterdir():
        (tmp_path / "korsts" / path.name).symlink_to(path)
    train(tmp_path, "--corpus_name", "korsts", "--corpus_root_dir", str(tmp_path))
    results, card = read(tmp_path / "run" / "results.json"), ModelCard.load(tmp_path / "run" / "README.md")
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (1500, 1379)
    for expected in ("KorSTS", "문장 쌍", "카카오브레인", "CC BY-SA 4.0", "KakaoBrain"):
        assert expected in card.text
    for another in ("NSMC", "리뷰", "부정", "review", "movie"):
        assert another not in card.text
    done = run("evaluate_model.py", "--model", "run", cwd=tmp_path, **ON_CPU)
    assert done.returncode == 0, done.stderr[-3000:]
    evaluation = read(tmp_path / "run" / "evaluation.json")
    for split in ("validation", "test"):
        for name in ("loss", "pearson", "spearman", "rmse", "mae"):
            # Another process may round a logit's last bit otherwise, which a correlation of near-constant scores shows.
            assert evaluation[split][name] == pytest.approx(results[split][name], abs=1e-4)


def test_kornlis_files_are_pairs_of_three_classes(kakao: Path, tmp_path: Path) -> None:
    """Its own files to train on are not here: the dev set stands in for them."""
    files = {name: str(kakao / "kornli" / f"xnli.{name}.ko.tsv") for name in ("dev", "test")}
    train(tmp_path, "--train_file", files["dev"], "--test_file", files["test"], "--clean", "kcbert")
    results, config = read(tmp_path / "run" / "results.json"), read(tmp_path / "run" / "config.json")
    assert results["test"]["num_examples"] == 5010
    assert set(results["test"]["per_class"]) == {"contradiction", "entailment", "neutral"}
    assert config["classifier"] == {"text_columns": ["sentence1", "sentence2"], "clean": "kcbert"}
