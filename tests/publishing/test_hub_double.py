"""The double of the Hub answers as the real clients expect: they ask it, in processes of their own."""

import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
from http.client import HTTPConnection
from pathlib import Path

import pytest
from support.hub import Hub
from transformers import BertConfig, BertForSequenceClassification

WRITER, READER, OTHER = "hf_writer", "hf_reader", "hf_other"
HELP = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
api, arguments = HfApi(), sys.argv[1:]

def contents(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

def refusal(call, *words, **options):
    try:
        call(*words, **options)
    except HfHubHTTPError as error:
        return [type(error).__name__, error.response.status_code]
    except Exception as error:
        return [type(error).__name__, str(error)]
"""


@pytest.fixture
def hub():
    tokens = {WRITER: ("me", "write"), READER: ("me", "read"), OTHER: ("somebody", "write")}
    with Hub({token: {"name": name, "role": role} for token, (name, role) in tokens.items()}) as hub:
        yield hub
        assert hub.unknown == []


def client(environment: dict[str, str], code: str, *arguments: object):
    """Run code in a process of its own, and give back what it left in `result`."""
    code = HELP + textwrap.dedent(code) + "\nprint('\\n' + json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of either kind, and one in a folder."""
    folder = tmp_path / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n내용")
    (folder / "deep" / "er" / "note.txt").write_text("inline")
    (folder / "model.safetensors").write_bytes(os.urandom(300_000))
    return folder


def test_a_model_goes_up_and_comes_back(hub: Hub, quickstart, tmp_path: Path) -> None:
    folder = shutil.copytree(quickstart[1], tmp_path / "bert")
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_hidden_layers=1)).save_pretrained(folder)
    (folder / "vocab").mkdir()
    (folder / "vocab" / "words.txt").write_text("말", encoding="utf-8")
    result = client(
        hub.environment(WRITER),
        """
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        def logits(name):
            words = AutoTokenizer.from_pretrained(name)("이 영화 재밌다", return_tensors="pt")
            with torch.no_grad():
                return AutoModelForSequenceClassification.from_pretrained(name).eval()(**words).logits

        folder = arguments[0]
        repo = api.create_repo("bert").repo_id
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="첫 모델")
        result = {
            "repo": repo,
            "commit": commit.oid,
            "info": api.model_info(repo).sha,
            "snapshot": contents(snapshot_download(repo)) == contents(folder),
            "file": Path(hf_hub_download(repo, "vocab/words.txt")).read_text(),
            "logits": torch.equal(logits(repo), logits(folder)),
        }
        """,
        folder,
    )
    sha, message, *_ = hub.last_commit("me/bert")
    assert message == "첫 모델"
    same = {"snapshot": True, "file": "말", "logits": True}
    assert result == {"repo": "me/bert", "commit": sha, "info": sha, **same}
    assert hub.files("me/bert") == contents(folder)
    assert hub.uploads == dict.fromkeys(contents(folder), 1)


def test_what_is_there_is_not_sent_again(hub: Hub, folder: Path) -> None:
    result = client(
        hub.environment(WRITER),
        """
        folder = Path(arguments[0])
        api.create_repo("me/again")
        first, same = (api.upload_folder(repo_id="me/again", folder_path=folder).oid for _ in range(2))
        moved = api.upload_folder(repo_id="me/again", folder_path=folder, path_in_repo="copy").oid
        api.create_branch("me/again", branch="a/b", revision=first)
        api.create_branch("me/again", branch="a/b", exist_ok=True)
        (folder / "new.txt").write_text("new")
        options = dict(repo_id="me/again", folder_path=folder, revision="a/b", delete_patterns="deep/*")
        branch = api.upload_folder(**options, ignore_patterns="deep/*")
        refs = {ref.name: ref.target_commit for ref in api.list_repo_refs("me/again").branches}
        tree = [entry.path for entry in api.list_repo_tree("me/again")]
        below = [entry.path for entry in api.list_repo_tree("me/again", "deep", recursive=True)]
        back = contents(snapshot_download("me/again", revision="a/b"))
        result = [first, same, moved, branch.oid, refs, tree, below, {name: len(data) for name, data in back.items()}]
        """,
        folder,
    )
    main, branch = hub.last_commit("me/again"), hub.last_commit("me/again", revision="a/b")
    first, same, moved, pushed, refs, tree, below, back = result
    assert (same, moved, pushed, refs) == (first, main.sha, branch.sha, {"main": main.sha, "a/b": branch.sha})
    assert [request.received for request in hub.requests if request.method == "PUT"] == [300_000]
    paths = ["README.md", "deep/er/note.txt", "model.safetensors"]
    copies = [f"copy/{path}" for path in paths]
    assert hub.uploads == dict.fromkeys([*paths, *copies[:2], "new.txt"], 1)
    assert set(hub.files("me/again")) == {*paths, *copies}
    assert set(branch.files) == {"README.md", "model.safetensors", "new.txt"}
    assert (main.large, branch.large) == ({paths[2], copies[2]}, {paths[2]})
    assert tree == ["README.md", "copy", "deep", "model.safetensors"]
    assert below == ["deep/er", "deep/er/note.txt"]
    assert back == {path: len(content) for path, content in branch.files.items()}


