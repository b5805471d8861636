"""A test double of the Hugging Face Hub on loopback, with the endpoints that pushing and fetching repositories needs.

The real clients talk to it over real HTTP, so tests need no network and no account, and see every byte that leaves the
machine. It was written from what huggingface_hub 2.4 sends and reads; tests/publishing/test_hub_double.py checks that.

Left out: a new repository has no `.gitattributes`, and there are no pull requests, no tags and no Xet. A request that
it does not know is answered with 501 and kept in `Hub.unknown`.
"""

import base64
import hashlib
import json
import re
import secrets
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

# What is uploaded as a large file. Parquet of any size must be: `push_to_hub` of datasets deletes its file before it
# commits. The limit is far below the Hub's, so that small test files take both ways.
LARGE_SUFFIXES = (".safetensors", ".parquet", ".bin")
LARGE_BYTES = 10_000
TOKEN = "hf_NobodyMayEverReadThis"  # for tests that look for it where it must not be
DROP = 0  # in place of a status: hang up instead of answering

_ID = r"(?P<id>[\w.-]+(?:/[\w.-]+)?)"
_API = rf"/api/(?P<type>model|dataset)s/{_ID}"
_WEB = rf"/(?:(?P<type>dataset)s/)?{_ID}"
_STORE = rf"/store/(?P<type>model|dataset)s/{_ID}/(?P<path>\w+)"
_REVISION = r"(?P<revision>[^/]+)"
# (name, methods, pattern); the first match counts. `fail` and `drop` take the name, `_answer_NAME` is the method.
_ROUTES = [
    ("whoami", "GET", "/api/whoami-v2"),
    ("create", "POST", "/api/repos/create"),
    ("auth", "GET", f"{_API}/auth-check/write"),
    ("yaml", "POST", "/api/validate-yaml"),
    ("preupload", "POST", f"{_API}/preupload/{_REVISION}"),
    ("lfs", "POST", rf"{_WEB}\.git/info/lfs/objects/batch"),
    ("put", "PUT", _STORE),
    ("verify", "POST", _STORE),
    ("commit", "POST", f"{_API}/commit/{_REVISION}"),
    ("branch", "POST", f"{_API}/branch/{_REVISION}"),
    ("refs", "GET", f"{_API}/refs"),
    ("tree", "GET", f"{_API}/tree/{_REVISION}(?:/(?P<path>.+))?"),
    ("paths", "POST", f"{_API}/paths-info/{_REVISION}"),
    ("info", "GET", f"{_API}(?:/revision/{_REVISION})?"),
    ("resolve", "GET|HEAD", f"{_WEB}/resolve/{_REVISION}/(?P<path>.+)"),
]
_WRITES = {"create", "auth", "preupload", "lfs", "verify", "commit", "branch"}  # "put" is permitted by "lfs"


class Request(NamedTuple):
    """A request; `received` is the number of bytes of its body."""

    method: str
    path: str
    received: int


