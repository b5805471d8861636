"""The page of scripts/demo.py, in Korean. Everything that a browser loads for it comes from this machine."""

import os
import socket
from collections.abc import Iterator
from html import escape

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read on import; what people type must not leave the machine

import gradio as gr
import uvicorn
from fastapi import FastAPI

from pipeline.inference.classifier import Classifier, Prediction
from pipeline.inference.explain import Word, num_characters_read, word_effects

TITLE = "한국어 텍스트 분류"
FONTS = ("Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "NanumGothic", "system-ui", "sans-serif")
EXAMPLES = (
    "기대했던 것보다 훨씬 좋았어요. 또 찾게 될 것 같아요!",
    "처음에는 괜찮았는데 갈수록 지루하고 시간이 아까웠다",
    "설명은 친절한 편인데 분위기가 조금 아쉬워요 ㅠㅠ",
)
CSS = """
.gradio-container {
  width: 100%; max-width: 860px !important; /* without width a table widens the page past a phone's edge */
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
HEAD = '<script>document.documentElement.lang = "ko"</script>'  # otherwise browsers offer to translate the page
FOR, AGAINST = "37 99 235", "220 38 38"  # blue and red: readers who confuse red and green can tell them apart
MIN_FULL_COLOR = 0.05  # smaller effects are never shown in full color, even if they are the largest of a text


def build_page(classifier: Classifier, name: str) -> gr.Blocks:
    """The page for one model. `name` is shown as the model's. `serve` makes the page reachable."""

    def classify_one(text: str) -> Iterator[tuple[dict[str, float] | None, str]]:
        """The label first, then the words: a large model takes seconds for them."""
        if not text.strip():
            yield None, _notice("글을 입력해 주세요.")
            return
        (prediction,) = classifier.predict([text])
        yield prediction.probabilities, '<p class="hint">단어마다 영향을 계산하고 있습니다…</p>'
        yield prediction.probabilities, _explanation(classifier, text, prediction)

    def classify_many(text: str) -> tuple[list[list[str]], str]:
        texts = [line.strip() for line in text.splitlines() if line.strip()]
        if not texts:
            return [], _notice("글을 한 줄에 하나씩 입력해 주세요.")
        predictions = list(classifier.predict(texts))
        rows = [
            [line, prediction.label, f"{prediction.probability:.1%}", _truncation(prediction, classifier.max_length)]
            for line, prediction in zip(texts, predictions, strict=True)
        ]
        num_truncated = sum(prediction.truncated for prediction in predictions)
        return rows, _hint(f"글 {len(rows):,}개를 분류했습니다. 길어서 뒷부분이 잘린 글은 {num_truncated:,}개입니다.")

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.HTML(
            f"<h1>{TITLE}</h1><p>글을 입력하면 어떤 레이블로 분류되는지, 어떤 단어가 영향을 주었는지 보여 드립니다.</p>"
            f'<p class="hint">모델: {escape(name)} · 글마다 앞에서부터 {classifier.max_length}토큰까지 읽습니다.<br>'
            "입력한 글은 이 프로그램을 실행한 컴퓨터에서만 처리하며, 저장하지 않습니다.</p>"
        )
        with gr.Tab("글 하나"):
            text = gr.Textbox(label="글", lines=3, max_lines=12, placeholder=f"예: {EXAMPLES[0]}", elem_id="text")
            submit = gr.Button("분류하기", variant="primary", elem_id="classify")
            label = gr.Label(label="분류 결과와 확률", elem_id="label")
            explanation = gr.HTML(elem_id="explanation")
            gr.Examples([[example] for example in EXAMPLES], text, label="예시를 누르면 입력됩니다")
        with gr.Tab("글 여러 개"):
            texts = gr.Textbox(
                label="글 (한 줄에 하나씩)", lines=6, max_lines=20, placeholder="\n".join(EXAMPLES), elem_id="texts"
            )
            submit_all = gr.Button("모두 분류하기", variant="primary", elem_id="classify-all")
            summary = gr.HTML(elem_id="summary")
            table = gr.Dataframe(
                headers=["글", "레이블", "확률", "잘림"],
                datatype="str",
                column_widths=["42%", "20%", "19%", "19%"],
                label="결과",
                wrap=True,
                interactive=False,
                elem_id="table",
            )
        # One concurrency_id for both: they share the model and the machine's cores.
        gr.on([submit.click, text.submit], classify_one, text, [label, explanation], concurrency_id="model")
        gr.on([submit_all.click, texts.submit], classify_many, texts, [table, summary], concurrency_id="model")
    return page


def serve(page: gr.Blocks, listener: socket.socket) -> None:
    """Serve on a socket that listens already, until Ctrl-C, then raise KeyboardInterrupt.

    `Blocks.launch` is not used: it fetches its own page through the proxy of the environment, looks at 127.0.0.1 only
    to see whether a port is free, and can open a public tunnel (gradio 6.31).
    """
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),  # no documentation pages: they load scripts from elsewhere
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=gr.themes.Default(font=FONTS, font_mono=FONTS),
        css=CSS,
        head=HEAD,
    )
    # Open pages keep their connection, so the shutdown does not wait for them.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
    # uvicorn ends on Ctrl-C and only then passes it on through asyncio, which on a busy machine once came too late.
    raise KeyboardInterrupt


