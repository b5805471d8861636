"""What the demo says and shows for each kind of task. A browser tries the page itself (integration/test_demo.py)."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.classifier import Classifier
from pipeline.inference.demo_view import DemoView
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_tokenizer
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task

MANY = SingleLabelClassification(tuple(f"이름 {number}" for number in range(14)))
TOPICS = MultiLabelClassification(("기쁨", "놀람<b>", "분노"), thresholds=(0.9, 0.3, 0.5))
STARS = Regression(("별점",))
PAIRS = SingleLabelClassification(("다름", "같음"), ("premise", "hypothesis"))
SIMILARITY = Regression(("score",), ("sentence1", "sentence2"))


@pytest.fixture
def view(quickstart):
    """The view of a model that gives a text of n times 최고다 n times a row of logits, plus a constant one."""

    def make(
        task: Task,
        row: list[float],
        base: list[float] | None = None,
        label_range: tuple[float, float] | None = None,
        long_text: str = "head",
    ) -> DemoView:
        tokenizer = load_tokenizer(fetch_model(str(quickstart[1]), weights=False), 16)

        def compute(sequences: list[dict]) -> np.ndarray:
            texts = tokenizer.batch_decode([each["input_ids"] for each in sequences], skip_special_tokens=True)
            counts = np.array([[text.count("최고다")] for text in texts])
            return (np.array(base or [0.0] * len(row)) + counts * np.array(row)).astype(np.float32)

        return DemoView(Classifier(task, tokenizer, 16, compute, long_text=long_text), label_range)

    return make


def answer(view: DemoView, text) -> tuple[str, str]:
    """The result and the explanation of a text, as HTML."""
    (prediction,) = view.classifier.predict([text])
    return view.result(prediction), view.explanation(text, prediction)


def scores(html: str) -> list[tuple[str, str, bool]]:
    """Name, number and whether it is marked as chosen, of each bar."""
    rows = re.findall(r'<div class="score( chosen)?"><span>(.*?)</span>.*?<span class="number">(.*?)</span>', html)
    return [(name, number, bool(chosen)) for chosen, name, number in rows]


def test_of_many_classes_the_ten_most_probable_are_shown(view) -> None:
    result, _ = answer(view(MANY, list(np.arange(14) / 10)), "최고다")
    rows = scores(result)
    assert [name for name, _, _ in rows] == [f"이름 {number}" for number in range(13, 3, -1)]
    assert [chosen for _, _, chosen in rows] == [True] + [False] * 9
    assert '<p class="result">이름 13</p>' in result
    assert "레이블 4개는 생략했습니다" in result
    assert "threshold" not in result


def test_labels_that_reach_their_thresholds_are_marked(view) -> None:
    result, explanation = answer(view(TOPICS, [2, -0.5, 0]), "최고다")
    assert scores(result) == [("기쁨", "88.1%", False), ("✓ 분노", "50.0%", True), ("✓ 놀람&lt;b&gt;", "37.8%", True)]
    assert '<p class="result">분노, 놀람&lt;b&gt;</p>' in result
    assert re.findall(r'threshold" style="left: ([\d.]+%)', result) == ["90.0%", "50.0%", "30.0%"]
    assert "확률이 가장 높은 ‘기쁨’의 확률(88.1%)이 몇 %p" in explanation
    none, _ = answer(view(TOPICS, [0, -5, -5]), "최고다")
    assert "해당하는 레이블이 없습니다" in none
    assert not [name for name, _, chosen in scores(none) if chosen]


def test_chosen_labels_are_shown_even_if_there_are_more_than_ten(view) -> None:
    task = MultiLabelClassification(tuple(f"이름 {number}" for number in range(15)))
    result, _ = answer(view(task, [3.0] * 12 + [-3.0] * 3), "최고다")
    assert [chosen for _, _, chosen in scores(result)] == [True] * 12


@pytest.mark.parametrize(
    ("base", "label_range", "number", "position", "beyond"),
    [
        (2.5, (0, 5), "3.50", "70.0%", False),
        (9, (0, 5), "10.00", "100.0%", True),
        (-3, (0, 5), "−2.00", "0.0%", True),
        (24, (0, 500), "25", "5.0%", False),
        (-0.99, (0, 0.02), "0.0100", "50.0%", False),
        (1, (2, 2), "2.00", "50.0%", False),
        (2.5, None, "3.50", None, False),
    ],
)
def test_a_number_is_shown_on_its_range(view, base, label_range, number: str, position: str, beyond: bool) -> None:
    result, explanation = answer(view(STARS, [1], [base], label_range), "최고다")
    assert f'<p class="result">{number}</p>' in result
    assert re.findall(r'point" style="left: (.*?)"', result) == ([position] if position else [])
    assert ("벗어났습니다" in result) is beyond
    assert "‘별점’ 값이 얼마나 낮아지는지" in explanation
    assert "%p" not in explanation


def test_the_words_of_a_regression_have_its_unit(view) -> None:
    _, explanation = answer(view(STARS, [-1], [2.5], (0, 5)), "다른 말 최고다")
    assert re.findall(r"<ruby[^>]*>(.*?)<rt>(.*?)</rt>", explanation) == [
        ("다른", "+0.00"),
        ("말", "+0.00"),
        ("최고다", "−1.00"),
    ]


def test_both_texts_of_a_pair_are_explained(view) -> None:
    pairs = view(PAIRS, [0, 1])
    _, explanation = answer(pairs, ("최고다 하나", "둘 최고다"))
    first, second = explanation.split('<div class="words">')[1:]
    assert "글 1 (premise)" in explanation
    assert "글 2 (hypothesis)" in first  # the heading of the second
    assert re.findall(r"<ruby[^>]*>(.*?)<rt>", first) == ["최고다", "하나"]
    assert re.findall(r"<ruby[^>]*>(.*?)<rt>", second) == ["둘", "최고다"]


@pytest.mark.parametrize(
    ("long_text", "notice", "unread", "summary"),
    [
        ("head", "앞부분만 읽었습니다", "끝", "뒷부분이 잘린 글은 1개입니다"),
        ("head_tail", "앞부분과 끝부분만 읽었습니다", "중간", "가운데가 잘린 글은 1개입니다"),
        ("windows", None, None, None),
    ],
)
def test_what_is_not_read_is_struck_through(view, long_text: str, notice: str, unread: str, summary: str) -> None:
    made = view(PAIRS.__class__(("다름", "같음")), [0, 1], long_text=long_text)
    text = "처음 " + "최고다 " * 30 + "중간 " + "최고다 " * 30 + "끝"
    (prediction,) = made.classifier.predict([text])
    explanation = made.explanation(text, prediction)
    struck = "".join(re.findall(r'<span class="unread">(.*?)</span>', explanation))
    plain = re.sub(r"<rt>.*?</rt>|<[^>]*>", "", explanation.split('class="words">')[1].split("</div>")[0])
    assert plain == text  # nothing is lost or doubled
    if unread is None:
        assert struck == ""
        assert "notice" not in explanation
        assert made.summary([prediction]) == "글 1개를 분류했습니다."
        assert made.row(text, prediction)[-1] == "아니요"
        return
    assert notice in explanation
    assert unread in struck
    assert "처음" not in struck
    assert ("끝" in struck) is (long_text == "head")
    assert summary in made.summary([prediction])
    assert re.fullmatch(r"네 \(\d+토큰 중 16\)", made.row(text, prediction)[-1])


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        (SingleLabelClassification(("다름", "같음")), "최고다", ["최고다", "같음", "73.1%", "아니요"]),
        (PAIRS, ("최고다", "말"), ["최고다", "말", "같음 73.1%", "아니요"]),
        (MultiLabelClassification(("ㄱ", "ㄴ")), "최고다", ["최고다", "ㄴ 73%, ㄱ 50%", "아니요"]),
        (MultiLabelClassification(("ㄱ", "ㄴ"), thresholds=(0.9, 0.9)), "최고다", ["최고다", "없음", "아니요"]),
        (SIMILARITY, ("최고다", "말"), ["최고다", "말", "1.00", "아니요"]),
    ],
    ids=["single", "pairs", "several", "none", "similarity"],
)
def test_a_row_of_the_table_fits_its_columns(view, task: Task, text, expected: list[str]) -> None:
    made = view(task, [1] if task.problem_type == "regression" else [0, 1])
    (prediction,) = made.classifier.predict([text])
    assert made.row(text, prediction) == expected
    assert len(made.columns) == len(expected)
    assert sum(int(width.rstrip("%")) for width in made.columns.values()) == 100


def test_lines_are_texts_or_pairs(view) -> None:
    single, pairs = view(MANY, [0.0] * 14), view(PAIRS, [0, 1])
    assert single.parse_lines(" 가 || 나 \n\n다\t라") == ["가 || 나", "다\t라"]
    assert pairs.parse_lines("가 || 나\r\n\n 다\t라 마 ") == [("가", "나"), ("다", "라 마")]
    for lines, problem in (
        ("", "한 줄에 한 쌍씩"),
        ("가 || 나\n다", "2번째 줄"),
        ("가 || 나 || 다", "1번째 줄"),
        ("가 ||", "1번째 줄"),
    ):
        with pytest.raises(ValueError, match=problem):
            pairs.parse_lines(lines)
    with pytest.raises(ValueError, match="한 줄에 하나씩"):
        single.parse_lines(" \n ")


def test_the_page_is_about_no_films(view) -> None:
    source = Path(__file__).parents[2] / "pipeline" / "inference" / "demo_view.py"
    assert not re.search("영화|리뷰|연기가|부정|긍정|평점", source.read_text(encoding="utf-8"))
    assert "어떤 레이블로 분류되는지" in view(MANY, [0.0] * 14).introduction
    assert "어떤 레이블들이 붙는지" in view(TOPICS, [0, 0, 0]).introduction
    assert view(SIMILARITY, [0]).introduction.startswith("두 글을 입력하면 ‘score’ 값이")
    assert view(SIMILARITY, [0]).reads == "두 글을 합해 앞에서부터 16토큰까지 읽습니다."
    assert view(PAIRS, [0, 1]).labels == ["글 1 (premise)", "글 2 (hypothesis)"]
