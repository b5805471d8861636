"""KorSTS: how similar are two sentences, from 0 to 5? The STS benchmark in Korean."""

from pipeline.data.corpus import Bilingual, CorpusCard, SourceFile
from pipeline.data.table_corpus import KorporaCorpus
from pipeline.tasks import Regression


class KorSTS(KorporaCorpus):
    """8,628 pairs. The training pairs were translated by a machine; people have corrected the others."""

    summary = "pairs of sentences and how similar they are, 0 to 5"
    label = "score"
    task = Regression(("score",), ("sentence1", "sentence2"))
    files = {
        "train": SourceFile(
            "sts-train.tsv",
            size=1_046_952,
            sha256="b5aaa7f957d6ff46f4b6834a8b0f024a9234a6eefe9289aed66746b4533da3b8",
            num_examples=5_749,
        ),
        "validation": SourceFile(
            "sts-dev.tsv",
            size=307_276,
            sha256="d835b65b424401fbcce6be28a78159df8d61f5b19977ea7a0b83b8cb6105f393",
            num_examples=1_500,
        ),
        "test": SourceFile(
            "sts-test.tsv",
            size=249_596,
            sha256="13f83a3440d9db52d134eb40303ce021b03264aa338fbf2871c8786ce04d2105",
            num_examples=1_379,
        ),
    }
    card = CorpusCard(
        title=Bilingual("KorSTS", "KorSTS"),
        texts=Bilingual("문장 쌍", "pairs of sentences"),
        about=Bilingual("한국어 문장 유사도 말뭉치(KorSTS)", "Semantic textual similarity in Korean (KorSTS)"),
        license=Bilingual(
            "카카오브레인(Ham et al., 2020)이 만들었고, 라이선스는 CC BY-SA 4.0입니다.",
            "By KakaoBrain (Ham et al., 2020), CC BY-SA 4.0.",
        ),
        labels=Bilingual(
            "점수(0~5)는 영어 원문(STS benchmark)에 붙은 것입니다.",
            "Scores (0 to 5) are those of the English originals (STS benchmark).",
        ),
        limits=Bilingual(
            "- 학습 데이터는 기계 번역이고, 검증과 테스트 데이터는 기계 번역을 사람이 고친 것입니다.\n"
            "- 점수는 영어 원문에 붙은 것이므로, 번역문과 맞지 않는 것이 있을 수 있습니다.\n",
            "- The training data are machine translations; people have corrected those of validation and test.\n"
            "- Scores were given to the English originals, and may not fit a translation.\n",
        ),
        license_id="cc-by-sa-4.0",
        source_url="https://github.com/kakaobrain/KorNLUDatasets",
        tags=("semantic-textual-similarity",),
    )

    def read_label(self, value: str) -> float:
        score = super().read_label(value)
        if not 0 <= score <= 5:
            raise ValueError(f"has the label {value}; expected 0 to 5")
        return score


CORPUS = KorSTS()
