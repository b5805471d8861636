"""scripts/push_to_hub.py against the double of the Hub: what is uploaded, retries, refusals and their messages."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import run
from support.hub import TOKEN, Hub, assert_refused
from support.runs import UPLOADED

from pipeline.publishing.hub import LARGEST_FILE, Destination, check_size, requested_destination
from pipeline.runtime.errors import UserError

IN_REPOSITORY = {*UPLOADED, "results.json", "README.md"}


def push(hub: Hub, run_dir: Path, *flags: str, token: str = TOKEN, name: str = "me/reviews"):
    words = ("push_to_hub.py", "--model_dir", str(run_dir), "--hub_model_id", name, *flags)
    return run(*words, cwd=run_dir.parent, **hub.environment(token))


@pytest.mark.slow
def test_the_model_is_uploaded_and_nothing_else(hub: Hub, run_dir: Path) -> None:
    result = push(hub, run_dir, "--private", "--revision", "trial")
    assert result.returncode == 0, result.stderr[-3000:]
    commit = hub.last_commit("me/reviews", revision="trial")
    assert result.stdout.split() == ["model", f"{hub.endpoint}/me/reviews/commit/{commit.sha}"]
    assert commit.files == {name: (run_dir / name).read_bytes() for name in IN_REPOSITORY}
    assert hub.files("me/reviews") == {}  # another branch
    assert hub.repos["model", "me/reviews"].private
    assert b"# me/reviews\n" in commit.files["README.md"]
    assert str(run_dir.parent).encode() not in hub.received_bytes()
    assert TOKEN.encode() not in hub.received_bytes()


@pytest.mark.slow
def test_shards_are_uploaded(hub: Hub, run_dir: Path) -> None:
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    (run_dir / "model.safetensors").unlink()
    for name in shards:
        (run_dir / name).write_bytes(name.encode())
    assert push(hub, run_dir).returncode == 0
    assert set(hub.files("me/reviews")) == IN_REPOSITORY - {"model.safetensors"} | shards
    assert not hub.repos["model", "me/reviews"].private


@pytest.mark.slow
def test_a_second_push_sends_nothing_again(hub: Hub, run_dir: Path) -> None:
    first = push(hub, run_dir)
    assert first.returncode == 0, first.stderr[-3000:]
    before = sum(hub.uploads.values())
    second = push(hub, run_dir)
    assert second.returncode == 0, second.stderr[-3000:]
    assert sum(hub.uploads.values()) == before
    assert second.stdout == first.stdout


@pytest.mark.slow
def test_an_interrupted_upload_continues(hub: Hub, run_dir: Path) -> None:
    hub.drop("put", times=math.inf)
    assert_refused(push(hub, run_dir), "could not be reached", "run the same command again")
    hub.drop("put", times=2)  # the client tries twice more by itself
    assert push(hub, run_dir).returncode == 0
    assert hub.files("me/reviews")["model.safetensors"] == (run_dir / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("status", [503, 409, 412])
def test_a_failed_commit_is_retried(hub: Hub, run_dir: Path, status: int) -> None:
    hub.fail("commit", status, times=2)
    result = push(hub, run_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count(f"The Hub answered {status}; trying again.") == 2
    assert hub.uploads["model.safetensors"] == 1  # what had arrived is not sent again


@pytest.mark.slow
def test_a_commit_that_keeps_failing_is_not_reported_as_pushed(hub: Hub, run_dir: Path) -> None:
    hub.fail("commit", 503, times=math.inf, message="closed today")
    assert_refused(push(hub, run_dir), "pushing to me/reviews failed", "the Hub answered: 503 closed today")
    assert sum("/commit/" in request.path for request in hub.requests) == 4
    hub.fail("commit", 503, times=0)
    assert push(hub, run_dir).returncode == 0
    assert hub.uploads["model.safetensors"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "status", "expected"),
    [
        ("commit", 403, "the token may not write there"),
        ("commit", 409, "someone else wrote to it at the same time"),
        ("create", 403, "the token may not write there"),
        ("auth", 403, "the token may not write there"),
    ],
)
def test_refusals_are_explained(hub: Hub, run_dir: Path, where: str, status: int, expected: str) -> None:
    hub.fail(where, status, times=math.inf)
    assert_refused(push(hub, run_dir), expected, str(status))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "name", "expected"),
    [
        ("", "me/reviews", "needs a token"),
        ("hf_unknown", "me/reviews", "the token is not valid"),
        ("hf_reader", "me/reviews", "the token may only read"),
        (TOKEN, "you/reviews", "cannot write to you; it can write to me, team"),
        (TOKEN, "me/no spaces", "not a valid name on the Hub"),
    ],
)
def test_what_cannot_work_creates_nothing(hub: Hub, run_dir: Path, token: str, name: str, expected: str) -> None:
    assert_refused(push(hub, run_dir, token=token, name=name), expected)
    assert hub.repos == {}


@pytest.mark.slow
def test_names(hub: Hub, run_dir: Path) -> None:
    """A name alone is the user's own; an organization of the user's can be the owner."""
    assert push(hub, run_dir, name="reviews").returncode == 0
    assert push(hub, run_dir, name="team/reviews").returncode == 0
    assert set(hub.repos) == {("model", "me/reviews"), ("model", "team/reviews")}
    assert set(hub.files("team/reviews")) == IN_REPOSITORY


@pytest.mark.slow
def test_a_fine_grained_token_is_checked_before_the_upload(hub: Hub, run_dir: Path) -> None:
    """The token does not tell what it may do, and creating a repository that exists is no error."""
    hub.add("me/reviews", {})
    hub.fail("auth", 403, times=math.inf)
    assert_refused(push(hub, run_dir, token="hf_fine_grained"), "checking write access to me/reviews failed", "403")
    assert [request.method for request in hub.requests if "create" in request.path] == []
    assert hub.uploads == {}


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["results.json", "run.json", "model.safetensors"])
def test_an_unfinished_run_creates_nothing(hub: Hub, run_dir: Path, missing: str) -> None:
    (run_dir / missing).unlink()
    assert_refused(push(hub, run_dir), missing)
    assert hub.requests == []


@pytest.mark.slow
def test_everything_is_checked_before_anything_is_created(hub: Hub, run_dir: Path) -> None:
    features = run_dir.parent / "features"
    assert_refused(push(hub, run_dir, "--dataset"), f"{features}, which holds the run's corpus, is gone")
    assert hub.requests == []
    features.mkdir()
    assert_refused(push(hub, run_dir, "--dataset", "you/corpus"), "cannot write to you")
    assert hub.repos == {}


@pytest.mark.slow
def test_offline_mode_is_named(hub: Hub, run_dir: Path) -> None:
    words = ("push_to_hub.py", "--model_dir", str(run_dir), "--hub_model_id", "me/reviews")
    result = run(*words, cwd=run_dir.parent, **{**hub.environment(TOKEN), "HF_HUB_OFFLINE": "1"})
    assert_refused(result, "HF_HUB_OFFLINE is set")
    assert hub.requests == []


@pytest.mark.parametrize("changes", [{"push_to_hub": False}, {"should_save": False}])
def test_no_destination_without_push_to_hub_or_on_other_processes(changes: dict) -> None:
    args = {"push_to_hub": True, "should_save": True, "hub_model_id": "me/reviews"}
    assert requested_destination(SimpleNamespace(**args | changes)) is None


def test_a_push_needs_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # nothing is asked for
    with pytest.raises(UserError, match="--hub_model_id USER/NAME"):
        requested_destination(SimpleNamespace(push_to_hub=True, should_save=True, hub_model_id=None))


def test_a_model_that_is_too_large_for_the_hub() -> None:
    destination = Destination("me/large", "model", False, "main")
    with torch.device("meta"):
        fits, too_large = (torch.nn.Linear(n, LARGEST_FILE // 8, bias=True) for n in (1, 2))
    check_size(fits, destination)
    check_size(too_large, None)
    with pytest.raises(UserError, match=r"75,000,000,000 bytes; the Hub accepts at most 50,000,000,000"):
        check_size(too_large, destination)
