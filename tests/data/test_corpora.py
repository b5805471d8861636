"""A corpus: found by its file's name, its files checked and read whatever their form."""

import csv
import hashlib
import importlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Value
from huggingface_hub import constants

from pipeline.data import corpus
from pipeline.data.corpora import corpus_names, get_corpus
from pipeline.data.corpus import Bilingual, CorpusCard, CorpusSpec, SourceFile
from pipeline.data.table_corpus import CSV, QUOTED_TSV, KorporaCorpus, TableCorpus
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

ROWS = [("오늘 너무 행복하다", "joy"), ("시험에 떨어졌다", "sadness"), ("왜 이렇게 늦어", "anger")]


KORPORA = ("korean_hate_speech", "kornli", "korsts", "question_pair")


class Emotions(CorpusSpec):
    """Three classes by name, in columns of other names."""

    summary = "toys"
    task = SingleLabelClassification(("anger", "joy", "sadness"), text_columns=("sentence",))
    files = {"train": SourceFile("train.csv"), "test": SourceFile("test.csv")}
    card = CorpusCard(*[Bilingual("감정", "emotions")] * 4)

    def read_file(self, path: Path) -> Iterator[Dataset]:
        with open(path, encoding="utf-8", newline="") as file:
            rows = ({"sentence": row["content"], "label": row["emotion"]} for row in csv.DictReader(file))
            yield from self.blocks(path, rows)


def write(root: Path, rows: list[tuple[str, str]] = ROWS) -> Path:
    folder = root / Emotions().name
    folder.mkdir(exist_ok=True)
    for name in ("train.csv", "test.csv"):
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("emotion", "content"), *((label, text) for text, label in rows)])
    return folder


def test_every_file_here_is_a_corpus_by_its_name() -> None:
    assert set(corpus_names()) >= {"nsmc", "nsmc_layout", "quickstart", *KORPORA}
    for name in corpus_names():
        spec = get_corpus(name)
        assert spec.name == name
        assert {"train", "test"} <= set(spec.files) <= {"train", "validation", "test"}
        assert spec.summary
        assert not spec.label_columns or spec.task in spec.label_columns.values()


def test_a_corpus_that_is_none(tmp_path: Path) -> None:
    """Its name may come from the file of a model, so that it must not import what it likes."""
    for name in ("imdb", "..config", "__init__", ""):
        with pytest.raises(UserError, match=r"expected one of .*nsmc, nsmc_layout, .*quickstart"):
            get_corpus(name)


def test_columns_and_classes_are_the_tasks(tmp_path: Path) -> None:
    write(tmp_path)
    data = Emotions().read(Emotions().fetch(tmp_path, tmp_path))
    assert data["train"].column_names == ["sentence", "label"]
    assert data["train"].features["sentence"] == Value("string")
    assert data["train"].features["label"] == ClassLabel(names=["anger", "joy", "sadness"])
    assert list(data["train"]) == [
        {"sentence": "오늘 너무 행복하다", "label": 1},
        {"sentence": "시험에 떨어졌다", "label": 2},
        {"sentence": "왜 이렇게 늦어", "label": 0},
    ]


def test_rows_come_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK_SIZE", 4)
    write(tmp_path, ROWS * 3)
    blocks = Emotions().read_blocks(Emotions().fetch(tmp_path, tmp_path))["test"]
    assert [block["label"][:] for block in blocks] == [[1, 2, 0, 1], [2, 0, 1, 2], [0]]


