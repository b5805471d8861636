"""The quickstart: the same files in every process, in NSMC's layout, varied, and a little noisy."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, read_corpus, run
from transformers import AutoTokenizer

from pipeline.config.parser import parse_arguments
from pipeline.data.corpora import get_corpus
from pipeline.data.corpora.quickstart import SPECIAL_TOKENS, VOCABULARY_SIZE, write_quickstart, write_review
from pipeline.runtime.errors import UserError

# Recorded: another digest changes every result of the quickstart, and `VERSION` with it.
DIGESTS = {
    "nsmc/ratings_train.txt": "8ffc08897b0f0ef5",
    "nsmc/ratings_test.txt": "e849cd20abd39d92",
    "model/tokenizer.json": "4b0fabe859d06723",
    "model/tokenizer_config.json": "908322ef72a1d932",
    "model/config.json": "0b08527ce3e56efb",
}


@pytest.fixture(scope="module")
def texts(quickstart: tuple[Path, Path]) -> list[str]:
    return read_corpus(quickstart[0])["train"]["text"][:]


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in DIGESTS}


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_writes_the_same_files(tmp_path: Path, hash_seed: str) -> None:
    """Whatever the order of its sets, which PYTHONHASHSEED decides, and of its threads."""
    code = (
        "from pathlib import Path; from pipeline.data.corpora.quickstart import write_quickstart; "
        f"print(write_quickstart(Path({str(tmp_path)!r})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert digests(Path(done.stdout.strip())) == DIGESTS


def test_it_is_written_once(quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    folder = write_quickstart(tmp_path)
    before = (folder / "model" / "config.json").stat().st_mtime_ns
    assert write_quickstart(tmp_path) == folder
    assert (folder / "model" / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("damaged", DIGESTS)
def test_a_damaged_one_is_written_again(tmp_path: Path, damaged: str) -> None:
    path = write_quickstart(tmp_path) / damaged
    os.truncate(path, path.stat().st_size // 2)
    assert digests(write_quickstart(tmp_path)) == DIGESTS


def test_it_comes_with_a_model_of_its_name(tmp_path: Path) -> None:
    corpus = get_corpus("quickstart")
    assert corpus.missing_files(tmp_path) == []
    files = corpus.fetch(Path("nowhere"), tmp_path)
    assert corpus.write_model(tmp_path) == files.folder.parent / "model"
    assert corpus.bundled_model
    assert not get_corpus("nsmc").bundled_model


def test_a_folder_for_it_is_refused(quickstart: tuple[Path, Path], tmp_path: Path) -> None:
    """It would be ignored, and the wrong data trained on or scored."""
    words = ["--recipe", "quickstart", "--corpus_root_dir", str(tmp_path)]
    with pytest.raises(UserError, match=r"--corpus_root_dir .* does nothing here: quickstart is generated"):
        parse_arguments(words)
    own = ["--corpus_name", "nsmc_layout"]
    assert parse_arguments([*words, *own])[0].corpus_root_dir == str(tmp_path)
    done = run("evaluate_model.py", "--model", str(quickstart[1]), "--corpus_root_dir", "nowhere", *own, cwd=tmp_path)
    assert done.returncode == 2
    assert "--corpus_root_dir nowhere: there is no such folder" in done.stderr


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


def test_the_vocabulary_fits_the_reviews(quickstart: tuple[Path, Path], texts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(quickstart[1])
    assert [tokenizer.convert_ids_to_tokens(number) for number in range(5)] == SPECIAL_TOKENS
    assert len(tokenizer) == VOCABULARY_SIZE
    ids = [number for text in tokenizer(texts)["input_ids"] for number in text]
    assert ids.count(tokenizer.unk_token_id) == 0  # it was trained on them, single letters included
    used = {tokenizer.convert_ids_to_tokens(number) for number in ids}
    assert len(used) > VOCABULARY_SIZE / 2  # the others are steps on the way to longer ones
    assert any(piece.startswith("##") for piece in used)
