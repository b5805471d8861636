"""The quickstart: a generated corpus of Korean movie reviews, a vocabulary trained on it and a small BERT; no network.

The corpus has NSMC's file layout but is not NSMC: a seeded grammar of a few hundred phrases writes it, and a score on
it says nothing of kcbert.
"""

import csv
import io
import json
import random
from dataclasses import replace
from pathlib import Path

from pipeline.data.corpora.nsmc_layout import HEADER, NsmcLayout
from pipeline.data.corpus import Bilingual
from pipeline.runtime.build_once import build_once, trusted_folder

VERSION = 2  # raised whenever the files change
NUM_EXAMPLES = {"train": 4000, "test": 1000}
SEED = 2022
LABEL_NOISE = 0.04  # star ratings do not always say what the words say
VOCABULARY_SIZE = 2000
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Quickstart(NsmcLayout):
    """Generated reviews, and a small BERT without weights."""

    summary = "a small corpus that this project generates"
    bundled_model = "a small BERT without weights"
    notice = "The quickstart's data and model are made by this project: its score says nothing of kcbert."
    card = replace(
        NsmcLayout.card,
        title=Bilingual("quickstart(공식 NSMC가 아님)", "quickstart (not the official NSMC)"),
    )

    def folder(self, root_dir: Path, cache_dir: Path) -> Path:
        return write_quickstart(cache_dir) / self.subfolder

    def missing_files(self, root_dir: Path) -> list[str]:
        return []

    def write_model(self, cache_dir: Path) -> Path:
        return write_quickstart(cache_dir) / "model"


def write_quickstart(cache_dir: Path) -> Path:
    """Write corpus and model into a folder in `cache_dir` unless they are there.

    Returns:
        The folder: `nsmc/` has the corpus, `model/` config and tokenizer.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = trusted_folder(cache_dir / f"quickstart-{VERSION}")
    files = Quickstart.files

    def build(tmp_dir: Path) -> None:
        (tmp_dir / "nsmc").mkdir()
        generator = random.Random(SEED)
        for split, count in NUM_EXAMPLES.items():
            _write_split(tmp_dir / "nsmc" / files[split].name, count, generator)
        _write_model(tmp_dir / "model", tmp_dir / "nsmc" / files["train"].name)

    build_once(folder, build, is_valid=_is_valid)
    return folder


def _is_valid(folder: Path) -> bool:
    try:
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            json.loads((folder / "model" / name).read_text(encoding="utf-8"))
        return all(
            CORPUS.check_layout(folder / "nsmc" / CORPUS.files[split].name) == count
            for split, count in NUM_EXAMPLES.items()
        )
    except (OSError, ValueError):
        return False


def _write_split(path: Path, count: int, generator: random.Random) -> None:
    lines = [HEADER.decode()]
    for number in range(count):
        label = generator.randrange(2)
        text = "" if number == count // 2 else write_review(generator, label)  # NSMC has a few empty reviews too
        if generator.random() < LABEL_NOISE:
            label = 1 - label
        lines.append(f"{9_000_000 + number}\t{_csv_twice(text)}\t{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _csv_twice(text: str) -> str:
    """Quote a text that contains a quotation mark as NSMC's files do: by a CSV writer, twice."""
    for _ in range(2):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([text])
        text = line.getvalue() if '"' in text else text
    return text