def test_an_unknown_label_is_named_with_its_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK_SIZE", 2)
    folder = write(tmp_path, [*ROWS, ("그냥 그렇다", "neutral")])
    with pytest.raises(UserError) as caught:
        Emotions().read(Emotions().fetch(tmp_path, tmp_path))
    assert f"{folder / 'train.csv'}, example 4: " in str(caught.value)
    assert "neutral" in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_known_digest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    folder = write(tmp_path)
    digest = hashlib.sha256((folder / "train.csv").read_bytes()).hexdigest()  # of both: they are equal
    monkeypatch.setattr(
        Emotions, "files", {name: SourceFile(f"{name}.csv", sha256=digest) for name in ("train", "test")}
    )
    assert Emotions().fetch(tmp_path, tmp_path).sha256 == {"train": digest, "test": digest}
    (folder / f"{split}.csv").write_text("emotion,content\njoy,다른 글\n")
    with pytest.raises(UserError, match=rf"{split}.csv is not the official emotions file"):
        Emotions().fetch(tmp_path, tmp_path)


def test_a_file_that_the_user_must_bring(tmp_path: Path) -> None:
    (write(tmp_path) / "test.csv").unlink()
    with pytest.raises(UserError, match=r"test.csv is missing. Expected your own examples.*--corpus_root_dir"):
        Emotions().fetch(tmp_path, tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / Emotions().name / "train.csv").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train.csv is not a file"):
        Emotions().fetch(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": "joy"}, "'sentence'"),
        ({"sentence": None, "label": "joy"}, "sentence is missing"),
        ({"sentence": "글", "label": None}, "label is missing"),
        ({"sentence": "글", "label": 3}, "Class label 3"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row: dict[str, object], reason: str) -> None:
    rows = ({"sentence": each["sentence"], "label": each["label"]} for each in [{"sentence": "글", "label": 0}, row])
    with pytest.raises(UserError) as caught:
        list(Emotions().blocks(Path("train.csv"), rows))
    assert str(caught.value).startswith("train.csv, example 2: ")
    assert reason in str(caught.value)


def test_several_labels_of_a_row_are_as_many_as_the_task_has() -> None:
    corpus = Emotions()
    corpus.task = MultiLabelClassification(("a", "b"), ("sentence",))
    (block,) = corpus.blocks(Path("train.csv"), [{"sentence": "글", "label": [0, 1]}])
    assert block["label"][:] == [[0.0, 1.0]]
    with pytest.raises(UserError, match=r"example 1: label has 1 values, not 2"):
        list(corpus.blocks(Path("train.csv"), [{"sentence": "글", "label": [1]}]))


def test_a_split_may_have_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    (folder / "more.csv").write_text("emotion,content\njoy,덧붙인 글\n", encoding="utf-8")
    files = {"train": (SourceFile("train.csv"), SourceFile("more.csv")), "test": SourceFile("test.csv")}
    monkeypatch.setattr(Emotions, "files", files)
    fetched = Emotions().fetch(tmp_path, tmp_path)
    assert Emotions().read(fetched)["train"]["sentence"][:] == [text for text, _ in ROWS] + ["덧붙인 글"]
    assert Emotions().read(fetched)["test"].num_rows == 3
    (folder / "more.csv").write_text("emotion,content\nanger,덧붙인 글\n", encoding="utf-8")
    changed = Emotions().fetch(tmp_path, tmp_path)
    assert changed.sha256["train"] != fetched.sha256["train"]
    assert changed.sha256["test"] == fetched.sha256["test"]
    (folder / "more.csv").unlink()
    assert Emotions().missing_files(tmp_path) == ["more.csv"]
    with pytest.raises(UserError, match=r"more.csv is missing"):
        Emotions().fetch(tmp_path, tmp_path)


# Tables.


class Menu(TableCorpus):
    """Each test gives it a task, a dialect and files."""

    summary = "toys"
    label = "kind"
    task = SingleLabelClassification(("main", "side"), ("dish",))
    files = {"train": SourceFile("train.tsv"), "test": SourceFile("train.tsv")}
    card = CorpusCard(*[Bilingual("메뉴", "menu")] * 4)


def read_table(tmp_path: Path, content: str | bytes, **changes: object) -> Dataset:
    menu = Menu()
    vars(menu).update(changes)
    path = tmp_path / menu.name / "train.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return menu.read(menu.fetch(tmp_path, tmp_path))["train"]


@pytest.mark.parametrize(
    ("content", "changes", "expected"),
    [
        ('id\tdish\tkind\n1\t"밥" 한 공기\tmain\n2\t"\tside\n', {}, [('"밥" 한 공기', 0), ('"', 1)]),
        ('dish\tkind\n"밥\t""국"""\tside\n', {"dialect": QUOTED_TSV}, [('밥\t"국"', 1)]),
        ('kind,dish\nmain,"밥, 국"\n', {"dialect": CSV}, [("밥, 국", 0)]),
        ("\ufeffdish\tkind\r\n밥\t1\r\n", {"label_values": ("1", "2")}, [("밥", 0)]),
        (
            "dish\tkind\n밥\tside|main\n국\tside\n물\t\n",
            {"task": MultiLabelClassification(("main", "side"), ("dish",))},
            [("밥", [1.0, 1.0]), ("국", [0.0, 1.0]), ("물", [0.0, 0.0])],
        ),
        ("dish\tkind\n밥\t3.5\n", {"task": Regression(("kind",), ("dish",))}, [("밥", 3.5)]),
        ("dish\tkind\tother\n밥\tmain\tb\n", {"label_column": "other", "task": Menu.task, "label_values": ("a", "b")},
         [("밥", 1)]),
    ],
    ids=["quotation marks", "quoted tsv", "csv", "values", "several labels", "regression", "another label column"],
)  # fmt: skip
def test_a_table_needs_only_names(tmp_path: Path, content: str, changes: dict, expected: list) -> None:
    data = read_table(tmp_path, content, **changes)
    assert list(zip(data["dish"], data["label"], strict=True)) == expected


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("dish\tname\n밥\tmain\n", 1, "expected a header with the columns dish, kind; kind is not in"),
        ("dish\tkind\n밥\tmain\n국\tdessert\n", 3, "has the label 'dessert'; known are main, side"),
        ("dish\tkind\n밥\t\n", 2, "has no label"),
        ("dish\tkind\n밥\n", 2, "has 1 column(s), the header 2"),
        ("dish\tkind\n밥\tmain\n국\tmain\tside\n", 3, "has 3 column(s), the header 2"),
        ("dish\tkind\n밥\tmain\n".encode() * 3 + b"\xff\tside\n", 3, "has the label 'kind'"),
        ("dish\tkind\n밥\tmain\n국\tmain\n".encode() + b"\xff\tside\n", 4, "byte 0xff is not UTF-8"),
    ],
)
def test_a_malformed_table_names_file_line_and_reason(
    tmp_path: Path, content: str | bytes, line: int, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_table(tmp_path, content)
    assert f"{tmp_path / 'test_corpora' / 'train.tsv'}, line {line}: {reason}" in str(caught.value)
    assert "Mend the file." in str(caught.value)


# The corpora that Korpora has.

TABLES = {
    "labeled/train.tsv": 'comments\tcontain_gender_bias\tbias\thate\n"나쁜" 놈\tFalse\tothers\thate\n'
    "좋다\tTrue\tgender\tnone\n",
    "labeled/dev.tsv": "comments\tcontain_gender_bias\tbias\thate\n흠\tFalse\tnone\toffensive\n",
    "multinli.train.ko.tsv": 'sentence1\tsentence2\tgold_label\n"가" 나\t다\tneutral\n',
    "snli_1.0_train.ko.tsv": "sentence1\tsentence2\tgold_label\n라\t마\tentailment\n",
    "xnli.dev.ko.tsv": "sentence1\tsentence2\tgold_label\n바\t사\tcontradiction\n",
    "xnli.test.ko.tsv": "sentence1\tsentence2\tgold_label\n아\t자\tneutral\n",
    "sts-train.tsv": 'genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\nn\tf\t2012\t1\t3.800\t"가\t나"\n',
    "sts-dev.tsv": "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\nn\tf\t2012\t1\t0\t다\t라",
    "sts-test.tsv": "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\nn\tf\t2012\t1\t5.0\t마\t바",
    "kor_pair_train.csv": '\ufeffid,qid1,qid2,question1,question2,is_duplicate\r\n1,1,2,"가, 나",다,1\r\n',
    "kor_pair_test.csv": "\ufefftest_id,question1,question2,is_duplicate,\r\n1,라,마,0,\r\n",
}


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Korpora's folder with toys in the layouts of all four corpora, whose digests are not checked."""
    for name in KORPORA:
        spec = get_corpus(name)
        files = {
            split: tuple(SourceFile(file.name) for file in files) if len(files) > 1 else SourceFile(files[0].name)
            for split, files in spec.split_files().items()
        }
        monkeypatch.setattr(type(spec), "files", files)
        for file in (file for files in spec.split_files().values() for file in files):
            path = tmp_path / name / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TABLES[file.name], encoding="utf-8", newline="")
    return tmp_path


