"""KorNLI: does the second sentence follow from the first? MultiNLI, SNLI and XNLI in Korean."""

from pipeline.data.corpus import Bilingual, CorpusCard, SourceFile
from pipeline.data.table_corpus import KorporaCorpus
from pipeline.tasks import SingleLabelClassification


class KorNLI(KorporaCorpus):
    """Some 943,000 pairs translated by a machine to train on; 7,500 that people have corrected to validate and test."""

    summary = "pairs of sentences: entailment, neutral or contradiction"
    label = "gold_label"
    task = SingleLabelClassification(("entailment", "neutral", "contradiction"), ("sentence1", "sentence2"))
    files = {
        "train": (SourceFile("multinli.train.ko.tsv"), SourceFile("snli_1.0_train.ko.tsv")),
        "validation": SourceFile(
            "xnli.dev.ko.tsv",
            size=511_383,
            sha256="821fb1c1c2e538ac2724a6132da36ffa379eb9a542ceb89243b3cf711377382c",
            num_examples=2_490,
        ),
        "test": SourceFile(
            "xnli.test.ko.tsv",
            size=1_032_430,
            sha256="0db53cf8e182283a0d0404ec3fe1b15d1e29236d23d22082dc20d43067254b3e",
            num_examples=5_010,
        ),
    }
    card = CorpusCard(
        title=Bilingual("KorNLI", "KorNLI"),
        texts=Bilingual("문장 쌍", "pairs of sentences"),
        about=Bilingual("한국어 자연어 추론 말뭉치(KorNLI)", "Natural language inference in Korean (KorNLI)"),
        license=Bilingual(
            "카카오브레인(Ham et al., 2020)이 만들었고, 라이선스는 CC BY-SA 4.0입니다.",
            "By KakaoBrain (Ham et al., 2020), CC BY-SA 4.0.",
        ),
        labels=Bilingual(
            "레이블은 영어 원문(MultiNLI, SNLI, XNLI)에 붙은 것입니다.",
            "Labels are those of the English originals (MultiNLI, SNLI, XNLI).",
        ),
        limits=Bilingual(
            "- 학습 데이터는 기계 번역이고, 검증과 테스트 데이터는 기계 번역을 사람이 고친 것입니다.\n"
            "- 레이블은 영어 원문에 붙은 것이므로, 번역문과 맞지 않는 것이 있을 수 있습니다.\n",
            "- The training data are machine translations; people have corrected those of validation and test.\n"
            "- Labels were given to the English originals, and may not fit a translation.\n",
        ),
        hub_id="kakaobrain/kor_nli",
        license_id="cc-by-sa-4.0",
        source_url="https://github.com/kakaobrain/KorNLUDatasets",
        tags=("natural-language-inference",),
    )


CORPUS = KorNLI()
