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
from pathlib import Path

import pytest
from support import ROOT, run

from pipeline.runtime.errors import UserError


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
def chromium() -> tuple[str, str]:
    """The paths of the browser and its driver."""
    for package in ("gradio", "selenium"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[demo,test]'")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("Chromium or its driver is not installed: apt-get install chromium chromium-driver")
    return browser, driver


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
    """The address of a running demo. At the end it must stop on Ctrl-C and have connected to nothing but itself."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "sitecustomize.py").write_text(AUDIT)
    log = folder / "log"
    environment = {**os.environ, "PYTHONPATH": python_path(folder), "AUDIT_LOG": str(log), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--model", str(trained), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+", demo.stdout.readline())[0]
        finally:
            demo.send_signal(signal.SIGINT)
            status = demo.wait(20)
    assert status == 130
    connections = log.read_text().splitlines() if log.exists() else []
    assert [line for line in connections if "127.0.0.1" not in line] == []


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


@pytest.mark.slow
def test_the_page_in_a_browser(address: str, browser, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector: str) -> list:
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def wait_for(selector: str, text: str) -> str:
        """The text of what `selector` finds, once it contains `text`."""
        return WebDriverWait(browser, 30).until(
            lambda _: next((element.text for element in find(selector) if text in element.text), None)
        )

    def enter(element: str, button: str, text: str) -> None:
        (box,) = find(f"{element} textarea")
        box.clear()
        box.send_keys(text)
        find(button)[0].click()

    browser.get(address)
    wait_for("#classify", "분류하기")
    assert browser.title == "한국어 텍스트 분류"
    assert browser.execute_script("return document.documentElement.lang") == "ko"

    enter("#text", "#classify", "")
    wait_for("#explanation .notice", "글을 입력해 주세요")

    enter("#text", "#classify", "<b>연출이</b> ${정말} 지루하다")
    wait_for("#explanation h3", "단어별 영향")
    assert re.match(r"분류 결과와 확률\s+부정\s+부정\s+\d\d%\s+긍정\s+\d+%", wait_for("#label", "부정"))
    pairs = [ruby.text.replace("−", "-").split() for ruby in find("#explanation ruby")]
    words = {word: float(number) for word, number in pairs}
    assert list(words) == ["<b>연출이</b>", "${정말}", "지루하다"]  # neither HTML nor a template
    assert max(words, key=words.get) == "지루하다"
    assert not find("#explanation .unread")
    browser.save_screenshot(str(tmp_path / "words.png"))

    enter("#text", "#classify", "정말 재밌다 " * 40 + "끝")
    wait_for("#explanation .notice", "가운데 64토큰만")
    assert wait_for("#explanation .unread", "재밌다").endswith("재밌다 끝")
    assert re.match(r"분류 결과와 확률\s+긍정\s", wait_for("#label", "긍정"))
    browser.save_screenshot(str(tmp_path / "cut.png"))

    texts = ["음악이 최고다", "연출이 너무 지루하다", "정말 재밌다 " * 40 + "끝"]
    find("button[role=tab]")[1].click()
    enter("#texts", "#classify-all", "\n\n".join(texts))
    wait_for("#summary", "글 3개를 분류했습니다. 길어서 뒷부분이 잘린 글은 1개입니다.")
    cells = wait_for("#table", "네").splitlines()
    assert cells[:5] == ["결과", "글", "레이블", "확률", "잘림"]
    assert (cells[5::4], cells[6::4]) == (texts, ["긍정", "부정", "긍정"])
    assert all(re.fullmatch(r"\d\d\.\d%", probability) for probability in cells[7::4])
    assert cells[8::4] == ["아니요", "아니요", "네 (83토큰 중 64)"]
    browser.save_screenshot(str(tmp_path / "table.png"))
    assert "리뷰" not in browser.page_source  # a model's texts need not be reviews

    # On a phone nothing widens the page past the edge. (A window cannot be so narrow.)
    phone = {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script("return innerWidth") == 360)
    for tab in (1, 0):
        find("button[role=tab]")[tab].click()
        WebDriverWait(browser, 30).until(
            lambda _: browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        )
    browser.save_screenshot(str(tmp_path / "phone.png"))

    urls = requested(browser)
    assert any(url.startswith(f"{address}/") for url in urls)
    # chrome: and chrome-untrusted: are the browser's own parts, sometimes logged as its window opens.
    local = (f"{address}/", f"blob:{address}/", "data:", "chrome:", "chrome-untrusted:")
    assert {url for url in urls if not url.startswith(local)} == set()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