def _explanation(classifier: Classifier, text: str, prediction: Prediction) -> str:
    """HTML: a notice if the text was truncated, and the text with the effect of each word."""
    notice = ""
    if prediction.truncated:
        notice = _notice(
            f"글이 길어서 앞부분만 읽었습니다. 전체 {prediction.num_tokens:,}토큰 가운데 {classifier.max_length}토큰만 "
            "모델에 들어갔습니다. 아래에서 취소선을 그은 부분은 분류에 쓰이지 않았습니다."
        )
    words = _mark_words(text, word_effects(classifier, text), num_characters_read(classifier, text))
    meaning = (
        f"숫자는 그 단어 하나를 뺐을 때 ‘{escape(prediction.label)}’의 확률({prediction.probability:.1%})이 몇 %p "
        "낮아지는지를 나타냅니다. 파란 단어(+)는 이 결과를 뒷받침하고, 붉은 단어(−)는 다른 결과 쪽으로 이끕니다. "
        "비슷한 뜻의 단어가 여럿이면 하나를 빼도 확률이 거의 바뀌지 않을 수 있습니다."
    )
    return f'{notice}<h3>단어별 영향</h3><div class="words">{words}</div>{_hint(meaning)}'


def _mark_words(text: str, words: list[Word], num_read: int) -> str:
    """HTML: each word in its color with its effect above it; what was not read is struck through."""
    largest = max([MIN_FULL_COLOR, *(abs(word.effect) for word in words)])
    parts, position = [], 0
    for word in words:
        color = f"rgb({FOR if word.effect > 0 else AGAINST} / {abs(word.effect) / largest * 60:.0f}%)"
        effect = f"{round(100 * word.effect, 1) + 0:+.1f}".replace("-", "−")  # + 0 turns -0.0 into 0.0
        parts += [
            escape(text[position : word.start]),
            f'<ruby style="background: {color}">{escape(text[word.start : word.end])}<rt>{effect}</rt></ruby>',
        ]
        position = word.end
    unread = f'<span class="unread">{escape(text[num_read:])}</span>' if num_read < len(text) else ""
    return "".join(parts) + escape(text[position:num_read]) + unread


def _truncation(prediction: Prediction, max_length: int) -> str:
    return f"네 ({prediction.num_tokens:,}토큰 중 {max_length})" if prediction.truncated else "아니요"


def _hint(html: str) -> str:
    return f'<p class="hint">{html}</p>'


def _notice(text: str) -> str:
    return f'<p class="notice">{escape(text)}</p>'
