"""The demo: which words carried a label, what was cut, and the page in a real browser with no network."""

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

import numpy as np
import pytest
from conftest import ROOT, run

from pipeline.errors import UserError
from pipeline.explain import characters_read, word_effects
from pipeline.fetch import fetch_model
from pipeline.inference import Classifier
from pipeline.model import load_tokenizer

WEIGHTS = {"재밌다": 2.0, "볼만한데": 0.5, "지루하다": -3.0}
LONGEST = 16  # tokens, two of them special


@pytest.fixture(scope="module")
def counting(quickstart) -> Classifier:
    """A classifier that adds up `WEIGHTS`, and so carries its label by words that are known."""
    tokenizer = load_tokenizer(fetch_model(str(quickstart[1]), weights=False), LONGEST)

    def compute(rows: list[dict]) -> np.ndarray:
        texts = tokenizer.batch_decode([row["input_ids"] for row in rows], skip_special_tokens=True)
        scores = [sum(weight * text.count(word) for word, weight in WEIGHTS.items()) for text in texts]
        return np.array([[0, score] for score in scores], dtype=np.float32)

    return Classifier(tokenizer, ["부정", "긍정"], LONGEST, compute)


def effects(classifier: Classifier, text: str) -> dict[str, float]:
    return {text[word.start : word.end]: word.effect for word in word_effects(classifier, text)}


def sigmoid(score: float) -> float:
    return float(1 / (1 + np.exp(-score)))


def test_the_word_that_carries_the_label(counting: Classifier) -> None:
    assert effects(counting, "영화가 정말 재밌다") == pytest.approx(
        {"영화가": 0, "정말": 0, "재밌다": sigmoid(2) - sigmoid(0)}
    )


def test_a_word_that_speaks_against_the_label(counting: Classifier) -> None:
    """The label is 부정, and without 볼만한데 it would be more so."""
    assert effects(counting, "  볼만한데\n지루하다 ") == pytest.approx(
        {"볼만한데": sigmoid(2.5) - sigmoid(3), "지루하다": sigmoid(2.5) - sigmoid(-0.5)}
    )


def test_one_word_is_compared_to_none(counting: Classifier) -> None:
    assert effects(counting, "재밌다") == pytest.approx({"재밌다": sigmoid(2) - 0.5})


@pytest.mark.parametrize("text", ["", " \n "])
def test_no_words(counting: Classifier, text: str) -> None:
    assert word_effects(counting, text) == []
    assert characters_read(counting, text) == len(text)


