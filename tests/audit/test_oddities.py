"""What is odd about a text, and what is not."""

import unicodedata

import pytest

from pipeline.audit.oddities import CHECKS, odd_texts

GOOD = "연기가 정말 좋았어요. 10점 만점에 9점! ㅋㅋ (good) A&B; <3 3 < 4 > 2"
ODD = {
    "empty": ["", "  ", "\t\n"],
    "no_letters": ["...", "10/10", "👍👍", "♥ 1"],
    "only_jamo": ["ㅋㅋㅋ", "ㅠㅠ!!", "ㅇㅈ 10"],
    "not_korean": ["very good movie", "最高の映画", "Café 2"],
    "replacement": ["좋\ufffd다"],
    "misread": [
        "안녕하세요".encode().decode("latin-1"),
        "한국 영화".encode().decode("cp1252", errors="ignore") and "가을".encode().decode("latin-1"),
        "안녕하세요 여러분".encode("cp949").decode("latin-1"),
        "가을이다".encode().decode("cp949", errors="ignore") and "곤충".encode().decode("latin-1"),
    ],
    "decomposed": [unicodedata.normalize("NFD", "좋다")],
    "control": ["좋다\x00", "좋\u200b다", "\ufeff좋다", "좋다\x7f"],
    "private": ["좋\ue000다"],
    "markup": ["좋다&quot;", "a &#39; b", "줄<br>바꿈", "<b>굵게</b>", '<a href="x">링크</a>'],
    "url": ["http://a.kr 보세요", "www.naver.com에서"],
    "personal": ["문의 a.b@naver.com", "010-1234-5678로", "01012345678"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in ODD.items() for text in texts])
def test_it_is_found(name: str, text: str) -> None:
    assert CHECKS[name](text)


@pytest.mark.parametrize("name", CHECKS)
def test_a_good_text_is_not_found(name: str) -> None:
    assert not CHECKS[name](GOOD)


@pytest.mark.parametrize(
    "text",
    ["Café", "naïve résumé", "¡Hola!", "日本語", "ÀÈ", "20°C", "좋다 é", "ⓒ 2020", "漢字와 한글", "×÷", "½", "·…"],
)
def test_other_letters_are_not_misread_ones(text: str) -> None:
    assert not CHECKS["misread"](text)


def test_utf8_read_as_cp949_is_misread() -> None:
    wrong = "영화가".encode().decode("cp949", errors="replace")
    whole = next(
        word.encode().decode("cp949")
        for word in ("가나", "다라", "각각", "영화", "한국", "사랑", "재미", "음악", "감동", "최고")
        if _decodes(word)
    )
    assert CHECKS["misread"](whole)
    assert not CHECKS["misread"]("영화가")
    assert wrong != "영화가"


def _decodes(word: str) -> bool:
    try:
        return word.encode().decode("cp949") != word
    except UnicodeDecodeError:
        return False


def test_counts_numbers_and_examples_by_split(make_examples) -> None:
    examples = make_examples(
        train=[("좋다", 1), ("", 0), ("...", 0), (" ", 1)], test=[("", 1), ("good", 1), ("재미있다", 0)]
    )
    found = odd_texts(examples)
    assert found["empty"]["num_examples"] == {"train": 2, "test": 1}
    assert found["empty"]["numbers"] == {"train": [2, 4], "test": [1]}
    assert [(each["split"], each["number"]) for each in found["empty"]["examples"]] == [
        ("train", 2),
        ("train", 4),
        ("test", 1),
    ]
    assert found["no_letters"]["numbers"] == {"train": [3], "test": []}
    assert found["not_korean"]["numbers"] == {"train": [], "test": [2]}
    assert found["not_korean"]["examples"][0]["label"] == "yes"
    assert sum(sum(about["num_examples"].values()) for about in found.values()) == 5


def test_personal_data_is_masked(make_examples) -> None:
    examples = make_examples(train=[("연락은 010-1234-5678, 메일은 abc@naver.com으로", 1)])
    (example,) = odd_texts(examples)["personal"]["examples"]
    assert example["texts"] == ["연락은 01•••••••••••, 메일은 ab•••••••••••으로"]


def test_of_a_pair_one_odd_text_is_enough(make_examples) -> None:
    examples = make_examples(train=[(("좋다", "나쁘다"), 1), (("좋다", ""), 0), (("", "좋다"), 0)])
    assert odd_texts(examples)["empty"]["numbers"] == {"train": [2, 3]}
