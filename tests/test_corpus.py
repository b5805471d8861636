"""The corpus: read as it was written, refused when it is not what it should be, never left half downloaded."""

import hashlib
import multiprocessing
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import write_corpus

from pipeline import corpus
from pipeline.corpus import OFFICIAL, OfficialFile, check_layout, fetch_corpus, read_blocks, read_corpus, undo_csv
from pipeline.errors import UserError

ROWS = [("재밌다", 1), ("", 0), ('"""""""최고다."""" 라고 했다"""', 1), ("탭 없는 문장  ", 0)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("재밌다", "재밌다"),
        ("", ""),
        ('"""영화 """"ㅈ같다.""""""""', '"""영화 """"ㅈ같다.""""""""'),  # not a whole layer: left alone
        ('"""만화책""""비밀"""".에서 영향"""', '만화책"비밀".에서 영향'),
        ('"""""""인용""""로 시작"""', '"인용"로 시작'),
        ('"""""""전부 인용"""""""', '"전부 인용"'),  # undone until stable, it would lose its own quotation marks
        ('"한 겹"', '"한 겹"'),
        ('"', '"'),
        ('""', '""'),
        ('""""""', ""),
    ],
)
def test_exactly_two_csv_layers_are_undone(written: str, meant: str) -> None:
    assert undo_csv(written) == meant