def test_the_words_are_left_out_in_one_batch(counting: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    logits = counting.logits
    monkeypatch.setattr(counting, "logits", lambda texts: batches.append(texts) or logits(texts))
    word_effects(counting, "영화가  정말\n재밌다")
    assert batches == [["영화가  정말\n재밌다", "정말\n재밌다", "영화가  재밌다", "영화가  정말\n"]]


def test_where_the_cut_falls(counting: Classifier) -> None:
    tokenizer = counting.tokenizer
    for text in ("영화가 너무 지루하다 " * 10, "영화가너무지루하다" * 10, "👍 ㅋㅋ\n" * 20, '"재밌다", ' * 20):
        position = characters_read(counting, text)
        (answer,) = counting.predict([text])
        assert answer.truncated
        assert 0 < position < len(text)
        kept = tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"]
        assert tokenizer(text[:position])["input_ids"] == kept
        assert len(tokenizer(text[: position + 2])["input_ids"]) >= LONGEST  # and nothing more would have fit


def test_what_just_fits_is_not_cut(counting: Classifier) -> None:
    for words in range(LONGEST - 2, LONGEST):
        text = " ".join(["영화"] * words)
        (answer,) = counting.predict([text])
        assert answer.truncated == (answer.tokens > LONGEST) == (words > LONGEST - 2)
        assert text[characters_read(counting, text) :] == (" 영화" if answer.truncated else "")


def test_what_was_cut_stays_out(counting: Classifier) -> None:
    """Else 지루하다 would come in for each word that is left out, and turn the label."""
    text = " ".join(["영화"] * (LONGEST - 3) + ["재밌다", "지루하다"])
    words = word_effects(counting, text)
    assert len(words) == LONGEST - 2
    assert [round(word.effect, 6) for word in words[:-1]] == [0] * (LONGEST - 3)
    assert words[-1].effect == pytest.approx(sigmoid(2) - 0.5)


# The script


@pytest.fixture(scope="module")
def listen() -> Callable[[str, int], socket.socket]:
    return runpy.run_path(str(ROOT / "scripts" / "demo.py"))["listen"]


def test_a_port_that_is_taken(listen) -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is taken.*--port {port + 1}, or --port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "problem"),
    [
        ("127.0.0.1", 65536, "ports go from 0 to 65535"),
        ("192.0.2.1", 0, "cannot listen on --host 192.0.2.1"),  # reserved for documentation: no machine has it
        ("not an address", 0, "cannot listen on --host not an address"),
    ],
)
def test_no_place_to_listen(listen, host: str, port: int, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        listen(host, port)


@pytest.mark.slow
def test_gradio_is_missing(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text('raise ModuleNotFoundError("No module named \'gradio\'", name="gradio")')
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    result = run("demo.py", "--model", "./model", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert "the demo needs Gradio" in result.stderr
    assert "pip install -e '.[demo]'" in result.stderr
    assert "Traceback" not in result.stderr


# The page. Whatever the server's Python connects to or looks up is written down.

WITNESS = """
import os, sys
def write(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["WITNESS"], "a") as file:
            print(event, arguments[1] if event == "socket.connect" else arguments[0], file=file)
sys.addaudithook(write)
"""


@pytest.fixture(scope="module")
def chromium() -> tuple[str, str]:
    """The browser and its driver, where the machine has all that it takes."""
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
    result = run(*words, cwd=cwd, OMP_NUM_THREADS="1")  # so small a model gains nothing from more, and waits for them
    assert result.returncode == 0, result.stderr[-3000:]
    return cwd / "model"


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running demo. When it ends, it has answered Ctrl-C and connected to nothing but itself."""
    folder = tmp_path_factory.mktemp("witness")
    (folder / "sitecustomize.py").write_text(WITNESS)
    environment = {**os.environ, "PYTHONPATH": str(folder), "WITNESS": str(folder / "witness"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--model", str(trained), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+", demo.stdout.readline())[0]
        finally:
            demo.send_signal(signal.SIGINT)
            status = demo.wait(20)
    assert status == 130
    witness = folder / "witness"
    connections = witness.read_text().splitlines() if witness.exists() else []
    assert [line for line in connections if "127.0.0.1" not in line] == []


@pytest.fixture
def browser(chromium: tuple[str, str], tmp_path: Path):
    """Headless Chromium that keeps a log of its requests."""
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
    """The addresses that the browser has asked for since the last call."""
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

    def ask(what: str, button: str, text: str) -> None:
        (box,) = find(f"{what} textarea")
        box.clear()
        box.send_keys(text)
        find(button)[0].click()

    browser.get(address)
    wait_for("#classify", "분류하기")
    assert browser.title == "한국어 리뷰 분류"
    assert browser.execute_script("return document.documentElement.lang") == "ko"

    ask("#review", "#classify", "")
    wait_for("#details .notice", "리뷰를 입력해 주세요")

    ask("#review", "#classify", "<b>연출이</b> ${정말} 지루하다")
    wait_for("#details h3", "단어별 영향")
    assert re.match(r"판정과 확률\s+부정\s+부정\s+\d\d%\s+긍정\s+\d+%", wait_for("#label", "부정"))
    pairs = [ruby.text.replace("−", "-").split() for ruby in find("#details ruby")]
    words = {word: float(number) for word, number in pairs}
    assert list(words) == ["<b>연출이</b>", "${정말}", "지루하다"]  # neither HTML nor a template: a text stays a text
    assert max(words, key=words.get) == "지루하다"
    assert not find("#details .unread")
    browser.save_screenshot(str(tmp_path / "words.png"))

    ask("#review", "#classify", "정말 재밌다 " * 40 + "끝")
    wait_for("#details .notice", "가운데 64토큰만")
    assert wait_for("#details .unread", "재밌다").endswith("재밌다 끝")
    assert wait_for("#label", "긍정").split()[2] == "긍정"
    browser.save_screenshot(str(tmp_path / "cut.png"))

    texts = ["음악이 최고다", "연출이 너무 지루하다", "정말 재밌다 " * 40 + "끝"]
    find("button[role=tab]")[1].click()
    ask("#reviews", "#classify-all", "\n\n".join(texts))
    wait_for("#summary", "리뷰 3개를 분류했습니다. 잘린 리뷰는 1개입니다.")
    cells = wait_for("#table", "네").splitlines()
    assert cells[:5] == ["결과", "리뷰", "판정", "확률", "잘림"]
    assert (cells[5::4], cells[6::4]) == (texts, ["긍정", "부정", "긍정"])
    assert all(re.fullmatch(r"\d\d\.\d%", probability) for probability in cells[7::4])
    assert cells[8::4] == ["아니요", "아니요", "네 (83토큰 중 64)"]
    browser.save_screenshot(str(tmp_path / "table.png"))
    browser.set_window_size(420, 900)  # a phone's: the table is shown without the page running over the edge
    WebDriverWait(browser, 30).until(
        lambda _: browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    )
    browser.save_screenshot(str(tmp_path / "phone.png"))

    urls = requested(browser)
    assert any(url.startswith(f"{address}/") for url in urls)
    # chrome: and chrome-untrusted: are what the browser is itself made of, at times logged as its window opens.
    local = (f"{address}/", f"blob:{address}/", "data:", "chrome:", "chrome-untrusted:")
    assert {url for url in urls if not url.startswith(local)} == set()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
