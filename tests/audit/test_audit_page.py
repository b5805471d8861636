"""The page and the JSON, for every kind of task: nothing is loaded or injected, and nothing meaningless is said."""

import json
import random
import re
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.audit.audit import audit
from pipeline.audit.examples import Examples
from pipeline.audit.extra import require_libraries
from pipeline.audit.files import JSON, PAGE, prepare_output_dir, write_audit
from pipeline.audit.findings import findings
from pipeline.audit.page import audit_page
from pipeline.audit.summary import summary
from pipeline.config.parser import parse_arguments
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification

pytest.importorskip("rensa")
pytest.importorskip("cleanlab")

NASTY = '<script>alert(1)</script> <img src="http://x.y/z"> {{ 7 * 7 }} & "따옴표" \u202e\x07'
VOID = {"meta", "br", "img", "line", "rect", "link", "input", "hr"}


class Structure(HTMLParser):
    """Checks that tags are closed in order, and collects what the page would load and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        attributes = dict(attrs)
        assert not {"src", "srcset", "onclick", "onload"} & attributes.keys()
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links += [attributes["href"]] if "href" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def made(kind: str) -> tuple[Examples, Examples]:
    """Train and test of a kind of task, with something odd in both."""
    generator = random.Random(2)
    words = {0: "지루하다 별로다 아깝다 졸리다".split(), 1: "재밌다 최고다 감동이다 좋다".split()}
    rows = []
    for number in range(240):
        label = generator.randrange(2)
        rows.append((" ".join(generator.choices(words[label], k=5)) + f" {number % 50}", label))
    rows += [(NASTY, 1), ("", 0), ("ㅋㅋ", 0), ("ㅋㅋ", 1), (NASTY, 0)]
    return rows[:180] + rows[-3:], rows[180:]


PAIRS = SingleLabelClassification(("no", "yes"), ("first", "second"))
KINDS = {
    "single": (SingleLabelClassification(("나쁨", "좋음")), int),
    "several": (MultiLabelClassification(("나쁨", "<b>좋음</b>")), lambda label: [float(label), 1.0 - label]),
    "numbers": (Regression(("점수",)), lambda label: 3.0 * label + 0.5),
}


@pytest.fixture(params=KINDS)
def found(request, make_examples) -> dict:
    task, convert = KINDS[request.param]
    splits = {
        name: [(text, convert(label)) for text, label in rows]
        for name, rows in zip(("train", "test"), made(request.param), strict=True)
    }
    data, _, _ = parse_arguments(["--train_file", "a.csv"])
    return audit(make_examples(task, **splits), data, {"sha256": {"train": "ab" * 32}}, "<no> tokenizer")


def test_the_page_stands_alone(found: dict) -> None:
    page = audit_page(found)
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert not {"script", "img", "link", "iframe", "object"} & structure.tags
    assert {link for link in structure.links if not link.startswith("#")} == set()
    assert {link[1:] for link in structure.links} <= structure.ids
    assert not re.search(r"url\(|@import|https?:", re.sub(r"&lt;.*?&gt;|http://x\.y/z", "", page))
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert "U+202E" in page
    assert "\u202e" not in page
    assert "&lt;no&gt; tokenizer" in page


def test_the_page_of_the_json_is_the_same(found: dict) -> None:
    assert audit_page(json.loads(json.dumps(found))) == audit_page(found)


def test_what_has_no_meaning_is_not_on_the_page(found: dict) -> None:
    page, kind = audit_page(found), found["data"]["task"]["problem_type"]
    assert ("Always answering the largest class" in page) == (kind == "single_label_classification")
    assert ("have no label at all" in page) == (kind == "multi_label_classification")
    assert ("standard deviation" in page) == (kind == "regression")
    assert ("A model that only remembers" in page) == (kind == "single_label_classification")
    assert ("Measured: TF-IDF" in page) == (kind == "single_label_classification")
    assert ("Cohen" in page) == (kind != "regression")
    names = {finding.name for finding in findings(found)}
    assert ("balance" in names) == (kind != "regression")


def test_every_finding_has_its_words(found: dict) -> None:
    lines = summary(found, Path("out")).splitlines()
    listed = findings(found)
    assert len([line for line in lines if re.search(r"(act|look|fine)$", line)]) == len(listed)
    assert [finding.level for finding in listed] == sorted(
        (finding.level for finding in listed), key=("act", "look", "fine").index
    )
    assert "lengths in tokens are not known: <no> tokenizer" in lines
    assert {"leak", "repeated", "contradictions", "odd_empty", "odd_control"} <= {finding.name for finding in listed}


def test_the_numbers_of_the_leak(found: dict) -> None:
    """test has the nasty text and ㅋㅋ once or twice, of which train has some."""
    (pair,) = found["between"]
    train, test = made("single")
    expected = [number for number, (text, _) in enumerate(test, start=1) if text in {text for text, _ in train}]
    assert pair["exact"] == expected


def test_labels_are_not_judged_if_not_asked_for(make_examples) -> None:
    data, _, _ = parse_arguments(["--train_file", "a.csv"])
    found = audit(make_examples(train=[("가", 0), ("나", 1)] * 5), data, {}, "none", label_errors=False)
    assert found["label_errors"] is None
    assert "label-errors" not in audit_page(found)


def test_a_few_rows_are_no_mistake(make_examples) -> None:
    data, _, _ = parse_arguments(["--train_file", "a.csv"])
    found = audit(make_examples(train=[("가", 0)]), data, {}, "none")
    assert "problem" in found["held_out"]
    assert next(finding.name for finding in findings(found)) == "no_split"
    audit_page(found)


def test_a_pair_of_texts_is_shown_as_two(make_examples) -> None:
    data, _, _ = parse_arguments(["--train_file", "a.csv"])
    rows = [((f"첫째 글 {number % 9}", "둘째 글"), number % 2) for number in range(40)]
    page = audit_page(audit(make_examples(PAIRS, train=rows), data, {}, "none"))
    assert '<span class="text">둘째 글</span>' in page
    numbers = [((f"첫째 글 {number % 9}", "둘째 글"), number / 2) for number in range(40)]
    assert (
        audit(make_examples(Regression(("n",), ("first", "second")), train=numbers), data, {}, "none")["label_errors"]
        is None
    )


@pytest.mark.parametrize(
    ("installed", "label_errors", "message"),
    [
        (set(), True, r"rensa \(near duplicates\) and cleanlab .*\[audit\]'$"),
        ({"rensa"}, True, "needs cleanlab .*--no_label_errors"),
        ({"rensa"}, False, None),
        ({"cleanlab"}, False, "needs rensa"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, installed: set, label_errors: bool, message: str | None) -> None:
    monkeypatch.setattr("pipeline.audit.extra.find_spec", lambda name: name in installed)
    expected = pytest.raises(UserError, match=f"(?s){message}") if message else nullcontext()
    with expected:
        require_libraries(label_errors=label_errors)


# Files.


def test_an_audit_of_the_same_data_is_replaced(found: dict, tmp_path: Path) -> None:
    write_audit(tmp_path, found)
    prepare_output_dir(tmp_path, "a", overwrite=False)
    assert json.loads((tmp_path / JSON).read_text(encoding="utf-8")) == json.loads(json.dumps(found))
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == audit_page(found)
    with pytest.raises(UserError, match=r"holds an audit of a\. Choose another"):
        prepare_output_dir(tmp_path, "b", overwrite=False)
    prepare_output_dir(tmp_path, "b", overwrite=True)


@pytest.mark.parametrize("name", [PAGE, JSON])
def test_files_that_no_audit_wrote_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"{name}, which no audit wrote"):
        prepare_output_dir(tmp_path, "a", overwrite=False)
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="is a file; expected a folder"):
        prepare_output_dir(tmp_path / "out", "a", overwrite=True)