def test_text_is_what_the_reviewer_wrote(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    files = fetch_corpus(write_corpus(tmp_path, ROWS, ROWS[:1]), official_only=False)
    data = read_corpus(files)
    assert data["train"]["text"][:] == ["재밌다", "", '"최고다." 라고 했다', "탭 없는 문장  "]
    assert data["train"]["label"][:] == [1, 0, 1, 0]
    assert data["train"].features["label"].names == ["부정", "긍정"]
    assert (data["train"].num_rows, data["test"].num_rows) == (4, 1)
    assert not files.official
    assert capfd.readouterr().out == ""


def rows_of_korpora(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """What Korpora's own reader gives of files that are in place."""
    from Korpora import korpus_nsmc

    monkeypatch.setattr(korpus_nsmc, "fetch_nsmc", lambda *_: None)  # it would open the URL all the same
    korpus = korpus_nsmc.NSMCKorpus(root_dir=str(root))
    return {
        split: list(zip(map(undo_csv, data.texts), data.labels, strict=True))
        for split, data in (("train", korpus.train), ("test", korpus.test))
    }


def rows_of_ours(root: Path) -> dict[str, list[tuple[str, int]]]:
    data = read_corpus(fetch_corpus(root, official_only=False))
    return {split: list(zip(rows["text"], rows["label"], strict=True)) for split, rows in data.items()}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_rows_are_those_of_korpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_end: str) -> None:
    """For all that Arrow's reader could take for something else: quotes, nothing, numbers, spaces, escapes."""
    odd = [
        *"# ' 1 NA null nan true 2022-01-01 a,b;c|d é e\u0301 \u200b \ufeff중간 👍🏽 \\ \\t".split(" "),
        *'" "" "한'.split(" "),
    ]
    odd += ["", " ", "  앞뒤  ", '"한 겹"', '홀로 " 선', "\u2028", "\x0b", "\x85", "가" * 40_000]
    root = write_corpus(tmp_path, [(text, number % 2) for number, text in enumerate(odd * 30)], ROWS)
    for path in (root / "nsmc").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", line_end.encode()))
    ours = rows_of_ours(root)
    assert ours == rows_of_korpora(root, monkeypatch)
    assert len(ours["train"]) == 30 * len(odd)


def test_rows_of_the_official_files_are_those_of_korpora(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows_of_ours(official) == rows_of_korpora(official, monkeypatch)


def test_a_file_is_read_in_blocks_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LONGEST_LINE", 1000)
    root = write_corpus(tmp_path, [(f"리뷰 {number}", 1) for number in range(5000)], ROWS)
    blocks = [len(rows) for rows in read_blocks(fetch_corpus(root, official_only=False))["train"]]
    assert sum(blocks) == 5000
    assert max(blocks) < 200


def test_a_modified_corpus_is_refused_with_the_figures(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, ROWS)
    with pytest.raises(UserError) as caught:
        fetch_corpus(root)
    path = root / "nsmc" / "ratings_train.txt"
    figures = ["14,628,807", "150,000", OFFICIAL["train"].sha256, f"{path.stat().st_size:,}", "4 reviews"]
    for figure in [*figures, hashlib.sha256(path.read_bytes()).hexdigest(), str(path), "--allow_modified_corpus"]:
        assert figure in str(caught.value)


def test_rewritten_line_ends_are_named_and_read_the_same(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, ROWS)
    before = read_corpus(fetch_corpus(root, official_only=False))["train"][:]
    path = root / "nsmc" / "ratings_train.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match="CR LF"):
        fetch_corpus(root)
    assert read_corpus(fetch_corpus(root, official_only=False))["train"][:] == before


HEADER = b"id\tdocument\tlabel\n"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "before the first review"),
        (HEADER, 2, "before the first review"),
        (b"1\ta\t1\n", 1, "header"),
        (b"\xef\xbb\xbf" + HEADER + b"1\ta\t1\n", 1, "byte order mark"),
        (HEADER.decode().encode("utf-16"), 1, "header"),
        (HEADER + b"1\ta\t1\n2\tb\n", 3, "2 column"),
        (HEADER + b"1\ta\t1\n2\tb\tc\t1\n", 3, "4 column"),
        (HEADER + b"1\ta\t1\n\n", 3, "1 column"),
        (HEADER + b"1\ta\t7\n", 2, "label '7'"),
        (HEADER + b"1\ta\t\n", 2, "label ''"),
        (HEADER + b"1\ta\t1.0\n", 2, "label '1.0'"),
        (HEADER + b"1\ta\t 1\n", 2, "label ' 1'"),
        (HEADER + "1\t가\t1\n".encode("cp949"), 2, "not UTF-8"),
        (HEADER + b"1\ta\x00b\t1\n", 2, "NUL"),
        (HEADER + b"1\ta\rb\t1\n", 2, "carriage return"),
        (HEADER + "1\t재밌다\t1\n2\t최고".encode()[:-1], 3, "not UTF-8"),
    ],
)
def test_malformed_files_name_file_line_and_reason(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = tmp_path / "ratings_train.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        check_layout(path)
    assert f"{path}, line {line}: " in str(caught.value)
    assert reason in str(caught.value)


def test_malformed_files_are_refused_even_if_modified_ones_are_allowed(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, [("a", 7)])
    with pytest.raises(UserError, match=r"ratings_test.txt, line 2: .*label '7'"):
        fetch_corpus(root, official_only=False)


def test_other_line_separators_do_not_break_a_review(tmp_path: Path) -> None:
    text = "한 줄\u2028두 줄\x0b세 줄\x85끝"
    data = read_corpus(fetch_corpus(write_corpus(tmp_path, [(text, 1)], [(text, 0)]), official_only=False))
    assert data["train"]["text"][:] == [text]


# Downloads, from a server on loopback that sends a toy and can break off.

TOY = HEADER + "".join(f"{i}\t리뷰 {i}\t{i % 2}\n" for i in range(5000)).encode()


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
        split: OfficialFile(file.name, len(TOY), hashlib.sha256(TOY).hexdigest(), 5000)
        for split, file in OFFICIAL.items()
    }
    monkeypatch.setattr(corpus, "OFFICIAL", toy)
    with Server() as server:
        for entry in NSMC_FETCH_INFORMATION:
            monkeypatch.setitem(entry, "url", f"{server.url}/{entry['destination']}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".download.lock"}


BOTH = {"ratings_train.txt", "ratings_test.txt"}


def test_download_is_verified_and_put_in_place(server: Server, tmp_path: Path) -> None:
    files = fetch_corpus(tmp_path)
    assert files.official
    assert left_in(tmp_path / "nsmc") == BOTH
    assert read_corpus(files)["train"].num_rows == 5000


def test_a_download_shows_its_progress_and_no_banner(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    fetch_corpus(tmp_path)
    out, err = capfd.readouterr()
    assert out == ""  # Korpora's banner would stand before the path that prepare_data.py prints
    assert all(re.search(rf"download {name}: +[1-9]\S*B \[", err) for name in BOTH)


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.silent = True
    monkeypatch.setattr(corpus, "CONNECT_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(UserError, match="broke 3 times: timed out"):
        fetch_corpus(tmp_path)
    assert time.monotonic() - started < 20  # without a timeout: for ever


def test_what_a_killed_download_left_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "nsmc" / ".download-abc").mkdir(parents=True)
    fetch_corpus(tmp_path)
    assert left_in(tmp_path / "nsmc") == BOTH


def test_files_in_place_need_no_network(server: Server, tmp_path: Path) -> None:
    fetch_corpus(tmp_path)
    asked = server.asked.total()
    fetch_corpus(tmp_path)
    assert server.asked.total() == asked


def test_only_the_missing_file_is_fetched(server: Server, tmp_path: Path) -> None:
    fetch_corpus(tmp_path)
    (tmp_path / "nsmc" / "ratings_test.txt").unlink()
    server.asked.clear()
    fetch_corpus(tmp_path)
    assert set(server.asked) == {"/nsmc/ratings_test.txt"}


def test_force_download_fetches_anew(server: Server, tmp_path: Path) -> None:
    fetch_corpus(tmp_path)
    path = tmp_path / "nsmc" / "ratings_train.txt"
    path.write_text("damaged")
    assert fetch_corpus(tmp_path, force_download=True).official


def test_a_broken_download_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    assert fetch_corpus(tmp_path).official


def test_a_download_that_keeps_breaking_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.breaks = 100
    with pytest.raises(UserError, match="broke 3 times"):
        fetch_corpus(tmp_path)
    assert left_in(tmp_path / "nsmc") == set()


def test_something_else_than_nsmc_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>log in to the hotel's network</html>"
    with pytest.raises(UserError, match="did not send the official NSMC") as caught:
        fetch_corpus(tmp_path)
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert left_in(tmp_path / "nsmc") == set()


def test_a_failed_forced_download_keeps_the_old_file(server: Server, tmp_path: Path) -> None:
    fetch_corpus(tmp_path)
    server.content = b"something else"
    with pytest.raises(UserError):
        fetch_corpus(tmp_path, force_download=True)
    assert fetch_corpus(tmp_path).official


def test_several_processes_download_once(server: Server, tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=fetch_corpus, args=(tmp_path,)) for _ in range(4)]
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
        fetch_corpus(tmp_path)
    for expected in (
        server.url,
        "refused",
        str(tmp_path / "nsmc" / "ratings_test.txt"),
        "--corpus_root_dir",
        "e9t/nsmc",
    ):
        assert expected in str(caught.value)


def test_missing_files_without_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ratings_train.txt is missing"):
        fetch_corpus(tmp_path, download=False)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "nsmc").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written"):
        fetch_corpus(tmp_path)


# The official files.


def test_official_nsmc(official: Path) -> None:
    files = fetch_corpus(official)
    data = read_corpus(files)
    assert files.official
    assert data.num_rows == {"train": 150_000, "test": 50_000}
    assert Counter(data["train"]["label"]) == {0: 75_173, 1: 74_827}
    assert Counter(data["test"]["label"]) == {0: 24_827, 1: 25_173}
    texts = {split: data[split]["text"][:] for split in data}
    assert (texts["train"].count(""), texts["test"].count("")) == (5, 3)
    assert (len(set(texts["train"])), len(set(texts["test"]))) == (146_183, 49_158)
    assert sum('"' in text for text in texts["train"] + texts["test"]) == 856  # the reviewers' own marks stay


def test_official_quotes_are_all_two_layers_deep(official: Path) -> None:
    quoted = [
        line.split("\t")[1]
        for file in OFFICIAL.values()
        for line in (official / "nsmc" / file.name).read_text(encoding="utf-8").split("\n")
        if '"' in line
    ]
    assert len(quoted) == 856
    assert all(undo_csv(text) != text for text in quoted)