def rows_of(root: Path, name: str, label_column: str = "") -> dict[str, list[tuple]]:
    spec = get_corpus(name).select(label_column) if label_column else get_corpus(name)
    data = spec.read(spec.fetch(root, root, download=False))
    return {split: [tuple(row.values()) for row in rows] for split, rows in data.items()}


@pytest.mark.parametrize(
    ("name", "label_column", "expected"),
    [
        ("korean_hate_speech", "", {"train": [('"나쁜" 놈', 2), ("좋다", 0)], "test": [("흠", 1)]}),
        ("korean_hate_speech", "hate", {"train": [('"나쁜" 놈', 2), ("좋다", 0)], "test": [("흠", 1)]}),
        ("korean_hate_speech", "bias", {"train": [('"나쁜" 놈', 2), ("좋다", 1)], "test": [("흠", 0)]}),
        ("korean_hate_speech", "contain_gender_bias", {"train": [('"나쁜" 놈', 0), ("좋다", 1)], "test": [("흠", 0)]}),
        (
            "kornli",
            "",
            {
                "train": [('"가" 나', "다", 1), ("라", "마", 0)],
                "validation": [("바", "사", 2)],
                "test": [("아", "자", 1)],
            },
        ),
        (
            "korsts",
            "",
            {
                "train": [('"가', '나"', pytest.approx(3.8))],
                "validation": [("다", "라", 0.0)],
                "test": [("마", "바", 5.0)],
            },
        ),
        ("question_pair", "", {"train": [("가, 나", "다", 1)], "test": [("라", "마", 0)]}),
    ],
)
def test_korporas_corpora(toys: Path, name: str, label_column: str, expected: dict[str, list[tuple]]) -> None:
    assert rows_of(toys, name, label_column) == expected


