"""Near duplicates: no false pair, and no pair that is missed, against all pairs compared one by one."""

import random
from itertools import combinations

import pytest

from pipeline.audit.near import MAX_NEIGHBOURS, MIN_LETTERS, find_near, similarity

pytest.importorskip("rensa")

SYLLABLES = "가나다라마바사아자차카타파하고노도로모보소오조초코토포호"


def made(seed: int, count: int, length: int = 40) -> list[str]:
    """Texts of which every third is another one with a few syllables changed."""
    generator, texts = random.Random(seed), []
    for index in range(count):
        if index % 3 == 2:
            letters = list(generator.choice(texts))
            for _ in range(generator.randint(1, 3)):
                letters[generator.randrange(len(letters))] = generator.choice(SYLLABLES)
            texts.append("".join(letters) + "요" * generator.randint(0, 2))
        else:
            texts.append("".join(generator.choices(SYLLABLES, k=generator.randint(4, length))))
    return list(dict.fromkeys(texts))


def jaccard(first: str, second: str) -> float:
    ours, theirs = ({text[i : i + 3] for i in range(max(1, len(text) - 2))} for text in (first, second))
    return len(ours & theirs) / len(ours | theirs)


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_are_those_of_all_comparisons(seed: int) -> None:
    texts = made(seed, 300)
    expected = {
        (first, second): jaccard(texts[first], texts[second])
        for first, second in combinations(range(len(texts)), 2)
        if min(len(texts[first]), len(texts[second])) >= MIN_LETTERS and jaccard(texts[first], texts[second]) >= 0.8
    }
    assert len(expected) > 10
    found = {(pair.first, pair.second): pair.similarity for pair in find_near(texts)}
    assert found == pytest.approx(expected)


def test_pairs_of_texts_are_near_if_both_are() -> None:
    base, other = "가나다라마바사아자차카타파하고노도로모보소오조초코토", "둘째글은이것입니다아주길어요정말로"
    texts = [(base, other), (base + "요", other), (base, "전혀다른둘째글이여기에있습니다네"), (other, base)]
    ((first, second, found),) = find_near(texts)
    assert (first, second) == (0, 1)
    assert found == pytest.approx(min(jaccard(base, base + "요"), 1.0)) == similarity(texts[0], texts[1])


def test_short_texts_and_those_without_letters_have_no_near_ones() -> None:
    assert find_near(["재미있습니다요", "재미있습니다요네", "?" * 40, "?" * 41]) == []


def test_a_template_is_compared_in_linear_time() -> None:
    start = "".join(dict.fromkeys(SYLLABLES)) * 3
    texts = [f"{start}{number}" for number in range(400)]
    pairs = find_near(texts)
    assert len(pairs) <= MAX_NEIGHBOURS * len(texts)
    assert {pair.second for pair in pairs} == set(range(1, 400))  # each is found to have one all the same
    assert all(jaccard(texts[pair.first], texts[pair.second]) >= 0.8 for pair in pairs)


def test_the_result_is_the_same_every_time() -> None:
    texts = made(7, 200)
    assert find_near(texts) == find_near(texts)
