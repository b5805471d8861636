"""scripts/demo.py: its mistakes are named, and its page works in a real browser without any network."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import ROOT, run
from support.models import save_random_classifier

from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression


def python_path(folder: Path) -> str:
    """The environment's PYTHONPATH with a folder before it."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="module")
def listen() -> Callable[[str, int], socket.socket]:
    return runpy.run_path(str(ROOT / "scripts" / "demo.py"))["listen"]


def test_a_port_in_use_is_named(listen) -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is in use.*--port {port + 1}, or --port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("127.0.0.1", 65536, "--port is 65536; expected 0 to 65535"),
        ("127.0.0.1", -1, "--port is -1; expected 0 to 65535"),
        ("192.0.2.1", 0, "cannot listen on --host 192.0.2.1"),  # reserved for documentation: no machine has it
        ("not an address", 0, "cannot listen on --host not an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(listen, host: str, port: int, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        listen(host, port)


@pytest.mark.slow
def test_a_missing_gradio_is_named(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text('raise ModuleNotFoundError("No module named \'gradio\'", name="gradio")')
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    result = run("demo.py", "--model", "./model", cwd=tmp_path, PYTHONPATH=python_path(tmp_path))
    assert result.returncode == 2
    assert "the demo needs Gradio" in result.stderr
    assert "pip install -e '.[demo]'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"test": {"label_range": [0.5, 5.0]}}', (0.5, 5.0)),
        ('{"test": {"accuracy": 0.5}}', None),
        ("{", None),
        ("[]", None),
        (None, None),
    ],
)
def test_the_range_of_a_regression_is_that_of_its_results(tmp_path: Path, content: str | None, expected) -> None:
    if content:
        (tmp_path / "results.json").write_text(content)
    label_range = runpy.run_path(str(ROOT / "scripts" / "demo.py"))["label_range"]
    assert label_range(SimpleNamespace(folder=tmp_path)) == expected


# The page. An audit hook in the server records every connection and name lookup.

AUDIT = """
import os, sys
def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["AUDIT_LOG"], "a") as file:
            print(event, arguments[1] if event == "socket.connect" else arguments[0], file=file)
sys.addaudithook(record)
"""


@pytest.fixture(scope="module")
def gradio() -> None:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install -e '.[demo]'")


@pytest.fixture(scope="module")
def chromium(gradio: None) -> tuple[str, str]:
    """The paths of the browser and its driver."""
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("selenium is not installed: pip install -e '.[test]'")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("Chromium or its driver is not installed: apt-get install chromium chromium-driver")
    return browser, driver


@contextmanager
def running_demo(model: Path, folder: Path) -> Iterator[str]:
    """The address of a running demo. At the end it must stop on Ctrl-C and have connected to nothing but itself."""
    (folder / "sitecustomize.py").write_text(AUDIT)
    log, errors = folder / "log", folder / "stderr"
    environment = {**os.environ, "PYTHONPATH": python_path(folder), "AUDIT_LOG": str(log), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--model", str(model), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": errors.open("w"), "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as demo:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+", demo.stdout.readline())[0]
        finally:
            demo.send_signal(signal.SIGINT)
            status = demo.wait(20)
    assert status == 130
    assert "Traceback" not in errors.read_text()
    connections = log.read_text().splitlines() if log.exists() else []
    assert [line for line in connections if "127.0.0.1" not in line] == []


@pytest.fixture(scope="module")
def trained(chromium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model after a third of its training."""
    cwd = tmp_path_factory.mktemp("trained")
    words = ("train.py", "--recipe", "quickstart", "--max_steps", "120", "--output_dir", "model")
    result = run(*words, cwd=cwd)
    assert result.returncode == 0, result.stderr[-3000:]
    return cwd / "model"


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_demo(trained, tmp_path_factory.mktemp("audit")) as address:
        yield address


@pytest.fixture
def browser(chromium: tuple[str, str], tmp_path: Path):
    """Headless Chromium with a log of its requests."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium[0]
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "lang=ko"),
        *("window-size=1000,1300", f"user-data-dir={tmp_path / 'profile'}"),
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromium[1]))
    driver.get_log("performance")  # the browser's own first page
    yield driver
    driver.quit()


