"""A model's files: found in a folder, on the Hub or in its cache; what is missing is named."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from support import ROOT, TASK
from support.hub import Hub

from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.modeling.loading import load_model, load_tokenizer
from pipeline.runtime.errors import UserError


def test_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_model(str(folder)) == ModelFiles(str(folder), folder, commit=None, weights=True)
    monkeypatch.chdir(folder.parent)
    assert fetch_model("model").folder == folder


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", "config.json"),
        ("tokenizer.json", "tokenizer.json or vocab.txt"),
        ("model.safetensors", "model.safetensors or pytorch_model.bin"),
    ],
)
def test_missing_files_are_named(folder: Path, missing: str, named: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(UserError) as caught:
        fetch_model(str(folder))
    assert named in str(caught.value)
    assert str(folder) in str(caught.value)
    assert ("--from_scratch" in str(caught.value)) == (missing == "model.safetensors")


def test_weights_are_needed_only_where_they_are_used(quickstart: tuple[Path, Path]) -> None:
    assert not fetch_model(str(quickstart[1]), weights=False).weights
    with pytest.raises(UserError, match="weights"):
        fetch_model(str(quickstart[1]))


@pytest.mark.parametrize("name", ["./no/such", "/no/such/folder", "~/no-such-folder", "a/b/c"])
def test_folders_that_are_not_there(name: str) -> None:
    with pytest.raises(UserError, match=f"--model_name_or_path {name}: there is no such folder"):
        fetch_model(name)


def test_names_that_cannot_be() -> None:
    with pytest.raises(UserError, match="two words: neither a folder here nor a name on the Hub"):
        fetch_model("two words")


@pytest.mark.parametrize("revision", ["../../etc", "/etc"])
def test_revisions_that_are_paths(revision: str) -> None:
    with pytest.raises(UserError, match=f"--model_revision {revision} is a path"):
        fetch_model("someone/model", revision)


# The Hub's cache.

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_into_cache(folder: Path, name: str) -> None:
    """Lay a folder into the Hub's cache as the Hub's client does."""
    repository = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, repository / "snapshots" / COMMIT)


def test_without_a_network_the_cache_is_used(folder: Path) -> None:
    put_into_cache(folder, "someone/cached")
    files = fetch_model("someone/cached")
    assert files.commit == COMMIT
    assert load_tokenizer(files, 16).is_fast
    load_model(files, TASK)


@pytest.mark.parametrize("in_cache", ["nothing", "no_weights"])
def test_without_network_and_cache_the_message_says_what_to_do(folder: Path, in_cache: str) -> None:
    if in_cache == "no_weights":
        (folder / "model.safetensors").unlink()
        put_into_cache(folder, "someone/no_weights")
    with pytest.raises(UserError) as caught:
        fetch_model(f"someone/{in_cache}")
    for expected in (
        f"the model someone/{in_cache} is not in the Hub's cache",
        f"tried: {constants.ENDPOINT}/someone/{in_cache}",
        "--model FOLDER",
    ):
        assert expected in str(caught.value)


# The Hub itself: a double on loopback.


def fetched(hub: Hub, *arguments: str, weights: bool = True) -> subprocess.CompletedProcess:
    """`fetch_model` in a process whose libraries talk to the double; prints hidden size, commit and weight files."""
    code = (
        "import json, sys; from pathlib import Path; from pipeline.modeling.files import fetch_model\n"
        f"files = fetch_model(*sys.argv[1:], weights={weights})\n"
        "config = json.loads((files.folder / 'config.json').read_text())\n"
        "weights = sorted(path.name for path in files.folder.iterdir() if path.suffix in ('.bin', '.safetensors'))\n"
        "print(json.dumps([config['hidden_size'], files.commit, weights]))"
    )
    environment = {**os.environ, **hub.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def model_files(hidden_size: int, *weights: str) -> dict[str, bytes]:
    config = json.dumps({"model_type": "bert", "hidden_size": hidden_size}).encode()
    return {"config.json": config, "tokenizer.json": b"{}", **{name: name.encode() for name in weights}}


def test_the_revision_decides_what_is_downloaded() -> None:
    with Hub() as hub:
        repo = hub.add("someone/model", model_files(16, "model.safetensors"))
        old = repo.at("main").sha
        for branch, hidden_size in (("main", 32), ("v2022", 64)):
            other = hub.add(f"someone/{branch}", model_files(hidden_size, "model.safetensors"))
            repo.branches.setdefault(branch, []).extend(other.branches["main"])
            repo.objects.update(other.objects)
        for revision, hidden_size in (((), 32), (("main",), 32), (("v2022",), 64), ((old,), 16)):
            result = fetched(hub, "someone/model", *revision)
            assert result.returncode == 0, result.stderr[-2000:]
            found, commit, _ = json.loads(result.stdout)
            assert found == hidden_size
            assert commit == repo.at(*revision or ("main",)).sha
        assert (
            "--model_revision v2023: someone/model has no such branch" in fetched(hub, "someone/model", "v2023").stderr
        )
        assert hub.unknown == []


def test_safe_weights_are_preferred_and_none_downloaded_in_vain() -> None:
    both = ("model.safetensors", "pytorch_model.bin")
    with Hub() as hub:
        hub.add("someone/both", model_files(16, *both))
        hub.add("someone/pickled", model_files(16, both[1]))
        assert json.loads(fetched(hub, "someone/both").stdout)[2] == [both[0]]
        assert json.loads(fetched(hub, "someone/pickled").stdout)[2] == [both[1]]
        assert json.loads(fetched(hub, "someone/both", weights=False).stdout)[2] == []


def test_what_the_hub_does_not_have_or_show() -> None:
    with Hub() as hub:
        hub.add("someone/private", model_files(16, "model.safetensors"), private=True)
        for name in ("someone/private", "someone/nothing"):
            assert f"--model_name_or_path {name}: neither a folder here nor a model on" in fetched(hub, name).stderr


def test_a_broken_download_is_named() -> None:
    with Hub() as hub:
        hub.add("someone/model", model_files(16, "model.safetensors"))
        hub.fail("resolve", 400, times=math.inf)  # an error that the client does not try again
        assert "the download of someone/model broke" in fetched(hub, "someone/model").stderr


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(UserError, match="--model is empty"):
        fetch_model("")
