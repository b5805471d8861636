"""Equal texts within and between splits, against sets of strings."""

from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.duplicates import CHUNK_SIZE, occurs_in, text_digests, without_duplicates

TEXTS = st.lists(st.text(alphabet="가나 \0", max_size=3), max_size=12)  # short ones, so that some are equal


def rows(*columns: list[str]) -> Dataset:
    return Dataset.from_dict({f"text{index}": column for index, column in enumerate(columns)})


@given(TEXTS, TEXTS, TEXTS)
def test_texts_are_found_and_dropped_as_sets_of_strings_do(
    train: list[str], first: list[str], second: list[str]
) -> None:
    names, held_out = ["text0"], [rows(first), rows(second)]
    assert occurs_in(rows(train), held_out, names).tolist() == [text in {*first, *second} for text in train]
    expected = [text for text in dict.fromkeys(train) if text not in {*first, *second}]
    assert without_duplicates(rows(train), held_out, names)["text0"][:] == expected


def test_both_texts_of_a_pair_count() -> None:
    pairs, others = rows(["가", "가", "나나"], ["나", "다", ""]), rows(["가", "나"], ["나", "나"])
    assert occurs_in(pairs, [others], ["text0", "text1"]).tolist() == [True, False, False]


def test_every_chunk_is_read() -> None:
    digests = text_digests(rows([str(number % 7) for number in range(2 * CHUNK_SIZE + 5)]), ["text0"])
    assert len(set(digests.tolist())) == 7
    assert (digests[7:] == digests[:-7]).all()
