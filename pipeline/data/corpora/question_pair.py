"""Question pairs by songys: do two questions mean the same?"""

from pipeline.data.corpus import Bilingual, CorpusCard, SourceFile
from pipeline.data.table_corpus import CSV, KorporaCorpus
from pipeline.tasks import SingleLabelClassification


class QuestionPair(KorporaCorpus):
    """7,576 pairs. In the column `is_duplicate` 0 is the same question and 1 another one, says the author's README."""

    summary = "pairs of questions: the same or not"
    label = "is_duplicate"
    label_values = ("0", "1")
    dialect = CSV
    task = SingleLabelClassification(("같은 질문", "다른 질문"), ("question1", "question2"))
    files = {
        "train": SourceFile(
            "kor_pair_train.csv",
            size=608_164,
            sha256="b0fa4fa4e6fccb9b77f4e4d69c97c558b32d1356ee9041f5faf68fc0446b6fd7",
            num_examples=6_888,
        ),
        "test": SourceFile(
            "kor_pair_test.csv",
            size=52_943,
            sha256="6e25fc564778bbec695ad3b1d0db7cb8956adabb2186e9c0d582c7346a90a073",
            num_examples=688,
        ),
    }
    card = CorpusCard(
        title=Bilingual("Question pair", "Question pair"),
        texts=Bilingual("질문 쌍", "pairs of questions"),
        about=Bilingual("한국어 질문 쌍 말뭉치(Question pair)", "Pairs of Korean questions (Question pair)"),
        license=Bilingual(
            "송영숙(songys)이 만들었고, 저장소의 라이선스는 MIT입니다(Korpora에는 CC BY-SA 4.0으로 적혀 있습니다).",
            "By songys; the repository's licence is MIT (Korpora calls it CC BY-SA 4.0).",
        ),
        labels=Bilingual("레이블은 사람이 붙였습니다.", "People have labelled the pairs."),
        limits=Bilingual(
            "- 학습 데이터는 69 %가 같은 질문이고 테스트 데이터는 52 %입니다. 저자도 두 분포가 다르다고 밝혔습니다.\n"
            "- 테스트 쌍 10개는 학습 데이터에도 있습니다.\n",
            "- 69 % of the training pairs are the same question and 52 % of the test pairs; the author says so too.\n"
            "- 10 test pairs are also in the training data.\n",
        ),
        license_id="mit",
        source_url="https://github.com/songys/Question_pair",
        tags=("paraphrase-identification",),
    )


CORPUS = QuestionPair()
