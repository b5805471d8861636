"""Token ids: those of the tokenizer called as usual, of texts and pairs, cut or in windows."""

from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, List, Value
from support import OWN
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline.data.cleaning import clean_kcbert
from pipeline.data.corpora import get_corpus
from pipeline.data.tokenization import TextEncoder, tokenize
from pipeline.runtime.errors import UserError


def rows_of(texts: list[str]) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": [0] * len(texts)}, features=OWN.features())


@pytest.fixture
def tokenizer(quickstart: tuple[Path, Path]) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(quickstart[1])


@pytest.mark.parametrize("length", [3, 7, 128])
def test_ids_are_those_of_the_tokenizer_called_as_usual(tokenizer: PreTrainedTokenizerBase, length: int) -> None:
    texts = [
        "",
        " ",
        "[SEP] 안 [MASK]",
        "가" * 300,
        "x" * 200,
        "ㅋㅋㅋ 재밌다!!",
        "é e\u0301 Ａ",
        "👍🏽",
        "\u200b",
        "영화 " * 200,
    ]
    rows = rows_of(texts * 500)
    (ours,) = tokenize([rows], tokenizer, length)
    usual = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    assert ours["input_ids"][:] == usual * 500
    assert ours["text"][:] == texts * 500


def test_the_tokenizer_is_left_as_it_was(tokenizer: PreTrainedTokenizerBase) -> None:
    before = tokenizer.backend_tokenizer.to_str()
    list(tokenize([rows_of(["재밌다"])], tokenizer, 5))
    assert tokenizer.backend_tokenizer.to_str() == before


# Pairs.


@pytest.fixture(params=["bert", "roberta", "decoder"])
def any_tokenizer(request: pytest.FixtureRequest, quickstart: tuple[Path, Path]) -> PreTrainedTokenizerBase:
    """The quickstart's tokenizer with the special tokens of BERT (3 in a pair), RoBERTa (4) or a decoder (none)."""
    tokenizer = AutoTokenizer.from_pretrained(quickstart[1])
    cls, sep = ("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)
    if request.param == "roberta":
        pair = "[CLS] $A [SEP] [SEP] $B [SEP]"
        processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=[cls, sep])
        tokenizer.backend_tokenizer.post_processor = processor
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    elif request.param == "decoder":
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_are_those_of_the_tokenizer_called_as_usual(any_tokenizer: PreTrainedTokenizerBase, side: str) -> None:
    """Whichever text is longer, for every length at which one or both are cut."""
    any_tokenizer.truncation_side = side
    texts = ["", "재밌다", "영화 가 너무", "[SEP] 별로 다", "정말 " * 9, "재미 없는 영화 " * 5]
    pairs = {(first, second): [] for first in texts for second in texts if first or second}
    for length in (6, 7, 10, 13, 20):
        rows = Dataset.from_dict({"one": [pair[0] for pair in pairs], "two": [pair[1] for pair in pairs]})
        (ours,) = tokenize([rows], any_tokenizer, length, ["one", "two"])
        usual = any_tokenizer(rows["one"][:], rows["two"][:], truncation="longest_first", max_length=length)
        assert ours["input_ids"][:] == usual["input_ids"]
        assert ("token_type_ids" in ours.column_names) == ("token_type_ids" in usual)
        if "token_type_ids" in usual:
            assert ours["token_type_ids"][:] == usual["token_type_ids"]
            assert ours.features["token_type_ids"] == List(Value("int8"))
        complete = any_tokenizer(rows["one"][:], rows["two"][:])["input_ids"]
        assert ours["num_tokens"][:] == list(map(len, complete))


def test_a_single_text_has_no_token_types(tokenizer: PreTrainedTokenizerBase) -> None:
    """Models default to the first segment."""
    (ours,) = tokenize([rows_of(["재밌다"])], tokenizer, 8)
    assert ours.column_names == ["text", "label", "num_tokens", "input_ids"]


# Long texts.


def long_text(any_tokenizer: PreTrainedTokenizerBase, num_tokens: int) -> tuple[str, list[int]]:
    """A text of so many different tokens, and their ids without special ones."""
    words = [token for token in any_tokenizer.get_vocab() if token.isalpha()]
    words = [word for word in words if len(any_tokenizer(word, add_special_tokens=False)["input_ids"]) == 1]
    text = " ".join(words[:num_tokens])
    return text, any_tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("free", [9, 8, 1])
def test_head_and_tail(any_tokenizer: PreTrainedTokenizerBase, free: int) -> None:
    """A quarter from the beginning, rounded up, and the rest from the end."""
    text, ids = long_text(any_tokenizer, 30)
    special = any_tokenizer.num_special_tokens_to_add()
    (ours,) = tokenize([rows_of([text, "재밌다"])], any_tokenizer, free + special, long_text="head_tail")
    head = {9: 3, 8: 2, 1: 1}[free]
    assert list_without_special(any_tokenizer, ours["input_ids"][0]) == ids[:head] + ids[30 - (free - head) :]
    assert len(ours["input_ids"][0]) == free + special
    assert ours["num_tokens"][0] == 30 + special
    if free > 1:
        assert ours["input_ids"][1] == any_tokenizer("재밌다")["input_ids"]  # which fits


