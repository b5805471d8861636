"""The page of scripts/demo.py, in Korean. Everything that a browser loads for it comes from this machine."""

import json
import os
import re
import socket
from collections.abc import Iterator
from html import escape
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read on import; what people type must not leave the machine

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.inference.classifier import Classifier
from pipeline.inference.demo_view import CSS, DemoView, hint, notice

FONTS = ("Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "NanumGothic", "system-ui", "sans-serif")
HEAD = '<script>document.documentElement.lang = "ko"</script>'  # otherwise browsers offer to translate the page
CALL = re.compile(r"/gradio_api/(?:queue/join|(?:call|run|api)/(?P<name>[^/]+)/?)")  # posts that call a function


def build_page(classifier: Classifier, name: str, label_range: tuple[float, float] | None = None) -> gr.Blocks:
    """The page for one model. `serve` makes the page reachable.

    Args:
        classifier: the model.
        name: is shown as the model's.
        label_range: of a regression, the smallest and the largest number of the test data.
    """
    view = DemoView(classifier, label_range)

    def classify(*texts: str | None) -> Iterator[tuple[str, str]]:
        """The result first, then the words: a large model takes seconds for them."""
        if not all(text and text.strip() for text in texts):
            yield "", notice("두 글을 모두 입력해 주세요." if view.reads_pairs else "글을 입력해 주세요.")
            return
        text: Any = texts if view.reads_pairs else texts[0]
        (prediction,) = classifier.predict([text])
        result = view.result(prediction)
        yield result, hint("단어마다 영향을 계산하고 있습니다…")
        yield result, view.explanation(text, prediction)

    def classify_many(lines: str | None) -> tuple[list[list[str]], str]:
        try:
            texts = view.parse_lines(lines or "")
        except ValueError as error:
            return [], notice(str(error))
        predictions = list(classifier.predict(texts))
        return [view.row(*each) for each in zip(texts, predictions, strict=True)], hint(view.summary(predictions))

    with gr.Blocks(title=view.title, analytics_enabled=False) as page:
        gr.HTML(
            f"<h1>{view.title}</h1><p>{view.introduction}</p>"
            f'<p class="hint">모델: {escape(name)} · {view.reads}<br>'
            "입력한 글은 이 프로그램을 실행한 컴퓨터에서만 처리하며, 저장하지 않습니다.</p>"
        )
        with gr.Tab("글 한 쌍" if view.reads_pairs else "글 하나"):
            boxes = [
                gr.Textbox(label=label, lines=3, max_lines=12, placeholder=f"예: {example}", elem_id=f"text{number}")
                for number, (label, example) in enumerate(zip(view.labels, view.examples[0], strict=True), start=1)
            ]
            submit = gr.Button(view.verb, variant="primary", elem_id="classify")
            result = gr.HTML(elem_id="result")
            explanation = gr.HTML(elem_id="explanation")
            gr.Examples([list(example) for example in view.examples], boxes, label="예시를 누르면 입력됩니다")
        with gr.Tab("글 여러 쌍" if view.reads_pairs else "글 여러 개"):
            lines = gr.Textbox(
                label=view.lines_label,
                lines=6,
                max_lines=20,
                placeholder="\n".join(" || ".join(example) for example in view.examples),
                elem_id="texts",
            )
            submit_all = gr.Button(f"모두 {view.verb}", variant="primary", elem_id="classify-all")
            summary = gr.HTML(elem_id="summary")
            table = gr.Dataframe(
                headers=list(view.columns),
                datatype="str",
                column_widths=list(view.columns.values()),
                label="결과",
                wrap=True,
                interactive=False,
                elem_id="table",
            )
        # One concurrency_id for both: they share the model and the machine's cores.
        starts = [submit.click, *(box.submit for box in boxes)]
        gr.on(starts, classify, boxes, [result, explanation], concurrency_id="model")
        gr.on([submit_all.click, lines.submit], classify_many, lines, [table, summary], concurrency_id="model")
    return page


def make_app(page: gr.Blocks) -> FastAPI:
    """The page as an application of its own.

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
    app.add_middleware(_RefuseBadRequests, page=page)
    return app


def serve(page: gr.Blocks, listener: socket.socket) -> None:
    """Serve on a socket that listens already, until Ctrl-C, then raise KeyboardInterrupt."""
    # Open pages keep their connection, so the shutdown does not wait for them.
    config = uvicorn.Config(make_app(page), log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
    # uvicorn ends on Ctrl-C and only then passes it on through asyncio, which on a busy machine once came too late.
    raise KeyboardInterrupt


class _RefuseBadRequests:
    """Answers requests that no page sends with a status 4xx, where gradio 6.31 has a traceback in the terminal.

    It raises on an unknown function, and prints what a function raises on values that it is not made for. What our own
    functions raise is not touched: it is caught and printed before it gets here.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self.app, self.page = app, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "POST" and (call := CALL.fullmatch(scope["path"])):
            body = await _read_body(receive)
            if problem := self._problem(call["name"], body):
                status, detail = problem
                await JSONResponse({"detail": detail}, status)(scope, receive, send)
                return
            receive = _replay(body, receive)
        await self._answer(scope, receive, send)

    def _problem(self, name: str | None, body: bytes) -> tuple[int, str] | None:
        """Status and text if a call cannot be made; of any other mistake gradio's own answer is good."""
        try:
            request = json.loads(body)
            number, values = request.get("fn_index"), list(request["data"])
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
        called = number if name is None or number is not None else name
        names: dict[Any, Any] = {each.api_name: each for each in self.page.fns.values()}
        known: dict[Any, Any] = names if isinstance(called, str) else self.page.fns
        function = known.get(called) if isinstance(called, int | str) else None
        if function is None:
            return 404, f"there is no function {called!r:.100}."
        if len(values) != len(function.inputs):
            return 422, f"expected {len(function.inputs)} value(s) in `data`; found {len(values)}."
        for component, value in zip(function.inputs, values, strict=True):
            is_example = isinstance(component, gr.Dataset)  # its value is the number of one
            if is_example and value not in range(len(component.samples)):
                return 422, f"expected the number of an example; found {value!r:.100}."
            if not is_example and not isinstance(value, str | None):
                return 422, f"expected a text; found {value!r:.100}."
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; what gradio cannot answer is a mistake of the request."""
        started = refused = False

        async def send_unless_failed(message: Message) -> None:
            nonlocal started, refused
            if message["type"] == "http.response.start":
                refused = message["status"] == 500
                started = not refused
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive, send_unless_failed)
        except Exception:
            if started:  # of a stream of events
                await send({"type": "http.response.body", "body": b""})
            refused = not started
        if refused:
            await JSONResponse({"detail": "the request cannot be answered."}, 400)(scope, receive, send)


async def _read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` with a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
