"""The page of scripts/demo.py, in Korean. All that a browser loads for it comes from this machine."""

import os
import socket
from collections.abc import Iterator
from html import escape

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read on import: what people type is nobody's business

import gradio as gr
import uvicorn
from fastapi import FastAPI

from pipeline.explain import Word, characters_read, word_effects
from pipeline.inference import Classifier, Prediction

TITLE = "한국어 리뷰 분류"
FONTS = ("Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "NanumGothic", "system-ui", "sans-serif")
EXAMPLES = (
    "배우들 연기가 정말 좋았고 음악도 감동적이에요",
    "예고편은 볼만한데 스토리가 너무 지루하다",
    "기대 안 했는데 결말이 여운이남는다 ㅎㅎ",
)
CSS = """
.gradio-container {
  max-width: min(860px, 100%) !important; min-width: 0; /* else a table widens the page past a phone's edge */
  margin: 0 auto !important; word-break: keep-all; overflow-wrap: anywhere;
}
.words { font-size: 1.15em; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
.words ruby {
  display: inline-flex; flex-direction: column-reverse; align-items: center; baseline-source: last;
  max-width: 100%; margin-bottom: 6px !important; padding: 2px 4px; border-radius: 4px;
}
.words rt { font-size: 0.65em; line-height: 1.2; }
.unread { opacity: 0.5; text-decoration: line-through; }
.notice { padding: 8px 12px; border-left: 4px solid #d97706; background: rgb(217 119 6 / 12%); }
.hint { font-size: 0.9em; opacity: 0.8; }
"""
HEAD = '<script>document.documentElement.lang = "ko"</script>'  # else browsers offer to translate the page
FOR, AGAINST = "37 99 235", "220 38 38"  # blue and red, which those who cannot tell red from green can tell apart
FAINTEST_FULL = 0.05  # an effect below this is never shown in full color, even if it is the largest


def build_page(classifier: Classifier, name: str) -> gr.Blocks:
    """The page for one model, called `name`. `serve` makes it reachable."""

    def one(text: str) -> Iterator[tuple[dict[str, float] | None, str]]:
        """The label at once, and the words when they are computed: a large model takes seconds for them."""
        if not text.strip():
            yield None, _notice("리뷰를 입력해 주세요.")
            return
        (answer,) = classifier.predict([text])
        yield answer.probabilities, '<p class="hint">단어마다 영향을 계산하고 있습니다…</p>'
        yield answer.probabilities, _details(classifier, text, answer)

    def many(text: str) -> tuple[list[list[object]], str]:
        reviews = [line.strip() for line in text.splitlines() if line.strip()]
        if not reviews:
            return [], _notice("리뷰를 한 줄에 하나씩 입력해 주세요.")
        answers = list(classifier.predict(reviews))
        cut = sum(answer.truncated for answer in answers)
        rows = [
            [review, answer.label, f"{answer.probability:.1%}", _cut(answer, classifier.max_seq_length)]
            for review, answer in zip(reviews, answers, strict=True)
        ]
        return rows, f'<p class="hint">리뷰 {len(rows):,}개를 분류했습니다. 잘린 리뷰는 {cut:,}개입니다.</p>'

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>리뷰를 입력하시면 모델의 판정과, 판정에 영향을 준 단어를 보여 드립니다.</p>"
            f'<p class="hint">모델: {escape(name)} · 리뷰마다 {classifier.max_seq_length}토큰까지 읽습니다.<br>'
            "입력하신 글은 이 프로그램을 실행한 컴퓨터에서만 처리하며, 저장하지 않습니다.</p>"
        )
        with gr.Tab("리뷰 하나"):
            review = gr.Textbox(
                label="리뷰", lines=3, max_lines=12, placeholder=f"예: {EXAMPLES[0]}", elem_id="review"
            )
            classify = gr.Button("분류하기", variant="primary", elem_id="classify")
            label = gr.Label(label="판정과 확률", elem_id="label")
            details = gr.HTML(elem_id="details")
            gr.Examples([[example] for example in EXAMPLES], review, label="예시를 누르시면 입력됩니다")
        with gr.Tab("여러 리뷰"):
            reviews = gr.Textbox(
                label="리뷰 (한 줄에 하나씩)",
                lines=6,
                max_lines=20,
                placeholder="\n".join(EXAMPLES),
                elem_id="reviews",
            )
            classify_all = gr.Button("모두 분류하기", variant="primary", elem_id="classify-all")
            summary = gr.HTML(elem_id="summary")
            table = gr.Dataframe(
                headers=["리뷰", "판정", "확률", "잘림"],
                datatype="str",
                column_widths=["55%", "13%", "14%", "18%"],
                label="결과",
                wrap=True,
                interactive=False,
                elem_id="table",
            )
        # One id for both: they share the model, and with it the machine's cores.
        gr.on([classify.click, review.submit], one, review, [label, details], concurrency_id="model")
        gr.on([classify_all.click, reviews.submit], many, reviews, [table, summary], concurrency_id="model")
    return page


