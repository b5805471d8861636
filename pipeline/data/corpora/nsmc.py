"""NSMC, the Naver sentiment movie corpus, byte for byte the official files. Fetched through Korpora."""

from pathlib import Path

from pipeline.data.corpora.nsmc_layout import NsmcLayout
from pipeline.data.corpus import Bilingual, CorpusCard, SourceFile
from pipeline.runtime.errors import UserError


class Nsmc(NsmcLayout):
    """200,000 reviews, labelled by their stars: one to four are 부정, nine and ten 긍정."""

    summary = "the Naver movie reviews"
    files = {
        "train": SourceFile(
            "ratings_train.txt",
            size=14_628_807,
            sha256="e03b7d14e9e41be8d464a28057cd25d7396c53e67aa7fd5f7e552c59b0ee2940",
            num_examples=150_000,
        ),
        "test": SourceFile(
            "ratings_test.txt",
            size=4_893_335,
            sha256="8ac9f64052f11dbf6ae0acb5e038f03d90a76f0eda7820cfb3a92d02edfcebda",
            num_examples=50_000,
        ),
    }
    card = CorpusCard(
        title=Bilingual("NSMC", "NSMC"),
        texts=Bilingual("리뷰", "reviews"),
        about=Bilingual("네이버 영화 리뷰 말뭉치(NSMC)", "The Naver sentiment movie corpus (NSMC)"),
        license=Bilingual("NSMC의 라이선스는 CC0 1.0입니다.", "NSMC is CC0 1.0."),
        labels=Bilingual(
            "레이블은 별점(1~4점, 9~10점)에서 왔으므로 글과 맞지 않는 것이 섞여 있습니다.",
            "Labels come from star ratings (1-4 and 9-10), so some contradict the text.",
        ),
        limits=Bilingual(
            "- 레이블은 사람이 글을 읽고 붙인 것이 아니라 별점(1~4점은 부정, 9~10점은 긍정)에서 왔으므로, 글과 맞지\n"
            "  않는 것이 섞여 있습니다.\n"
            "- 테스트 리뷰 1,571건(3.14 %)은 똑같은 문장이 학습 데이터에도 있습니다.\n"
            "- 중립적인 리뷰는 학습하지 않았으며, 그런 글도 둘 중 하나로 분류합니다. 영화 리뷰가 아닌 글에서는 성능이\n"
            "  다를 수 있습니다.\n",
            "- Labels come from star ratings (1-4 and 9-10), not from reading the text, so some contradict it.\n"
            "- 1,571 test reviews (3.14 %) have a text that is also in the training data.\n"
            "- Neutral reviews were never seen and get one of the two labels all the same; other kinds of text\n"
            "  may give other scores.\n",
        ),
        hub_id="e9t/nsmc",
        license_id="cc0-1.0",
        source_url="https://github.com/e9t/nsmc",
        tags=("sentiment-analysis",),
    )

    def url(self, file: SourceFile) -> str:
        """Where Korpora fetches a file from."""
        from Korpora.korpus_nsmc import NSMC_FETCH_INFORMATION

        return next(entry["url"] for entry in NSMC_FETCH_INFORMATION if entry["destination"].endswith(file.name))

    def check(self, path: Path, file: SourceFile, sha256: str) -> None:
        if sha256 != file.sha256:
            raise UserError(_not_official(path, file, sha256, self.check_layout(path)))


def _not_official(path: Path, file: SourceFile, sha256: str, num_examples: int) -> str:
    line_ends = path.read_bytes().count(b"\r\n")
    hint = f"\n  its {line_ends:,} lines end in CR LF: git or an editor has rewritten them." if line_ends else ""
    return (
        f"{path} is not the official NSMC file.\n"
        f"  expected: {file.size:,} bytes, {file.num_examples:,} examples, sha256 {file.sha256}\n"
        f"  found:    {path.stat().st_size:,} bytes, {num_examples:,} examples, sha256 {sha256}{hint}\n"
        "  Truncated and rewritten copies of NSMC circulate; their scores cannot be compared. Move the file away and "
        "run again to fetch the official one. If it is your own data, say --corpus_name nsmc_layout."
    )


CORPUS = Nsmc()