def test_0_is_the_same_question() -> None:
    """Whatever the column's name, `is_duplicate`, says."""
    assert get_corpus("question_pair").task.class_names == ("같은 질문", "다른 질문")


def test_labels_of_several_kinds_are_chosen_by_name(toys: Path) -> None:
    spec = get_corpus("korean_hate_speech")
    assert spec.select("bias").task.class_names == ("none", "gender", "others")
    assert spec.task.class_names == ("none", "offensive", "hate")  # the corpus itself is left alone
    assert spec.select("bias").options() != spec.select("hate").options()  # part of the cache's key
    with pytest.raises(UserError, match="expected one of hate, bias, contain_gender_bias"):
        spec.select("hatred")
    with pytest.raises(UserError, match="has one kind of labels"):
        get_corpus("korsts").select("score")


@pytest.mark.parametrize(
    ("name", "file", "row", "reason"),
    [
        ("korean_hate_speech", "labeled/train.tsv", "글\tFalse\tnone\thateful", "has the label 'hateful'"),
        ("kornli", "snli_1.0_train.ko.tsv", "가\t나\t-", "has the label '-'"),
        ("kornli", "xnli.test.ko.tsv", "가\tneutral", "has 2 column(s), the header 3"),
        ("korsts", "sts-dev.tsv", "\nn\tf\t2012\t1\t5.1\t가\t나", "has the label 5.1; expected 0 to 5"),
        ("korsts", "sts-train.tsv", "n\tf\t2012\t1\tnan\t가\t나", "has the label 'nan', which is not a number"),
        ("question_pair", "kor_pair_test.csv", "1,가,나,2,", "has the label '2'"),
    ],
)
def test_a_malformed_file_of_theirs_names_file_line_and_reason(
    toys: Path, name: str, file: str, row: str, reason: str
) -> None:
    path = toys / name / file
    number = len(path.read_text(encoding="utf-8").rstrip().splitlines()) + 1
    with path.open("a", encoding="utf-8") as stream:
        stream.write(row + "\n")
    with pytest.raises(UserError) as caught:
        rows_of(toys, name)
    assert f"{path}, line {number}: {reason}" in str(caught.value)
    assert "fetch the official one" in str(caught.value)