def serve(page: gr.Blocks, listener: socket.socket) -> None:
    """Answer on a socket that listens already, until Ctrl-C, and then raise KeyboardInterrupt.

    Not by `Blocks.launch`, which asks for its own page through the proxy of the environment, looks at 127.0.0.1 alone
    to see whether a port is free, and can open a public tunnel.
    """
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),  # without its own pages, which load scripts from elsewhere
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=gr.themes.Default(font=FONTS, font_mono=FONTS),
        css=CSS,
        head=HEAD,
    )
    # Open pages keep a connection for good, so the end does not wait for them.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
    # It ends by Ctrl-C, which it passes on to asyncio at the very end; on a busy machine that was once too late.
    raise KeyboardInterrupt


def _details(classifier: Classifier, text: str, answer: Prediction) -> str:
    """What was cut, if anything was, and the text with what each word did."""
    notice = ""
    if answer.truncated:
        notice = _notice(
            f"글이 길어서 앞부분만 읽었습니다. 전체 {answer.tokens:,}토큰 가운데 {classifier.max_seq_length}토큰만 "
            "모델에 들어갔습니다. 아래에서 취소선을 그은 부분은 판정에 쓰이지 않았습니다."
        )
    words = _marked(text, word_effects(classifier, text), characters_read(classifier, text))
    return (
        f'{notice}<h3>단어별 영향</h3><div class="words">{words}</div><p class="hint">'
        f"숫자는 그 단어 하나를 뺐을 때 ‘{escape(answer.label)}’ 확률({answer.probability:.1%})이 몇 %p 낮아지는지를 "
        "나타냅니다. 파란 단어(+)는 판정을 뒷받침했고, 붉은 단어(−)는 반대쪽으로 당겼습니다. "
        "비슷한 뜻의 단어가 여럿이면 하나를 빼도 확률이 거의 바뀌지 않을 수 있습니다.</p>"
    )


def _marked(text: str, words: list[Word], read: int) -> str:
    """The text as HTML: each word in its color with its number above, and struck through what was not read."""
    strongest = max([FAINTEST_FULL, *(abs(word.effect) for word in words)])
    parts, position = [], 0
    for word in words:
        color = f"rgb({FOR if word.effect > 0 else AGAINST} / {abs(word.effect) / strongest * 60:.0f}%)"
        number = f"{round(100 * word.effect, 1) + 0:+.1f}".replace("-", "−")  # + 0: no negative zero
        parts += [
            escape(text[position : word.start]),
            f'<ruby style="background: {color}">{escape(text[word.start : word.end])}<rt>{number}</rt></ruby>',
        ]
        position = word.end
    unread = f'<span class="unread">{escape(text[read:])}</span>' if read < len(text) else ""
    return "".join(parts) + escape(text[position:read]) + unread


def _cut(answer: Prediction, longest: int) -> str:
    return f"네 ({answer.tokens:,}토큰 중 {longest})" if answer.truncated else "아니요"


def _notice(text: str) -> str:
    return f'<p class="notice">{escape(text)}</p>'
