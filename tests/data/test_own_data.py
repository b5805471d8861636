"""The user's own files as a corpus: columns and labels are found, every row is kept or named, content is the key."""

import json
import random
from pathlib import Path

import datasets
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.arguments import DataArguments
from pipeline.data.corpus import CorpusFiles
from pipeline.data.own_data import OwnData, OwnDataOptions, OwnFiles, own_splits
from pipeline.prepare import create_corpus
from pipeline.runtime.errors import UserError
from pipeline.tasks import SingleLabelClassification, create_task

ROWS = [("좋다", "긍정"), ("나쁘다", "부정"), ("", "부정"), ('"인용", 쉼표', "긍정")]


def write(path: Path, rows: list, columns: tuple[str, ...] = ("text", "label")) -> str:
    pandas.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return str(path)


def open_own(cache: Path, **options: object) -> tuple[OwnData, CorpusFiles]:
    corpus = create_corpus(DataArguments(**options))  # type: ignore[arg-type]
    files = corpus.fetch(cache, cache)
    return corpus.resolve(files), files  # type: ignore[return-value]


def read(cache: Path, **options: object) -> datasets.DatasetDict:
    corpus, files = open_own(cache, **options)
    return corpus.read(files)


def test_rows_are_those_of_the_file(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", ROWS)
    test = write(tmp_path / "b.csv", ROWS[:2])
    rows = read(tmp_path, train_file=[train], test_file=[test])
    assert rows["train"]["text"][:] == [text for text, _ in ROWS]
    assert rows["train"].features["label"].names == ["긍정", "부정"]
    assert [rows["train"].features["label"].int2str(label) for label in rows["train"]["label"]] == [
        label for _, label in ROWS
    ]
    assert rows["test"].num_rows == 2


def test_several_files_are_one_table_in_their_order(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.csv", [(f"글 {number}", str(number))])
    rows = read(tmp_path, train_file=[str(tmp_path / "*.csv")])
    assert rows["train"]["text"][:] == ["글 0", "글 1", "글 2"]


def test_what_was_found_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pandas.DataFrame(ROWS, columns=["리뷰", "감정"]).to_csv(path, index=False, encoding="cp949")
    corpus, _ = open_own(tmp_path, train_file=[str(path)])
    assert corpus.task == SingleLabelClassification(("긍정", "부정"), text_columns=("리뷰",))
    report = corpus.report
    assert (report["text_columns"], report["label_columns"]) == (["리뷰"], ["감정"])
    assert report["problem_type"] == "single_label_classification"
    assert (report["num_rows_left_out"], report["rows_left_out"]) == (0, [])
    assert any("CP949" in note for note in report["notes"])


def test_rows_that_cannot_be_used_are_named_or_left_out(tmp_path: Path) -> None:
    rows = [{"text": f"글 {i}", "label": i % 2} for i in range(30)]
    bad = [{"text": None, "label": 1}, {"text": "글"}, {"text": "글", "label": None}, {"label": 1}]
    lines = [json.dumps(row, ensure_ascii=False) for row in (*rows, *bad, *bad, *bad)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n{}x\n")
    with pytest.raises(UserError) as caught:
        open_own(tmp_path, train_file=[str(tmp_path / "a.jsonl")])
    text = str(caught.value)
    assert text.startswith("13 row(s) cannot be used:")
    assert f"{tmp_path / 'a.jsonl'}, line 31: has no text in `text`" in text
    assert "… and 3 more" in text
    corpus, files = open_own(tmp_path, train_file=[str(tmp_path / "a.jsonl")], skip_bad_rows=True)
    assert corpus.report["num_rows_left_out"] == 13
    assert len(corpus.report["rows_left_out"]) == 10
    assert corpus.read(files)["train"].num_rows == 30


def test_no_label_is_a_label_where_there_may_be_several(tmp_path: Path) -> None:
    train = write(tmp_path / "a.csv", [("가", "a|b"), ("나", ""), ("다", "b")])
    assert read(tmp_path, train_file=[train])["train"]["label"][:] == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


def test_content_is_the_key_and_not_the_name(tmp_path: Path) -> None:
    first = open_own(tmp_path, train_file=[write(tmp_path / "a.csv", ROWS)])[1]
    second = open_own(tmp_path, train_file=[write(tmp_path / "b.csv", ROWS)])[1]
    third = open_own(tmp_path, train_file=[write(tmp_path / "c.csv", [*ROWS, ROWS[0]])])[1]
    assert first.sha256 == second.sha256 != third.sha256


def test_options_that_change_the_rows_change_the_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("가", "나", "1", "0"), ("다", "라", "2", "1")], ("x", "y", "label", "other"))
    plain = open_own(tmp_path, train_file=[path], text_column=["x"])[0].options()
    for change in (
        {"text_column": ["y"]},
        {"label_column": ["other"]},
        {"class_names": ["a", "b"]},
        {"problem_type": "regression"},
        {"skip_bad_rows": True},
    ):
        changed = open_own(tmp_path, **{"train_file": [path], "text_column": ["x"], **change})[0].options()
        assert json.dumps(changed) != json.dumps(plain), change


def test_train_and_test_must_differ(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.csv", ROWS), write(tmp_path / "b.csv", ROWS)
    with pytest.raises(UserError, match=r"--test_file .*b\.csv has the same content as a file of --train_file"):
        open_own(tmp_path, train_file=[first], test_file=[second])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"train_file": ["nowhere.csv"]}, "nowhere.csv: there is no such file"),
        ({"train_file": ["a.csv"], "text_column": ["x"]}, "--text_column x: .*a.csv has no such column"),
        ({"train_file": ["a.csv"], "text_column": ["label"]}, "--text_column and --label_column both name label"),
        ({"train_file": ["a.csv"], "test_file": ["c.csv"]}, "--text_column text: .*c.csv has no such column"),
        ({"train_file": ["d.csv"]}, "--text_column input_ids: the pipeline keeps this name for itself"),
        ({"train_file": ["a.csv"], "dataset_name": "a/b"}, "--dataset_name a/b and --train_file: expected one of them"),
        ({"class_names": ["a", "b"]}, "--class_names is for your own data"),
        ({"dataset_config_name": "x"}, "--dataset_config_name x needs --dataset_name"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.csv"), ROWS)
    write(Path("c.csv"), ROWS[:2], ("review", "label"))
    write(Path("d.csv"), ROWS[:2], ("input_ids", "label"))
    if options.get("train_file") == ["d.csv"]:
        options = {**options, "text_column": ["input_ids"]}
    with pytest.raises(UserError, match=reason):
        open_own(tmp_path, **options)


def test_splits_of_a_saved_dataset_by_the_names_in_use() -> None:
    assert own_splits(["train", "dev", "test"], "x") == {"train": "train", "validation": "dev", "test": "test"}
    assert own_splits(["Train"], "x") == {"train": "Train"}
    with pytest.raises(UserError, match="x has the splits a, b; expected one named train"):
        own_splits(["a", "b"], "x")


def test_data_to_evaluate_on_is_read_as_the_models(tmp_path: Path) -> None:
    test = write(tmp_path / "b.csv", [("좋다", "1"), ("나쁘다", "0")], ("document", "label"))
    expected = create_task("single_label_classification", ("부정", "긍정"), ("review",))
    corpus = create_corpus(DataArguments(test_file=[test]), expected)
    files = corpus.fetch(tmp_path, tmp_path)
    resolved = corpus.resolve(files)
    assert resolved.task == create_task("single_label_classification", ("부정", "긍정"), ("document",))
    assert resolved.read(files)["test"]["label"][:] == [1, 0]
    scores = write(tmp_path / "c.csv", [("좋다", "1.5")], ("document", "score"))
    numbers = create_corpus(DataArguments(test_file=[scores]), create_task("regression", ("score",), ("text",)))
    files = numbers.fetch(tmp_path, tmp_path)
    assert numbers.resolve(files).read(files)["test"]["label"][:] == [1.5]
    pair = create_task("single_label_classification", ("부정", "긍정"), ("a", "b"))
    with pytest.raises(UserError, match=r"the model reads 2 text\(s\) an example, and the data has 1: document"):
        create_corpus(DataArguments(test_file=[test]), pair).resolve(files)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, st.sampled_from(["a", "b", "", " ", "1"])), min_size=1, max_size=12), st.randoms())
def test_every_row_is_kept_or_counted(tmp_path: Path, rows: list[tuple[str, str]], order: random.Random) -> None:
    kind = order.choice(["jsonl", "parquet"])
    frame, path = pandas.DataFrame(rows, columns=["text", "label"]), tmp_path / f"a.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_json(path, orient="records", lines=True)
    options = OwnDataOptions(skip_bad_rows=True)
    corpus = create_corpus(DataArguments(train_file=[str(path)], skip_bad_rows=options.skip_bad_rows))
    files = corpus.fetch(tmp_path, tmp_path)
    try:
        resolved = corpus.resolve(files)
    except UserError:
        assert len({label.strip() for _, label in rows} - {""}) < 2
        return
    found = resolved.read(files)["train"]
    kept = [text for text, label in rows if label.strip()]
    assert found["text"][:] == kept
    assert resolved.report["num_rows_left_out"] == len(rows) - len(kept)


def test_bad_rows_are_named_with_what_they_lead_to(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\n가,1\n나;2\n다,1,\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"2 row\(s\) cannot be used:\n.*line 3(.*\n)+.*all 1 training rows"):
        OwnFiles("a", {"train": [str(file)]}, OwnDataOptions()).resolve(None)