def _write_model(folder: Path, train_file: Path) -> None:
    """Train a cased WordPiece vocabulary on the reviews, and write it with a small BERT's config, as on the Hub."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    def tokenizer_with(vocabulary: dict[str, int]) -> Tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    reviews = [line.split("\t")[1] for line in train_file.read_text(encoding="utf-8").split("\n")[1:-1]]
    # The trainer numbers the letters within words in the order of a hash table, which differs between processes, and
    # breaks ties by number (tokenizers 0.22): the vocabulary would differ too. Sorted special tokens fix the order.
    inner = sorted({f"##{letter}" for review in reviews for letter in review if not letter.isspace()})
    learning = tokenizer_with({})
    learning.train_from_iterator(
        reviews,
        trainers.WordPieceTrainer(
            vocab_size=VOCABULARY_SIZE, special_tokens=[*SPECIAL_TOKENS, *inner], show_progress=False
        ),
    )
    tokenizer = tokenizer_with(learning.get_vocab(with_added_tokens=False))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    first, last = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", first), ("[SEP]", last)]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": False,
        "model_max_length": CONFIG["max_position_embeddings"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    vocabulary = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": tokenizer.token_to_id("[PAD]")}
    (folder / "config.json").write_text(json.dumps({**CONFIG, **vocabulary}, indent=2), encoding="utf-8")


# The grammar. A review is a few clauses about aspects of a film; the last clause carries the label.

_ASPECTS = (
    "영화 연기 스토리 배우 음악 영상미 결말 연출 주인공 대사 액션 감독 반전 캐릭터 분위기 그래픽 초반 "
    "후반 더빙 편집 전개 개연성 시나리오 조연 제목 예고편 노래 장면 설정 소재"
).split()
_PEOPLE = "친구 엄마 아빠 동생 남친 여친 가족 아들 딸 남편 아내 형 누나 선배".split()
_WHEN = "어제 오늘 방금 주말에 새벽에 극장에서 티비로 집에서 다시 오랜만에 십년만에 개봉날 심야로 명절에".split()
_ADVERBS = "진짜 정말 너무 완전 겁나 솔직히 그냥 참 역시 생각보다 의외로 개인적으로 레알 넘 매우 꽤".split()
_PREDICATES = {
    1: (
        "좋았다 최고다 재밌다 재밌어요 감동이다 감동적이에요 훌륭하다 완벽하다 대박이다 멋지다 끝내준다 "
        "사랑스럽다 인상적이다 뛰어나다 신선하다 따뜻하다 아름답다 눈물난다 강추 꿀잼 명작이다 좋네요 볼만하다 "
        "흥미진진하다 몰입된다 쩐다 죽인다 설렌다 웃기다 짱이다 탄탄하다 기대이상 만족 여운이남는다 소름돋는다"
    ).split(),
    0: (
        "별로다 최악이다 지루하다 지루해요 재미없다 재미없어요 실망이다 실망했습니다 아깝다 유치하다 허접하다 "
        "식상하다 노잼 쓰레기다 졸리다 짜증난다 답답하다 억지스럽다 뻔하다 엉성하다 어이없다 비추 산만하다 "
        "돈아깝다 시간아깝다 망했다 질질끈다 황당하다 어색하다 시시하다 기대이하 후회된다 오글거린다"
    ).split(),
}
_CONCESSIONS = {
    1: "좋았지만 괜찮은데 볼만한데 멋진데 예쁘지만 신선하지만 나쁘지않은데 웃기긴한데 화려하지만".split(),
    0: "별로였지만 지루한데 아쉽지만 유치한데 답답했지만 뻔하지만 엉성한데 식상하지만 어색한데".split(),
}
_OPENERS = {
    1: "인생영화|이런 영화 또 없다|안본 사람 꼭 보세요|왜 이제 봤을까|열번은 봤다|평점이 왜이리 낮지",
    0: "이걸 왜 만들었지|돈주고 보지 마세요|평점 알바 많네|내 시간 돌려줘|끝까지 못봤다|감독 반성해라",
}
_TAILS = {1: "ㅎㅎ|ㅠㅠ|!!|^^|♥|ㅋㅋ|👍|~|♡♡|", 0: "ㅡㅡ|;;|...|ㅠㅠ|-_-|ㅉㅉ|👎|..|ㅋㅋ|"}
_NEUTRAL = "배우는 누군지 모르겠고|원작은 안봤지만|두시간짜리인데|시리즈 다 봤는데|평점 보고 골랐는데"
_MISSPELLINGS = [
    *(("재밌", "잼있"), ("없다", "업다"), ("좋았", "조았"), ("진짜", "진짜루"), ("너무", "너모")),
    *(("별로", "별루"), ("최고", "쵝오"), ("영화", "영홬")),
]


def write_review(generator: random.Random, label: int) -> str:
    """Write one review whose words express `label` (0 부정, 1 긍정)."""

    def maybe(share: float) -> bool:
        return generator.random() < share

    def pick(words: str | list[str]) -> str:
        return generator.choice(words.split("|") if isinstance(words, str) else words)

    def clause(predicate: str) -> str:
        subject = _join(pick(_ASPECTS), *generator.choice([("이", "가"), ("은", "는"), ("도", "도")]))
        return " ".join([subject, *([pick(_ADVERBS)] if maybe(0.6) else []), predicate])

    clauses = []
    if maybe(0.35):
        clauses.append(f"{pick(_WHEN)} {_join(pick(_PEOPLE), '이랑', '랑')} 봤는데")
    if maybe(0.25):
        clauses.append(pick(_NEUTRAL))
    if maybe(0.35):  # a concession to the other opinion
        clauses.append(clause(pick(_CONCESSIONS[1 - label])))
    clauses += [clause(pick(_PREDICATES[label])) for _ in range(generator.choice([1, 1, 1, 2, 2, 3]))]
    if maybe(0.2):
        clauses.append(pick(_OPENERS[label]))
    text = generator.choice([" ", " ", ". ", ", ", "   "]).join(clauses) + pick(_TAILS[label])
    if maybe(0.05):
        text = f'"{pick(_OPENERS[label])}" {text}'
    if maybe(0.2):
        text = text.replace(" ", "")  # many reviewers leave the spaces out
    if maybe(0.25):
        for right, wrong in generator.sample(_MISSPELLINGS, 3):
            text = text.replace(right, wrong)
    return text.strip()


def _join(word: str, after_consonant: str, after_vowel: str) -> str:
    """Append a particle in the form that the word's last syllable requires."""
    has_final_consonant = (ord(word[-1]) - ord("가")) % 28 != 0
    return word + (after_consonant if has_final_consonant else after_vowel)


CORPUS = Quickstart()