def test_another_file_than_the_official_one_is_refused(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = get_corpus("korsts")
    monkeypatch.setattr(type(spec), "files", {"train": SourceFile("sts-train.tsv", sha256="0" * 64)})
    with pytest.raises(UserError, match=r"sts-train.tsv is not the official KorSTS file"):
        spec.fetch(toys, toys, download=False)
    (toys / "korsts" / "sts-train.tsv").write_text(TABLES["sts-train.tsv"].replace("3.800", "much"), encoding="utf-8")
    with pytest.raises(UserError, match=r"sts-train.tsv, line 2: has the label 'much'"):
        spec.fetch(toys, toys, download=False)


def test_missing_files_are_fetched_from_where_korpora_fetches_them(
    toys: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(toys))

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    empty = tmp_path_factory.mktemp("empty")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in KORPORA:
            korpora = importlib.import_module(f"Korpora.korpus_{name}")
            for entry in getattr(korpora, f"{name.upper()}_FETCH_INFORMATION"):
                assert entry["url"].startswith("https://raw.githubusercontent.com/")
                url = f"http://127.0.0.1:{server.server_port}/{entry['destination']}"
                monkeypatch.setitem(entry, "url", url)
            spec = get_corpus(name)
            assert isinstance(spec, KorporaCorpus)
            assert spec.fetch(empty, empty).sha256 == spec.fetch(toys, toys, download=False).sha256
        server.shutdown()


def lines_of(path: Path) -> list[list[str]]:
    """The rows as Korpora reads them: split at tabs, and nothing else."""
    return [line.split("\t") for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n")[1:]]


def test_the_real_korsts_is_read_as_korpora_reads_it(kakao: Path) -> None:
    rows = rows_of(kakao, "korsts")
    assert {split: len(each) for split, each in rows.items()} == {"train": 5749, "validation": 1500, "test": 1379}
    for split, file in (("train", "sts-train.tsv"), ("validation", "sts-dev.tsv"), ("test", "sts-test.tsv")):
        lines = lines_of(kakao / "korsts" / file)
        assert [row[:2] for row in rows[split]] == [(line[5], line[6]) for line in lines]
        assert [row[2] for row in rows[split]] == pytest.approx([float(line[4]) for line in lines])


def test_the_real_kornli_is_read_as_korpora_reads_it(kakao: Path) -> None:
    spec = get_corpus("kornli")
    for split, count in (("validation", 830), ("test", 1670)):
        (file,) = spec.split_files()[split]
        path = kakao / "kornli" / file.name
        spec.check(path, file, hashlib.sha256(path.read_bytes()).hexdigest())
        rows = [tuple(row.values()) for block in spec.read_file(path) for row in block]
        names = spec.task.class_names
        assert [(*texts, names[label]) for *texts, label in rows] == [tuple(line) for line in lines_of(path)]
        assert Counter(label for *_, label in rows) == dict.fromkeys(range(3), count)
