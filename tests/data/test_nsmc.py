"""NSMC and its file layout: read as the reviewers wrote, refused when it is not what it should be."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from support import OWN, read_corpus, write_corpus

from pipeline.data.corpora import get_corpus, nsmc, nsmc_layout
from pipeline.data.corpora.nsmc_layout import undo_csv_layers
from pipeline.data.corpus import SourceFile
from pipeline.runtime.errors import UserError

NSMC = get_corpus("nsmc")
ROWS = [("재밌다", 1), ("", 0), ('"""""""최고다."""" 라고 했다"""', 1), ("탭 없는 문장  ", 0)]
HEADER = b"id\tdocument\tlabel\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("재밌다", "재밌다"),
        ("", ""),
        ('"""영화 """"ㅈ같다.""""""""', '"""영화 """"ㅈ같다.""""""""'),  # not a complete layer: left alone
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
    assert undo_csv_layers(written) == meant


def test_text_is_what_the_reviewer_wrote(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    data = read_corpus(write_corpus(tmp_path, ROWS, ROWS[:1]))
    assert data["train"]["text"][:] == ["재밌다", "", '"최고다." 라고 했다', "탭 없는 문장  "]
    assert data["train"]["label"][:] == [1, 0, 1, 0]
    assert (data["train"].num_rows, data["test"].num_rows) == (4, 1)
    assert capfd.readouterr().out == ""


def test_a_card_does_not_call_the_users_own_data_reviews() -> None:
    own, official = str(OWN.card.describe()), str(NSMC.card.describe())
    assert "텍스트" in own
    for word in ("리뷰", "review", "영화", "movie"):
        assert word not in own
        assert word in official


@pytest.mark.parametrize("name", ["nsmc", "nsmc_layout", "quickstart"])
def test_label_0_is_negative_and_1_positive(name: str) -> None:
    feature = get_corpus(name).features()["label"]
    assert (feature.int2str(0), feature.int2str(1)) == ("부정", "긍정")


def rows_of_korpora(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """What Korpora's own reader gives for files that are in place."""
    from Korpora import korpus_nsmc

    monkeypatch.setattr(korpus_nsmc, "fetch_nsmc", lambda *_: None)  # it would open the URL all the same
    korpus = korpus_nsmc.NSMCKorpus(root_dir=str(root))
    return {
        split: list(zip(map(undo_csv_layers, data.texts), data.labels, strict=True))
        for split, data in (("train", korpus.train), ("test", korpus.test))
    }


def our_rows(root: Path) -> dict[str, list[tuple[str, int]]]:
    return {split: list(zip(rows["text"], rows["label"], strict=True)) for split, rows in read_corpus(root).items()}


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
    ours = our_rows(root)
    assert ours == rows_of_korpora(root, monkeypatch)
    assert len(ours["train"]) == 30 * len(odd)


def test_rows_of_the_official_files_are_those_of_korpora(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert our_rows(official) == rows_of_korpora(official, monkeypatch)


def test_other_line_separators_do_not_break_a_review(tmp_path: Path) -> None:
    text = "한 줄\u2028두 줄\x0b세 줄\x85끝"
    assert our_rows(write_corpus(tmp_path, [(text, 1)], [(text, 0)]))["train"] == [(text, 1)]


def test_a_file_is_read_in_blocks_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nsmc_layout, "MAX_LINE_BYTES", 1000)
    root = write_corpus(tmp_path, [(f"리뷰 {number}", 1) for number in range(5000)], ROWS)
    blocks = [len(rows) for rows in OWN.read_blocks(OWN.fetch(root, root))["train"]]
    assert sum(blocks) == 5000
    assert max(blocks) < 200


def test_the_longest_line_is_read_wherever_it_stands_and_a_longer_one_refused(tmp_path: Path) -> None:
    longest = "a" * (nsmc_layout.MAX_LINE_BYTES - len("0\t\t1\n"))
    for position in (0, 1, 5):
        rows = [("짧다", 0)] * position + [(longest, 1)] + [("끝", 0)]
        assert our_rows(write_corpus(tmp_path / str(position), rows, ROWS))["train"] == rows
    root = write_corpus(tmp_path / "longer", [(longest + "a", 1)], ROWS)
    with pytest.raises(UserError, match=r"ratings_train\.txt, line 2: has more than 524,288 bytes"):
        OWN.fetch(root, root)


# Lines.


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "before the first example"),
        (HEADER, 2, "before the first example"),
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
        OWN.check_layout(path)
    assert f"{path}, line {line}: " in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("bad", ["train", "test"])
def test_both_files_are_checked(tmp_path: Path, bad: str) -> None:
    rows = {"train": ROWS, "test": ROWS} | {bad: [("a", 7)]}
    with pytest.raises(UserError, match=rf"ratings_{bad}.txt, line 2: .*label '7'"):
        read_corpus(write_corpus(tmp_path, rows["train"], rows["test"]))


def test_the_number_of_examples_does_not_count_the_header(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, ROWS[:1])
    assert OWN.check_layout(root / "nsmc" / "ratings_train.txt") == 4


# The official files.


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy corpus whose two files pass for the official ones."""
    root = write_corpus(tmp_path, ROWS, ROWS[:2])
    files = {}
    for split, file in NSMC.files.items():
        content = (root / "nsmc" / file.name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files[split] = SourceFile(file.name, size=len(content), sha256=digest, num_examples=3)
    monkeypatch.setattr(nsmc.Nsmc, "files", files)
    return root


def test_the_digests_of_both_files_are_kept(pretended: Path) -> None:
    files = NSMC.fetch(pretended, pretended)
    assert files.sha256 == {split: file.sha256 for split, file in NSMC.files.items()}
    assert NSMC.describe(files) == {"name": "nsmc", "sha256": files.sha256, "card": NSMC.card.describe()}


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_modified_file_of_two_is_refused(pretended: Path, split: str) -> None:
    path = pretended / "nsmc" / f"ratings_{split}.txt"
    path.write_bytes(path.read_bytes().replace("재밌다".encode(), "재밋다".encode()))
    with pytest.raises(UserError, match=rf"ratings_{split}.txt is not the official NSMC file"):
        NSMC.fetch(pretended, pretended)


def test_a_modified_corpus_is_refused_with_the_figures(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, ROWS)
    with pytest.raises(UserError) as caught:
        NSMC.fetch(root, root)
    path = root / "nsmc" / "ratings_train.txt"
    found = (
        f"found:    {path.stat().st_size:,} bytes, 4 examples, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )
    expected = f"expected: 14,628,807 bytes, 150,000 examples, sha256 {NSMC.files['train'].sha256}"
    for figure in (str(path), expected, found, "--corpus_name nsmc_layout"):
        assert figure in str(caught.value)


def test_rewritten_line_ends_are_named_and_read_the_same(tmp_path: Path) -> None:
    root = write_corpus(tmp_path, ROWS, ROWS)
    before = our_rows(root)
    path = root / "nsmc" / "ratings_train.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UserError, match="its 5 lines end in CR LF"):
        NSMC.fetch(root, root)
    assert our_rows(root) == before


def test_official_nsmc(official: Path) -> None:
    data = NSMC.read(NSMC.fetch(official, official, download=False))
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
        for file in NSMC.files.values()
        for line in (official / "nsmc" / file.name).read_text(encoding="utf-8").split("\n")
        if '"' in line
    ]
    assert len(quoted) == 856
    assert all(undo_csv_layers(text) != text for text in quoted)