class Commit(NamedTuple):
    """A state of a repository. `large`: the paths of the files that were uploaded as large ones."""

    sha: str
    message: str
    files: dict[str, bytes]
    large: frozenset[str]

    def oid(self, path: str) -> str:
        """A file's ETag, which clients compare with theirs: the sha256 of a large file, else git's blob id."""
        content = self.files[path]
        return _sha256(content) if path in self.large else _git_sha1(content)

    def entries(self) -> dict[str, dict[str, Any]]:
        """All files and the folders above them as the API lists them, by path."""
        entries: dict[str, dict[str, Any]] = {}
        for path, content in sorted(self.files.items()):
            for folder in map(str, list(PurePosixPath(path).parents)[-2::-1]):
                entries[folder] = {"type": "directory", "path": folder, "oid": _git_sha1(folder.encode()), "size": 0}
            entries[path] = {"type": "file", "path": path, "oid": _git_sha1(content), "size": len(content)}
            if path in self.large:
                entries[path]["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
        return entries


@dataclass
class Repo:
    """A repository. `objects`: the large files that have arrived, by sha256, committed or not."""

    id: str
    type: str
    private: bool
    branches: dict[str, list[Commit]]
    objects: dict[str, bytes] = field(default_factory=dict)

    def at(self, revision: str) -> Commit:
        """The last commit of a branch, or the commit with this sha."""
        commits = {commit.sha: commit for branch in self.branches.values() for commit in branch}
        commits |= {name: branch[-1] for name, branch in self.branches.items()}
        if revision not in commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commits[revision]


class Refusal(Exception):
    """An error as the answer."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = "", **body: str):
        super().__init__(message)
        plain = message.encode("ascii", "replace").decode()  # headers cannot carry 한글
        headers = {"X-Error-Message": plain, "X-Error-Code": code, "X-Repo-Commit": commit}
        self.headers = {name: text for name, text in headers.items() if text}
        self.status, self.body = status, {"error": message} | body


class Hub:
    """The double. `with Hub() as hub:` serves until the block ends.

    Attributes:
        tokens: the user of each token, as {"hf_...": {"name": user, "role": "write" or "read", "orgs": [name, ...]}};
            `orgs` can be left out.
        endpoint: its address, for HF_ENDPOINT.
        requests: all requests in order.
        unknown: the request lines that it has no answer to.
        repos: the repositories by type ("model" or "dataset") and id.
    """

    def __init__(self, tokens: Mapping[str, Mapping[str, Any]] | None = None):
        self.tokens = dict(tokens or {"hf_writer": {"name": "me", "role": "write"}})
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self.repos: dict[tuple[str, str], Repo] = {}
        self._received: list[bytes] = []
        self._inline: Counter[str] = Counter()  # by path
        self._puts: Counter[str] = Counter()  # by sha256
        self._named: dict[str, str] = {}  # the path with which a sha256 was first committed
        self._faults: dict[str, list[Any]] = {}  # by route: status, times left, message
        self._lock = threading.RLock()
        self._homes = tempfile.TemporaryDirectory(prefix="hub-")
        self._server: _Server | None = None
        self._port = 0  # any free one
        self.up()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._homes.cleanup()

    def up(self) -> None:
        """Serve; after `down` on the same port and with the same repositories."""
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.hub = self
        self._port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self._port}"
        # The server checks this often whether it should stop.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Stop: from now on connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, where: str, status: int, times: float = 1, message: str = "") -> None:
        """Answer the next `times` requests to the route `where` with an error. math.inf: all of them; 0: none."""
        names = [name for name, *_ in _ROUTES]
        if where not in names:
            raise ValueError(f"{where} is none of {', '.join(names)}")
        self._faults[where] = [status, times, message or (status and HTTPStatus(status).phrase)]

    def drop(self, where: str = "put", times: float = 1) -> None:
        """Hang up on the next `times` requests to the route `where`, with half of the body read."""
        self.fail(where, DROP, times)

    def environment(self, token: str | None = None) -> dict[str, str]:
        """The environment of a new process that is to use this Hub with `token` and empty caches.

        The libraries read it once, when they are imported.
        """
        home = tempfile.mkdtemp(dir=self._homes.name)
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": token or "",  # left out, the tester's own would be used
            "HF_HOME": home,
            "HF_DATASETS_CACHE": str(Path(home, "datasets")),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def add(self, repo_id: str, files: dict[str, bytes], repo_type: str = "model", private: bool = False) -> Repo:
        """Add a repository as if somebody had pushed it before."""
        large = frozenset(path for path, content in files.items() if _is_large(path, len(content)))
        commit = Commit(secrets.token_hex(20), "initial commit", files, large)
        objects = {_sha256(files[path]): files[path] for path in large}
        repo = self.repos[repo_type, repo_id] = Repo(repo_id, repo_type, private, {"main": [commit]}, objects)
        return repo

    def last_commit(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> Commit:
        return self.repos[repo_type, repo_id].at(revision)

    def files(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> dict[str, bytes]:
        return dict(self.last_commit(repo_id, repo_type, revision).files)

    @property
    def uploads(self) -> Counter[str]:
        """How often a file's bytes have arrived completely, by path; by sha256 if no commit has named a path yet."""
        uploads = Counter(self._inline)
        for sha, times in self._puts.items():
            uploads[self._named.get(sha, sha)] += times
        return uploads

    def received_bytes(self) -> bytes:
        """Everything received, to search for secrets: request lines, headers, bodies, and base64 content decoded.

        Authorization headers, where the token belongs, are left out. Compressed content (Parquet) stays compressed.
        """
        return b"\n".join(self._received)

    # The answers. `ask` is the request: type, id, revision, path and query of its address, body, range, user, repo.

    def _serve(self, http: "_Handler") -> None:
        address, _, query = http.path.partition("?")
        where, parts = _route(http.command, address)
        with self._lock:
            status, times, message = fault = self._faults.get(where, [200, 0, ""])
            fault[1] = max(times - 1, 0)
        dropped = times and status == DROP
        body = http.rfile.read(int(http.headers.get("Content-Length", 0)) // (2 if dropped else 1))
        with self._lock:
            self.requests.append(Request(http.command, http.path, len(body)))
            headers = [f"{name}: {text}" for name, text in http.headers.items() if name.lower() != "authorization"]
            self._received += ["\n".join([http.requestline, *headers]).encode(), body]
            if dropped:
                http.close_connection = True
                return
            ask = SimpleNamespace(**parts, query=parse_qs(query), body=body, range=http.headers.get("Range", ""))
            try:
                if where == "unknown" or "create_pr" in ask.query:
                    self.unknown.append(http.requestline)
                    raise Refusal(501, f"The test double has no answer to {http.requestline}")
                ask.user = self._user(http.headers.get("Authorization"), where)
                if times:
                    raise Refusal(status, message, **({"url": self._wanted(ask)[-1]} if where == "create" else {}))
                ask.repo = self._repo(ask, where)
                answer = getattr(self, f"_answer_{where}")(ask)
                status, body, headers = answer if isinstance(answer, tuple) else (200, answer, {})
            except Refusal as refusal:
                status, body, headers = refusal.status, refusal.body, refusal.headers
        http.answer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)

    def _user(self, authorization: str | None, where: str) -> Mapping[str, str] | None:
        if authorization is None and where in {*_WRITES, "whoami"}:
            raise Refusal(401, "Invalid username or password.")
        user = self.tokens.get((authorization or "").removeprefix("Bearer "))
        if authorization is not None and user is None:  # even for what is public, as the Hub does since 2025
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, ask: SimpleNamespace, where: str) -> Repo | None:
        if ask.id is None:
            return None
        repo = self.repos.get((ask.type, ask.id))
        owns = ask.user is not None and _owner(ask.id) in _namespaces(ask.user)
        if repo is None or (repo.private and not owns and where != "put"):  # others cannot see what is private
            raise Refusal(404, "Repository not found", "RepoNotFound")
        if where in _WRITES and not (owns and ask.user["role"] != "read"):
            raise Refusal(403, f"Forbidden: this token must not write to {ask.id}")
        return repo

    def _answer_whoami(self, ask: SimpleNamespace) -> dict:
        auth = {"type": "access_token", "accessToken": {"role": ask.user["role"]}}
        name, *orgs = _namespaces(ask.user)
        return {"type": "user", "name": name, "auth": auth, "orgs": [{"type": "org", "name": org} for org in orgs]}

    def _answer_create(self, ask: SimpleNamespace) -> dict:
        kind, repo_id, private, url = self._wanted(ask)
        if ask.user["role"] == "read" or _owner(repo_id) not in _namespaces(ask.user):
            raise Refusal(403, f"You don't have the rights to create {repo_id}")
        if (kind, repo_id) in self.repos:
            raise Refusal(409, f"You already created this {kind} repo", url=url)  # the client reads this URL
        self.add(repo_id, {}, kind, private)
        return {"url": url}

    def _answer_auth(self, ask: SimpleNamespace) -> dict:
        return {}  # `_repo` has refused those who may not write

    def _wanted(self, ask: SimpleNamespace) -> tuple[str, str, bool, str]:
        """Type, id, privacy and URL of the repository to create."""
        wanted = json.loads(ask.body)
        kind, repo_id = wanted.get("type", "model"), f"{wanted['organization'] or ask.user['name']}/{wanted['name']}"
        return kind, repo_id, wanted.get("visibility") == "private", self._url(kind, repo_id)

    def _url(self, kind: str, repo_id: str) -> str:
        return f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"

    def _answer_yaml(self, ask: SimpleNamespace) -> dict:
        return {"errors": [], "warnings": []}

    def _answer_preupload(self, ask: SimpleNamespace) -> dict:
        commit, answers = ask.repo.at(ask.revision), []
        for file in json.loads(ask.body)["files"]:
            path = file["path"]
            self._received.append(base64.b64decode(file["sample"]))
            mode = "lfs" if _is_large(path, file["size"]) else "regular"
            known = {"oid": commit.oid(path)} if path in commit.files else {}
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return {"files": answers}

    def _answer_lfs(self, ask: SimpleNamespace) -> dict:
        answers = []
        for wanted in json.loads(ask.body)["objects"]:
            action = {"href": f"{self.endpoint}/store/{ask.type}s/{ask.id}/{wanted['oid']}"}
            missing = wanted["oid"] not in ask.repo.objects
            answers.append(wanted | ({"actions": {"upload": action, "verify": action}} if missing else {}))
        return {"transfer": "basic", "objects": answers}

    def _answer_put(self, ask: SimpleNamespace) -> dict:
        if _sha256(ask.body) != ask.path:
            raise Refusal(400, "These bytes do not have the announced sha256")
        ask.repo.objects[ask.path] = ask.body
        self._puts[ask.path] += 1
        return {}

    def _answer_verify(self, ask: SimpleNamespace) -> dict:
        if len(ask.repo.objects.get(ask.path, b"")) != json.loads(ask.body)["size"]:
            raise Refusal(404, "Object not found", "EntryNotFound")
        return {}

    def _answer_commit(self, ask: SimpleNamespace) -> dict:
        if ask.revision not in ask.repo.branches:
            raise Refusal(404, f"Invalid rev id: {ask.revision}", "RevisionNotFound")
        parent = ask.repo.branches[ask.revision][-1]
        header, *operations = (json.loads(line) for line in ask.body.splitlines())
        if header["value"].get("parentCommit", parent.sha) != parent.sha:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files, large = dict(parent.files), set(parent.large)
        for key, value in ((operation["key"], operation["value"]) for operation in operations):
            path = value["path"]
            if key == "file":
                files[path] = base64.b64decode(value["content"])
                large.discard(path)
                self._received.append(files[path])
                self._inline[path] += 1
            elif key == "lfsFile":
                if value["oid"] not in ask.repo.objects:
                    raise Refusal(400, f"{path} points to bytes that have not been sent")
                files[path] = ask.repo.objects[value["oid"]]
                large.add(path)
                self._named.setdefault(value["oid"], path)
            else:  # deletedFile, deletedFolder
                gone = {name for name in files if name == path or name.startswith(path.rstrip("/") + "/")}
                if not gone:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
                files = {name: content for name, content in files.items() if name not in gone}
                large -= gone
        commit = Commit(secrets.token_hex(20), header["value"]["summary"], files, frozenset(large))
        ask.repo.branches[ask.revision].append(commit)
        url = f"{self._url(ask.type, ask.id)}/commit/{commit.sha}"
        return {"commitUrl": url, "commitOid": commit.sha, "hookOutput": "", "pullRequestUrl": None}

    def _answer_branch(self, ask: SimpleNamespace) -> dict:
        if ask.revision in ask.repo.branches:
            raise Refusal(409, f"Reference already exists: {ask.revision}")
        start = json.loads(ask.body or b"{}").get("startingPoint", "main")
        ask.repo.branches[ask.revision] = [ask.repo.at(start)]
        return {}

    def _answer_refs(self, ask: SimpleNamespace) -> dict:
        heads = {name: branch[-1].sha for name, branch in ask.repo.branches.items()}
        branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in heads.items()]
        return {"branches": branches, "tags": [], "converts": []}

    def _answer_info(self, ask: SimpleNamespace) -> dict:
        commit = ask.repo.at(ask.revision)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        about = {"id": ask.id, "sha": commit.sha, "private": ask.repo.private, "gated": False, "tags": []}
        return {**about, "author": ask.id.split("/")[0], "siblings": siblings}

    def _answer_tree(self, ask: SimpleNamespace) -> list:
        entries, above = ask.repo.at(ask.revision).entries(), ask.path and ask.path + "/"
        if ask.path and entries.get(ask.path, {}).get("type") != "directory":
            raise Refusal(404, f"{ask.path} does not exist on {ask.revision}", "EntryNotFound")
        below = {path.removeprefix(above): entry for path, entry in entries.items() if path.startswith(above)}
        deep = ask.query.get("recursive") == ["true"]
        return [entry for path, entry in below.items() if deep or "/" not in path]

    def _answer_paths(self, ask: SimpleNamespace) -> list:
        entries = ask.repo.at(ask.revision).entries()
        return [entries[path] for path in parse_qs(ask.body.decode())["paths"] if path in entries]

    def _answer_resolve(self, ask: SimpleNamespace) -> tuple[int, bytes, dict[str, str]]:
        commit = ask.repo.at(ask.revision)
        if ask.path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", commit.sha)
        content, etag = commit.files[ask.path], f'"{commit.oid(ask.path)}"'
        headers = {"X-Repo-Commit": commit.sha, "ETag": etag}
        if ask.path in commit.large:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", ask.range)
        if part is None:
            return 200, content, headers
        piece = content[int(part[1]) : int(part[2] or len(content)) + 1]
        last = int(part[1]) + len(piece) - 1
        return 206, piece, {**headers, "Content-Range": f"bytes {part[1]}-{last}/{len(content)}"}


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # clients download on many threads; one that finds the queue full waits a second
    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise bodies wait until headers are acknowledged
    server: _Server

    def do_GET(self) -> None:
        self.server.hub._serve(self)

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        # Closed after each answer: otherwise `down` would leave connections that are still answered.
        for name, text in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: `Hub.requests` has it."""


def _route(method: str, address: str) -> tuple[str, dict[str, str | None]]:
    parts: dict[str, str | None] = {"type": "model", "id": None, "revision": "main", "path": ""}
    for name, methods, pattern in _ROUTES:
        match = re.fullmatch(pattern, address)
        if match and method in methods.split("|"):
            return name, parts | {key: unquote(text) for key, text in match.groupdict().items() if text}
    return "unknown", parts


def _owner(repo_id: str) -> str:
    return repo_id.split("/")[0]


def _namespaces(user: Mapping[str, Any]) -> list[str]:
    """The user's own name and those of the organizations."""
    return [user["name"], *user.get("orgs", [])]


def _is_large(path: str, size: int) -> bool:
    return path.endswith(LARGE_SUFFIXES) or size >= LARGE_BYTES


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def assert_refused(result: subprocess.CompletedProcess, *expected: str) -> None:
    """A script that pushes ended with one message for its user, and pushed nothing."""
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for words in expected:
        assert words in result.stderr
    assert "/commit/" not in result.stdout  # nothing is reported as pushed