def list_without_special(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    return [token for token in ids if token not in tokenizer.all_special_ids]


def test_the_share_of_the_head_is_that_of_the_paper(tokenizer: PreTrainedTokenizerBase) -> None:
    """Sun et al. 2019, section 5.3.1: the first 128 and the last 382 of 510 tokens."""
    encoder = TextEncoder(tokenizer, 512, long_text="head_tail")
    (kept,) = encoder.kept(encoder.backend.encode("영화 " * 1000))
    assert (kept[:129] == np.arange(129)).all()  # with [CLS]
    assert (kept[129:] == np.arange(1002 - 383, 1002)).all()  # with [SEP]


@pytest.mark.parametrize("num_tokens", [1, 8, 9, 12, 13, 16, 17, 40])
@pytest.mark.parametrize("free", [8, 7])
def test_windows_are_those_of_the_tokenizer(any_tokenizer: PreTrainedTokenizerBase, num_tokens: int, free: int) -> None:
    """They overlap by half, and the last one ends where the text ends."""
    text, _ = long_text(any_tokenizer, num_tokens)
    length = free + any_tokenizer.num_special_tokens_to_add()
    (ours,) = tokenize([rows_of(["재밌다", text, ""])], any_tokenizer, length, long_text="windows")
    windows = any_tokenizer(text, truncation=True, max_length=length, stride=free // 2, return_overflowing_tokens=True)[
        "input_ids"
    ]
    assert ours["input_ids"][1] == list(chain(*windows))
    assert ours["window_lengths"][1] == list(map(len, windows))
    assert ours["input_ids"][0] == any_tokenizer("재밌다")["input_ids"]
    assert ours["window_lengths"][0] == [len(ours["input_ids"][0])]
    assert len(ours["input_ids"][2]) >= 1  # attention needs a key


@pytest.mark.parametrize("how", ["head_tail", "windows"])
def test_of_a_pair_the_longer_text_is_read_so(tokenizer: PreTrainedTokenizerBase, how: str) -> None:
    text, ids = long_text(tokenizer, 12)
    short = tokenizer("재밌다", add_special_tokens=False)["input_ids"]
    (cls, sep), length = (tokenizer.cls_token_id, tokenizer.sep_token_id), 3 + len(short) + 4
    rows = Dataset.from_dict({"one": [text, "재밌다"], "two": ["재밌다", text]})
    (ours,) = tokenize([rows], tokenizer, length, ["one", "two"], long_text=how)
    parts = {"head_tail": [ids[:1] + ids[-3:]], "windows": [ids[start : start + 4] for start in range(0, 10, 2)]}[how]
    first = [[cls, *part, sep, *short, sep] for part in parts]
    second = [[cls, *short, sep, *part, sep] for part in parts]
    assert ours["input_ids"][:] == [list(chain(*first)), list(chain(*second))]
    assert ours["token_type_ids"][0] == ([0] * 6 + [1] * (len(short) + 1)) * len(parts)
    assert ours["token_type_ids"][1] == ([0] * (len(short) + 2) + [1] * 5) * len(parts)
    if how == "windows":
        assert ours["window_lengths"][:] == [[length] * 5] * 2


def test_of_two_long_texts_each_gets_half(tokenizer: PreTrainedTokenizerBase) -> None:
    text, ids = long_text(tokenizer, 20)
    rows = Dataset.from_dict({"one": [text], "two": [f"{text} {text}"]})
    (ours,) = tokenize([rows], tokenizer, 11, ["one", "two"], long_text="windows")
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    windows = [[cls, *ids[:4], sep, *(ids + ids)[start : start + 4], sep] for start in range(0, 38, 2)]
    assert ours["input_ids"][0] == list(chain(*windows))


# Cleaning, and what cannot be tokenized.


def test_texts_are_cleaned_before_and_kept_as_they_were(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["재밌다ㅋㅋㅋㅋㅋㅋ http://a.kr", "漢字 별로다"]
    (ours,) = tokenize([rows_of(texts)], tokenizer, 32, clean="kcbert")
    cleaned = [clean_kcbert(text) for text in texts]
    assert ours["text"][:] == texts != cleaned
    assert ours["input_ids"][:] == tokenizer(cleaned)["input_ids"]
    rows = Dataset.from_dict({"one": texts, "two": texts[::-1]})
    (ours,) = tokenize([rows], tokenizer, 64, ["one", "two"], clean="kcbert")
    assert ours["input_ids"][:] == tokenizer(cleaned, cleaned[::-1])["input_ids"]


@pytest.mark.parametrize(("pairs", "least"), [(False, 3), (True, 5)])
def test_a_length_without_room_for_text(tokenizer: PreTrainedTokenizerBase, pairs: bool, least: int) -> None:
    TextEncoder(tokenizer, least, pairs=pairs)
    with pytest.raises(UserError, match=rf"--max_length {least - 1} leaves no token.*Use at least {least}"):
        TextEncoder(tokenizer, least - 1, pairs=pairs)


def test_what_is_not_known_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match=r"long_text is tail; expected one of head, head_tail, windows"):
        TextEncoder(tokenizer, 8, long_text="tail")
    with pytest.raises(UserError, match="slow tokenizer"):
        TextEncoder(SimpleNamespace(is_fast=False), 8)  # ty: ignore[invalid-argument-type]


# kcbert's own vocabulary.


def test_kcbert_ids(kcbert: Path, official: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(kcbert)
    nsmc = get_corpus("nsmc")
    first = next(nsmc.read_blocks(nsmc.fetch(official, official, download=False))["train"]).select(range(20))
    rows = next(tokenize([first], tokenizer, 128))
    ids = dict(zip(rows["text"], rows["input_ids"], strict=True))
    assert ids["아 더빙.. 진짜 짜증나네요 목소리"] == [2, 2170, 832, 5045, 17, 17, 7992, 29734, 4040, 10720, 3]
    assert ids["너무재밓었다그래서보는것을추천한다"] == [
        *(2, 8069, 4089, 7847, 8217, 9791, 4072, 9136, 8750, 4142, 4244, 8008, 3)
    ]
    assert (
        tokenizer("ABC abc", add_special_tokens=False)["input_ids"]
        != tokenizer("abc abc", add_special_tokens=False)["input_ids"]
    )