def test_a_dataset_goes_up_and_comes_back(hub: Hub) -> None:
    result = client(
        hub.environment(WRITER),
        """
        from datasets import Dataset, DatasetDict, load_dataset

        def push(texts, **options):
            data = Dataset.from_dict({"text": texts, "label": [0] * len(texts)})
            return DatasetDict({"train": data, "test": data.select([0])}).push_to_hub("me/reviews", **options).oid

        def load(**options):
            return {name: split.to_dict() for name, split in load_dataset("me/reviews", **options).items()}

        first, main = push(["별로"], private=True), push(["재밌다", "지루하다"])
        branch = push(["새로"], revision="new")
        part = next(iter(load_dataset("me/reviews", split="train", streaming=True)))
        result = [[main, branch], load(), load(revision="new"), load(revision=first), part]
        """,
    )

    def splits(*texts: str) -> dict:
        return {
            "train": {"text": list(texts), "label": [0] * len(texts)},
            "test": {"text": [texts[0]], "label": [0]},
        }

    shas, main, branch, first, part = result
    assert shas == [hub.last_commit("me/reviews", "dataset", revision).sha for revision in ("main", "new")]
    assert (main, branch, first) == (splits("재밌다", "지루하다"), splits("새로"), splits("별로"))
    assert part == {"text": "재밌다", "label": 0}
    parquet = {f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")}
    assert hub.last_commit("me/reviews", "dataset").large == parquet
    assert set(hub.files("me/reviews", "dataset")) == {"README.md", *parquet}
    assert hub.repos["dataset", "me/reviews"].private
    assert ("model", "me/reviews") not in hub.repos


def test_refusals_are_the_clients_own_errors(hub: Hub) -> None:
    hub.add("me/open", {"a.txt": b"a"})
    hub.add("me/closed", {"a.txt": b"secret"}, private=True)
    result = client(
        hub.environment(),
        """
        from huggingface_hub import constants, get_token

        def add(token, repo="me/open", **options):
            operations = [CommitOperationAdd("b.txt", b"b")]
            return refusal(api.create_commit, repo, operations, commit_message="b", token=token, **options)

        def info(name, **options):
            return refusal(api.model_info, name, **options)

        def fetch(name, **options):
            return refusal(hf_hub_download, name, "a.txt", **options)

        def private(token):
            return [info("me/closed", token=token), fetch("me/closed", token=token)]

        writer, reader, other, nobody = arguments
        wishes = [("new", False), ("new", nobody), ("new", reader), ("me/new", other), ("me/open", writer)]
        result = {
            "environment": [constants.ENDPOINT, get_token()],
            "whoami": [api.whoami(token)["auth"]["accessToken"] for token in (writer, reader)],
            "whoami as nobody": refusal(api.whoami, nobody),
            "create": [refusal(api.create_repo, name, token=token) for name, token in wishes],
            "what exists": api.create_repo("me/open", token=writer, exist_ok=True).repo_id,
            "may write": [
                refusal(api.auth_check, "me/open", write=True, token=t) for t in (writer, nobody, reader, other)
            ],
            "write": [add(token) for token in (False, nobody, reader, other)],
            "write to what is not there": [add(writer, "me/none"), add(writer, revision="none")],
            "write to what is private": add(other, "me/closed"),
            "an old parent": add(writer, parent_commit="0" * 40),
            "read": [info("me/open"), fetch("me/open")],
            "read as nobody": info("me/open", token=nobody),
            "read what is not there": [info("me/none"), info("none"), info("me/open", revision="none")],
            "a file that is not there": refusal(hf_hub_download, "me/open", "none.txt"),
            # In this order: whoever has no access is given what the cache has.
            "private": [private(token) for token in (other, False, reader, writer)],
        }
        """,
        *(WRITER, READER, OTHER, "hf_nobody"),
    )
    unauthorized, forbidden = ["HfHubHTTPError", 401], ["HfHubHTTPError", 403]
    repo, revision = ["RepositoryNotFoundError", 404], ["RevisionNotFoundError", 404]
    assert result == {
        "environment": [hub.endpoint, None],
        "whoami": [{"role": "write"}, {"role": "read"}],
        "whoami as nobody": unauthorized,
        "create": [unauthorized, unauthorized, forbidden, forbidden, ["HfHubHTTPError", 409]],
        "what exists": "me/open",
        "may write": [None, unauthorized, forbidden, forbidden],
        "write": [unauthorized, unauthorized, forbidden, forbidden],
        "write to what is not there": [repo, revision],
        "write to what is private": repo,
        "an old parent": ["HfHubHTTPError", 412],
        "read": [None, None],
        "read as nobody": unauthorized,
        "read what is not there": [repo, repo, revision],
        "a file that is not there": ["RemoteEntryNotFoundError", 404],
        "private": [[repo, repo], [repo, repo], [None, None], [None, None]],
    }
    assert hub.files("me/open") == {"a.txt": b"a"}


def test_faults_come_as_often_as_asked(hub: Hub, folder: Path) -> None:
    hub.drop("put")
    hub.fail("preupload", 503)
    hub.fail("commit", 503, message="오늘은 쉽니다")
    hub.fail("create", 409)
    hub.fail("whoami", 401, times=math.inf)
    environment = hub.environment(WRITER)
    push = """
        def push(**options):
            return refusal(api.upload_folder, repo_id="me/faulty", folder_path=arguments[0], **options)
    """
    result = client(
        environment,
        push
        + """
        result = {
            "a repository that is there, it is said": api.create_repo("me/faulty", exist_ok=True).repo_id,
            "but is not": push(),
            "now it is": api.create_repo("me/faulty").repo_id,
            "unavailable": push(),
            "available": push(),
            "whoami": [refusal(api.whoami) for _ in range(2)],
        }
        """,
        folder,
    )
    assert result == {
        "a repository that is there, it is said": "me/faulty",
        "but is not": ["RepositoryNotFoundError", 404],
        "now it is": "me/faulty",
        "unavailable": ["HfHubHTTPError", 503],
        "available": None,
        "whoami": [["HfHubHTTPError", 401]] * 2,
    }
    assert hub.files("me/faulty") == contents(folder)
    assert [request.received for request in hub.requests if request.method == "PUT"] == [150_000, 300_000]
    assert hub.uploads == dict.fromkeys(contents(folder), 1)

    (folder / "model.safetensors").write_bytes(os.urandom(200_000))
    hub.fail("put", 403)
    failed, done = client(environment, push + "\n        result = [push(), push()]", folder)
    assert (failed[0], done) == ("RuntimeError", None)  # not an HTTP error
    assert hub.uploads == {**dict.fromkeys(contents(folder), 1), "model.safetensors": 2}
    with pytest.raises(ValueError, match="comit is none of"):
        hub.fail("comit", 503)


def test_a_stopped_hub_refuses_connections_and_comes_back(hub: Hub) -> None:
    hub.add("me/model", {"a.txt": b"a"})
    ask = "result = refusal(api.model_info, 'me/model')"
    open_one = HTTPConnection(hub.endpoint.removeprefix("http://"))
    open_one.request("GET", "/api/models/me/model")
    assert open_one.getresponse().read()
    hub.down()
    with pytest.raises(ConnectionError):
        open_one.request("GET", "/api/models/me/model")
    assert client(hub.environment(), ask)[0] == "ConnectError"
    hub.up()
    assert client(hub.environment(), ask) is None


def test_all_that_was_received_can_be_searched(hub: Hub, folder: Path) -> None:
    (folder / "deep" / "er" / "note.txt").write_text("x" * 600 + "inline secret")
    (folder / "large.txt").write_text("x" * 20_000 + "large secret")
    upload = (
        "api.create_repo('me/m', exist_ok=True); result = api.upload_folder(repo_id='me/m', folder_path=arguments[0])"
    )
    client(hub.environment(WRITER), upload, folder)
    assert b"inline secret" in hub.received_bytes()
    assert b"large secret" in hub.received_bytes()
    assert b"x-amzn-trace-id" in hub.received_bytes().lower()  # headers are searched as well
    assert WRITER.encode() not in hub.received_bytes()
    (folder / "leak.txt").write_text(WRITER)
    client(hub.environment(WRITER), upload, folder)
    assert WRITER.encode() in hub.received_bytes()
