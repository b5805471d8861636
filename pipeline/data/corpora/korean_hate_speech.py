"""The Korean hate speech corpus (BEEP!): comments on entertainment news, labelled in three ways."""

from pipeline.data.corpus import Bilingual, CorpusCard, SourceFile
from pipeline.data.table_corpus import KorporaCorpus
from pipeline.tasks import SingleLabelClassification

TEXT = ("comments",)


class KoreanHateSpeech(KorporaCorpus):
    """8,367 comments. The official test file has no labels, so that the official dev file is the test set."""

    summary = "comments on Korean entertainment news"
    label = "hate"
    label_columns = {
        "hate": SingleLabelClassification(("none", "offensive", "hate"), TEXT),
        "bias": SingleLabelClassification(("none", "gender", "others"), TEXT),
        "contain_gender_bias": SingleLabelClassification(("false", "true"), TEXT),
    }
    task = label_columns[label]
    files = {
        "train": SourceFile(
            "labeled/train.tsv",
            size=913_546,
            sha256="ebebacdcd023af2c4acc8c0a37695fb6433ac04fc009feff8f222724e303a5a9",
            num_examples=7_896,
        ),
        "test": SourceFile(
            "labeled/dev.tsv",
            size=54_903,
            sha256="232b615d6e359a9d31dfb8370f32e1733dc5bb3f9c5430d34d7fcc7ba4b7e8ef",
            num_examples=471,
        ),
    }
    card = CorpusCard(
        title=Bilingual("Korean Hate Speech(BEEP!)", "Korean Hate Speech (BEEP!)"),
        texts=Bilingual("뉴스 댓글", "news comments"),
        about=Bilingual("연예 뉴스 댓글 혐오 표현 말뭉치(BEEP!)", "Comments on Korean entertainment news (BEEP!)"),
        license=Bilingual(
            "문지형, 조원익, 이준범(2020)이 만들었고, 라이선스는 CC BY-SA 4.0입니다.",
            "By Jihyung Moon, Won Ik Cho and Junbum Lee (2020), CC BY-SA 4.0.",
        ),
        labels=Bilingual("레이블은 사람이 댓글을 읽고 붙였습니다.", "People have read the comments and labelled them."),
        limits=Bilingual(
            "- 공개된 테스트 세트에는 레이블이 없으므로, 테스트 점수는 공식 dev 세트(471건)의 점수입니다.\n"
            "- 어디까지가 혐오인지는 사람마다 다르게 봅니다. 2020년 이전의 연예 뉴스 댓글만 학습했습니다.\n",
            "- The official test set has no labels: the test score is that of the official dev set (471 comments).\n"
            "- People disagree on what is hate. Only comments on entertainment news until 2020 were seen.\n",
        ),
        license_id="cc-by-sa-4.0",
        source_url="https://github.com/kocohub/korean-hate-speech",
        tags=("hate-speech-detection",),
    )


CORPUS = KoreanHateSpeech()
