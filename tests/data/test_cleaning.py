"""KcBERT's cleaning: what its README's function gives, applied to what is tokenized and to nothing else."""

from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from pipeline.data.cleaning import get_cleaner
from pipeline.data.tokenization import tokenize
from pipeline.runtime.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The right side is what the README's function gives with emoji 2.16 and soynlp 0.0.493.
        ("", ""),
        ("  재밌다\t정말 \n", "재밌다 정말"),
        ('A+ cool, [SEP] "인용" <b> a_b ~!@#$%^&*() 100%', 'A+ cool, [SEP] "인용" <b> a_b ~!@#$%^&*() 100%'),
        ("％ · ∼ 그대로", "％ · ∼ 그대로"),
        ("漢字한글かな é ☆ 🥳👍🏽끝", "한글 끝"),
        ("ㄱㅎㅏㅣ\u3164\u3130가힣", "ㄱㅎㅏㅣ 가힣"),
        ("1️⃣ ©", "1"),
        ("ㅋㅋㅋ", "ㅋㅋㅋ"),
        ("ㅋㅋㅋㅋ ㅠㅠㅠㅠㅠ 와아아아아아 zzzz ____", "ㅋㅋ ㅠㅠ 와아아 zz __"),
        ("10000원", "100원"),
        ("!!!!! ......", "!!!!! ......"),
        ("ㅋㅋ😀ㅋㅋ", "ㅋㅋ ㅋㅋ"),
        ("봐 http://www.a.kr/b?c=1#d 끝", "봐 끝"),
        ("HTTPS://a.kr https://a.kr/(x)에서", "HTTPS://a.kr 에서"),
        ("http://a.kr에서", "http://a.kr에서"),
        ("http://a.kr漢 끝", "끝"),
        ("가http://a.kr/b나", "가나"),
        ("www.naver.com", "www.naver.com"),
        ("http://localhost/x", "http://localhost/x"),
        ("wwwhttp://a.kr/w", "www"),
    ],
)
def test_kcbert(text: str, expected: str) -> None:
    assert get_cleaner("kcbert")(text) == expected


@pytest.mark.parametrize("name", [None, "none"])
def test_no_cleaning_leaves_a_text_alone(name: str | None) -> None:
    assert get_cleaner(name)("  漢字 ㅋㅋㅋㅋㅋ\n") == "  漢字 ㅋㅋㅋㅋㅋ\n"


def test_a_cleaner_that_is_none() -> None:
    with pytest.raises(UserError, match=r"--clean is mine; expected one of none, kcbert"):
        get_cleaner("mine")


@pytest.mark.parametrize("columns", [("text",), ("first", "second")])
def test_cleaned_texts_are_tokenized_and_the_texts_stay(
    quickstart: tuple[Path, Path], columns: tuple[str, ...]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(quickstart[1])
    texts = {"text": "최고다ㅋㅋㅋㅋㅋ漢", "first": "영화 👍", "second": "별로http://a.kr/b ㅠㅠㅠㅠ"}
    cleaned = {"text": "최고다ㅋㅋ", "first": "영화", "second": "별로 ㅠㅠ"}
    rows = Dataset.from_list([{**{name: texts[name] for name in columns}, "label": 0}])
    (ours,) = tokenize([rows], tokenizer, 32, columns, clean="kcbert")
    assert {name: ours[0][name] for name in columns} == {name: texts[name] for name in columns}
    assert ours[0]["input_ids"] == tokenizer(*[cleaned[name] for name in columns])["input_ids"]
    assert ours[0]["input_ids"] != tokenizer(*[texts[name] for name in columns])["input_ids"]