def requested(browser) -> set[str]:
    """The addresses that the browser has requested since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    sockets = [m["params"] for m in messages if m["method"] == "Network.webSocketCreated"]
    return {request["url"] for request in (*requests, *sockets)}


@pytest.fixture
def page(browser):
    """The page in the browser: what its elements say, and what a user does with them."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector: str) -> list:
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(condition: Callable[[], object]):
        return WebDriverWait(browser, 30).until(lambda _: condition())

    def wait_for(selector: str, text: str) -> str:
        """The text of what `selector` finds, once it contains `text`."""
        return wait(lambda: next((element.text for element in find(selector) if text in element.text), None))

    def enter(texts: dict[str, str], button: str) -> None:
        for element, text in texts.items():
            (box,) = find(f"{element} textarea")
            box.clear()
            box.send_keys(text)
        find(button)[0].click()

    def check_phone() -> None:
        """On a phone nothing widens the page past the edge. (A window cannot be so narrow.)"""
        phone = {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        wait(lambda: browser.execute_script("return innerWidth") == 360)
        for tab in (1, 0):
            find("button[role=tab]")[tab].click()
            wait(lambda: browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"))

    return SimpleNamespace(find=find, wait=wait, wait_for=wait_for, enter=enter, check_phone=check_phone)


@pytest.mark.slow
def test_the_page_in_a_browser(address: str, browser, page, tmp_path: Path) -> None:
    find, wait_for = page.find, page.wait_for
    browser.get(address)
    wait_for("#classify", "분류하기")
    assert browser.title == "한국어 텍스트 분류"
    assert browser.execute_script("return document.documentElement.lang") == "ko"

    page.enter({"#text1": ""}, "#classify")
    wait_for("#explanation .notice", "글을 입력해 주세요")

    page.enter({"#text1": "<b>연출이</b> ${정말} 지루하다"}, "#classify")
    wait_for("#explanation h3", "단어별 영향")
    assert re.fullmatch(r"부정\s+부정\s+\d\d\.\d%\s+긍정\s+\d+\.\d%", wait_for("#result", "부정").strip())
    pairs = [ruby.text.replace("−", "-").split() for ruby in find("#explanation ruby")]
    words = {word: float(number) for word, number in pairs}
    assert list(words) == ["<b>연출이</b>", "${정말}", "지루하다"]  # neither HTML nor a template
    assert max(words, key=words.get) == "지루하다"
    assert not find("#explanation .unread")
    browser.save_screenshot(str(tmp_path / "words.png"))

    page.enter({"#text1": "정말 재밌다 " * 40 + "끝"}, "#classify")
    wait_for("#explanation .notice", "가운데 64토큰만")
    assert wait_for("#explanation .unread", "재밌다").endswith("재밌다 끝")
    assert wait_for("#result .result", "긍정") == "긍정"
    browser.save_screenshot(str(tmp_path / "cut.png"))

    find("button.gallery-item")[0].click()
    page.wait(lambda: "비가 와서" in find("#text1 textarea")[0].get_property("value"))

    texts = ["음악이 최고다", "연출이 너무 지루하다", "정말 재밌다 " * 40 + "끝"]
    find("button[role=tab]")[1].click()
    page.enter({"#texts": "\n\n".join(texts)}, "#classify-all")
    wait_for("#summary", "글 3개를 분류했습니다. 길어서 뒷부분이 잘린 글은 1개입니다.")
    cells = wait_for("#table", "네").splitlines()
    assert cells[:5] == ["결과", "글", "레이블", "확률", "잘림"]
    assert (cells[5::4], cells[6::4]) == (texts, ["긍정", "부정", "긍정"])
    assert all(re.fullmatch(r"\d\d\.\d%", probability) for probability in cells[7::4])
    assert cells[8::4] == ["아니요", "아니요", "네 (83토큰 중 64)"]
    browser.save_screenshot(str(tmp_path / "table.png"))
    assert not re.search("리뷰|영화", browser.page_source)  # a model's texts need not be reviews

    page.check_phone()
    browser.save_screenshot(str(tmp_path / "phone.png"))

    urls = requested(browser)
    assert any(url.startswith(f"{address}/") for url in urls)
    # chrome: and chrome-untrusted: are the browser's own parts, sometimes logged as its window opens.
    local = (f"{address}/", f"blob:{address}/", "data:", "chrome:", "chrome-untrusted:")
    assert {url for url in urls if not url.startswith(local)} == set()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_the_page_of_several_labels(quickstart, browser, page, tmp_path: Path) -> None:
    task = MultiLabelClassification(tuple(f"주제 {number}" for number in range(12)), thresholds=(0.0, *[1.0] * 11))
    model = save_random_classifier(tmp_path / "model", quickstart[1], task=task)
    with running_demo(model, tmp_path) as address:
        browser.get(address)
        page.wait_for("#classify", "분류하기")
        page.enter({"#text1": "음악이 최고다"}, "#classify")
        page.wait_for("#explanation", "확률이 가장 높은")
        assert page.wait_for("#result .result", "주제") == "주제 0"
        assert [element.text for element in page.find("#result .chosen > span:first-child")] == ["✓ 주제 0"]
        assert len(page.find("#result .score")) in (10, 11)  # the chosen one may be behind the ten most probable
        page.find("button[role=tab]")[1].click()
        page.enter({"#texts": "하나\n둘"}, "#classify-all")
        assert page.wait_for("#table", "아니요").splitlines()[1:4] == ["글", "레이블", "잘림"]
        page.check_phone()


@pytest.mark.slow
def test_the_page_of_numbers_of_pairs(quickstart, browser, page, tmp_path: Path) -> None:
    task = Regression(("score",), ("sentence1", "sentence2"))
    model = save_random_classifier(tmp_path / "model", quickstart[1], task=task)
    (model / "results.json").write_text('{"test": {"label_range": [0, 5]}}')
    with running_demo(model, tmp_path) as address:
        browser.get(address)
        page.wait_for("#classify", "예측하기")
        assert browser.title == "한국어 텍스트 값 예측"
        page.enter({"#text1": "음악이 최고다", "#text2": ""}, "#classify")
        page.wait_for("#explanation .notice", "두 글을 모두 입력해 주세요")
        page.enter({"#text1": "음악이 최고다", "#text2": "노래가 좋다"}, "#classify")
        page.wait_for("#explanation", "‘score’ 값이 얼마나")
        assert re.fullmatch(r"−?\d+\.\d\d", page.wait_for("#result .result", "."))
        assert page.wait_for("#result .ends", "5").split() == ["0.00", "5.00"]
        assert [ruby.text.split()[0] for ruby in page.find("#explanation ruby")] == [
            "음악이",
            "최고다",
            "노래가",
            "좋다",
        ]
        page.find("button[role=tab]")[1].click()
        page.enter({"#texts": "하나 || 둘\n셋"}, "#classify-all")
        page.wait_for("#summary .notice", "2번째 줄")
        page.enter({"#texts": "하나 || 둘\n셋 || 넷"}, "#classify-all")
        page.wait_for("#summary", "글 2쌍을 예측했습니다.")
        assert page.wait_for("#table", "아니요").splitlines()[1:7] == ["글 1", "글 2", "값", "잘림", "하나", "둘"]
        page.check_phone()


# The API behind the page.


@pytest.mark.slow
def test_bad_requests_are_refused_without_a_traceback(quickstart, gradio, tmp_path: Path) -> None:
    """Of the last, an event that there is none of, gradio's answer has begun before it finds out."""
    session = {"session_hash": "x"}
    model = save_random_classifier(tmp_path / "model", quickstart[1])
    import httpx  # comes with Gradio

    with running_demo(model, tmp_path) as address, httpx.Client(timeout=20, trust_env=False) as client:
        api = f"{address}/gradio_api"
        for path, body, status in (
            ("call/nothing", {"data": ["글"]}, 404),
            ("run/nothing", {"data": ["글"]}, 404),
            ("call/v2/nothing", {"text": "글"}, 400),
            ("call/v2/classify", {"wrong": "글"}, 400),
            ("run/predict", {"data": ["글"], "fn_index": 99}, 404),
            ("queue/join", {"data": ["글"], "fn_index": -1, **session}, 404),
            ("queue/join", {"data": ["글"], "fn_index": {}, **session}, 404),
            ("queue/join", {"data": ["글"], "fn_index": "classify", **session}, 422),
            ("queue/join", {"data": [99], "fn_index": 0, **session}, 422),  # an example that there is none of
            ("call/classify", {"data": []}, 422),
            ("call/classify", {"data": ["글", "글"]}, 422),
            ("call/classify", {"data": [{"글": 1}]}, 422),
            ("call/classify", {"data": "글"}, 422),
            ("call/classify", {}, 422),
            ("call/classify", [], 422),
            ("call/classify", b"{", 422),
            ("call/classify", b"\xff", 400),
        ):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = client.post(f"{api}/{path}", content=content, headers={"Content-Type": "application/json"})
            assert (answer.status_code, "detail" in answer.json()) == (status, True), (path, body, answer.text)
        for text in ("글", None, ""):
            answer = client.post(f"{api}/call/classify", json={"data": [text]})
            assert answer.status_code == 200, answer.text
            events = client.get(f"{api}/call/classify/{answer.json()['event_id']}")
            assert "event: complete" in events.text
        assert "event: error" in client.get(f"{api}/call/classify/none").text
