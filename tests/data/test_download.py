"""Downloads, from a server on loopback that sends a toy and can break off: verified, or not in place at all."""

import hashlib
import multiprocessing
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.data import download
from pipeline.data.corpora import get_corpus, nsmc
from pipeline.data.corpus import CorpusFiles, SourceFile
from pipeline.runtime.errors import UserError

NSMC = get_corpus("nsmc")
HEADER = b"id\tdocument\tlabel\n"
TOY = HEADER + "".join(f"{i}\t리뷰 {i}\t{i % 2}\n" for i in range(5000)).encode()
BOTH = {"ratings_train.txt", "ratings_test.txt"}


class Server(ThreadingHTTPServer):
    """Sends TOY for any path; the first `breaks` answers end half-way."""

    breaks = 0
    silent = False  # sends the headers and then nothing
    content = TOY

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.silent:
            self.server.over.wait()
        # Korpora opens the URL once for its size and once for its content, so a break costs two requests.
        if self.server.asked.total() <= 2 * self.server.breaks:
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from Korpora.korpus_nsmc import NSMC_FETCH_INFORMATION

    toy = {
        split: SourceFile(file.name, len(TOY), hashlib.sha256(TOY).hexdigest(), 5000)
        for split, file in NSMC.files.items()
    }
    monkeypatch.setattr(nsmc.Nsmc, "files", toy)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Server() as server:
        for entry in NSMC_FETCH_INFORMATION:
            monkeypatch.setitem(entry, "url", f"{server.url}/{entry['destination']}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def fetch(root: Path, **options: bool) -> CorpusFiles:
    return NSMC.fetch(root, root, **options)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".download.lock"}


def test_download_is_verified_and_put_in_place(server: Server, tmp_path: Path) -> None:
    files = fetch(tmp_path)
    assert left_in(tmp_path / "nsmc") == BOTH
    assert NSMC.read(files).num_rows == {"train": 5000, "test": 5000}


def test_a_download_shows_its_progress_and_no_banner(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    fetch(tmp_path)
    out, err = capfd.readouterr()
    assert out == ""  # Korpora's banner would precede the path that prepare_data.py prints
    assert all(re.search(rf"download {name}: +[1-9]\S*B \[", err) for name in BOTH)


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.silent = True
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(UserError, match="broke 3 times: timed out"):
        fetch(tmp_path)
    assert time.monotonic() - started < 20  # without a timeout: for ever


def test_what_a_killed_download_left_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "nsmc" / ".download-abc").mkdir(parents=True)
    fetch(tmp_path)
    assert left_in(tmp_path / "nsmc") == BOTH


def test_files_in_place_need_no_network(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path)
    asked = server.asked.total()
    fetch(tmp_path)
    assert server.asked.total() == asked


@pytest.mark.parametrize("name", sorted(BOTH))
def test_only_the_missing_file_is_fetched(server: Server, tmp_path: Path, name: str) -> None:
    fetch(tmp_path)
    (tmp_path / "nsmc" / name).unlink()
    server.asked.clear()
    fetch(tmp_path)
    assert set(server.asked) == {f"/nsmc/{name}"}


def test_force_download_fetches_both_again(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path)
    for name in BOTH:
        (tmp_path / "nsmc" / name).write_text("damaged")
        os.utime(tmp_path / "nsmc" / name, (0, 0))
    assert fetch(tmp_path, force_download=True).sha256["test"] == hashlib.sha256(TOY).hexdigest()
    assert all((tmp_path / "nsmc" / name).read_bytes() == TOY for name in BOTH)


def test_a_broken_download_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    assert NSMC.read(fetch(tmp_path))["train"].num_rows == 5000


def test_a_download_that_keeps_breaking_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.breaks = 100
    with pytest.raises(UserError, match="broke 3 times"):
        fetch(tmp_path)
    assert left_in(tmp_path / "nsmc") == set()


def test_something_else_than_nsmc_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>log in to the hotel's network</html>"
    with pytest.raises(UserError, match="did not send the official NSMC") as caught:
        fetch(tmp_path)
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert left_in(tmp_path / "nsmc") == set()


def test_a_failed_forced_download_keeps_the_old_file(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path)
    server.content = b"something else"
    with pytest.raises(UserError, match="did not send"):
        fetch(tmp_path, force_download=True)
    assert all((tmp_path / "nsmc" / name).read_bytes() == TOY for name in BOTH)


@pytest.mark.parametrize("force", [False, True])
def test_several_processes_download_once(server: Server, tmp_path: Path, force: bool) -> None:
    if force:
        fetch(tmp_path)
        server.asked.clear()
    barrier = multiprocessing.get_context("fork").Barrier(4)

    def work() -> None:
        barrier.wait()
        fetch(tmp_path, force_download=force)

    processes = [multiprocessing.get_context("fork").Process(target=work) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert server.asked == {f"/nsmc/{name}": 2 for name in BOTH}  # once each; Korpora asks twice


def test_without_a_network_the_message_says_what_to_do(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as caught:
        fetch(tmp_path)
    for expected in (
        *(f"tried: {server.url}/nsmc/ratings_train.txt", "refused", "https://github.com/e9t/nsmc"),
        *(str(tmp_path / "nsmc" / name) for name in BOTH),
        "name the folder above nsmc/ with --corpus_root_dir",
    ):
        assert expected in str(caught.value)


def test_a_file_in_a_subfolder_of_which_nothing_is_known(server: Server, tmp_path: Path) -> None:
    urls = {SourceFile("labeled/train.tsv"): f"{server.url}/anything"}
    download.download_files(urls, tmp_path / "toys", "toys", None)
    assert (tmp_path / "toys" / "labeled" / "train.tsv").read_bytes() == TOY
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as caught:
        download.download_files(urls, tmp_path / "toys", "toys", None, replace=True)
    assert f"put them at\n      {tmp_path / 'toys' / 'labeled' / 'train.tsv'}\n" in str(caught.value)
    assert (tmp_path / "toys" / "labeled" / "train.tsv").read_bytes() == TOY


def test_offline_nothing_is_tried_and_nothing_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        fetch(tmp_path)
    assert server.asked.total() == 0
    assert list(tmp_path.iterdir()) == []


def test_missing_files_without_download(server: Server, tmp_path: Path) -> None:
    assert NSMC.missing_files(tmp_path) == ["ratings_train.txt", "ratings_test.txt"]
    with pytest.raises(UserError, match=r"ratings_train.txt is missing"):
        fetch(tmp_path, download=False)
    assert server.asked.total() == 0
    fetch(tmp_path)
    assert NSMC.missing_files(tmp_path) == []


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "nsmc").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(tmp_path)
