"""A finished run to the Hub and back, by the real scripts against a double of the Hub on loopback."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ACCELERATE, run
from hub import Hub
from huggingface_hub import DatasetCard, ModelCard
from transformers import pipeline

from pipeline.card import dataset_card, model_card
from pipeline.errors import UserError
from pipeline.hub import LARGEST_FILE, Destination, check_size

pytestmark = pytest.mark.slow

TOKEN = "hf_NobodyMayEverReadThis"
SHORT = ("train.py", "--recipe", "quickstart", "--max_steps", "30")
BELONGS = {"README.md", "config.json", "model.safetensors", "results.json", "tokenizer.json", "tokenizer_config.json"}
TEXTS = ["연기가 정말 최고다", "스토리가 지루하다", "음악은 좋은데 결말이 별로다"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    tokens = {TOKEN: {"name": "me", "role": "write"}, "hf_reader": {"name": "me", "role": "read"}}
    with Hub(tokens) as hub:
        yield hub
        assert hub.unknown == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that was not pushed."""
    cwd = tmp_path_factory.mktemp("finished")
    result = run(*SHORT, cwd=cwd)
    assert result.returncode == 0, result.stderr[-3000:]
    return cwd / "outputs" / "quickstart"


@pytest.fixture
def model_dir(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "a run", ignore=shutil.ignore_patterns("checkpoint-*"))


def push(hub: Hub, model_dir: Path, *flags: str, token: str = TOKEN, name: str = "me/reviews"):
    words = ("push_to_hub.py", "--model_dir", str(model_dir), "--hub_model_id", name, *flags)
    return run(*words, cwd=model_dir.parent, **hub.environment(token))


def client(hub: Hub, code: str, token: str = TOKEN) -> str:
    """Run code in a process whose libraries talk to the double, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hub.environment(token)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def assert_refused(result: subprocess.CompletedProcess, *expected: str) -> None:
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for words in expected:
        assert words in result.stderr
    assert "/commit/" not in result.stdout  # nothing is reported as pushed


def test_training_pushes_at_its_end(hub: Hub, tmp_path: Path) -> None:
    environment = hub.environment(TOKEN)
    result = run(
        *(*SHORT, "--push_to_hub", "--hub_model_id", "me/reviews", "--hub_private_repo"),
        cwd=tmp_path,
        launcher=ACCELERATE,
        **environment,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    commit = hub.last_commit("me/reviews")
    assert result.stdout.splitlines()[-1].split() == ["pushed", f"{hub.endpoint}/me/reviews/commit/{commit.sha}"]
    assert hub.repos["model", "me/reviews"].private
    output = tmp_path / "outputs" / "quickstart"
    files = hub.files("me/reviews")
    assert set(files) == BELONGS  # no optimizer, no pickle, no checkpoint
    assert all((output / name).read_bytes() == content for name, content in files.items())
    assert hub.uploads["model.safetensors"] == 1  # once, at the end
    # The token is nowhere but in the headers that it is for, and no path of this machine went out.
    sent = hub.received_bytes()
    assert TOKEN.encode() not in sent
    assert str(tmp_path).encode() not in sent
    assert environment["HF_HOME"].encode() not in sent
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in result.stdout + result.stderr


def test_push_again_sends_nothing_again(hub: Hub, model_dir: Path) -> None:
    first = push(hub, model_dir)
    assert first.returncode == 0, first.stderr[-3000:]
    url = first.stdout.splitlines()[-1].split()[-1]
    assert url == f"{hub.endpoint}/me/reviews/commit/{hub.last_commit('me/reviews').sha}"
    assert set(hub.files("me/reviews")) == BELONGS
    before = sum(hub.uploads.values())
    second = push(hub, model_dir)
    assert second.returncode == 0, second.stderr[-3000:]
    assert sum(hub.uploads.values()) == before
    assert second.stdout.splitlines()[-1].split()[-1] == url


def test_a_broken_upload_goes_on(hub: Hub, model_dir: Path) -> None:
    hub.drop("put", times=math.inf)
    assert_refused(push(hub, model_dir), "could not be reached", "run the same command again")
    hub.drop("put", times=2)  # two more, which the client tries again by itself
    assert push(hub, model_dir).returncode == 0
    assert set(hub.files("me/reviews")) == BELONGS
    assert hub.files("me/reviews")["model.safetensors"] == (model_dir / "model.safetensors").read_bytes()


@pytest.mark.parametrize("status", [503, 409, 412])
def test_a_failed_commit_is_retried(hub: Hub, model_dir: Path, status: int) -> None:
    hub.fail("commit", status, times=2)
    result = push(hub, model_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "trying again" in result.stderr
    assert hub.uploads["model.safetensors"] == 1  # what had arrived was not sent again


def test_a_commit_that_keeps_failing_is_not_reported_as_pushed(hub: Hub, model_dir: Path) -> None:
    hub.fail("commit", 503, times=math.inf)
    assert_refused(push(hub, model_dir), "pushing to me/reviews failed", "503")
    hub.fail("commit", 503, times=0)
    assert push(hub, model_dir).returncode == 0
    assert hub.uploads["model.safetensors"] == 1


@pytest.mark.parametrize(
    ("where", "status", "expected"),
    [
        ("commit", 403, "may not write"),
        ("commit", 409, "someone else wrote"),
        ("create", 403, "may not write"),
        ("auth", 403, "may not write"),
    ],
)
def test_refusals_are_explained(hub: Hub, model_dir: Path, where: str, status: int, expected: str) -> None:
    hub.fail(where, status, times=math.inf)
    assert_refused(push(hub, model_dir), expected, str(status))


@pytest.mark.parametrize(
    ("token", "name", "expected"),
    [
        ("", "me/reviews", "HF_TOKEN"),
        ("hf_unknown", "me/reviews", "the token is not valid"),
        ("hf_reader", "me/reviews", "may only read"),
        (TOKEN, "you/reviews", "cannot write to you"),
        (TOKEN, "me/no spaces", "cannot be a name"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_step(
    hub: Hub, tmp_path: Path, token: str, name: str, expected: str
) -> None:
    started = time.monotonic()
    result = run(*SHORT, "--push_to_hub", "--hub_model_id", name, cwd=tmp_path, **hub.environment(token))
    assert_refused(result, expected)
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert time.monotonic() - started < 60
    assert hub.repos == {}


def test_a_token_that_may_not_write_there_is_found_out_before_the_upload(hub: Hub, model_dir: Path) -> None:
    """A fine-grained one: the Hub says nothing of it until it is asked, and the repository is there already."""
    hub.add("me/reviews", {})
    hub.fail("create", 403, times=math.inf)
    hub.fail("auth", 403, times=math.inf)
    assert_refused(push(hub, model_dir), "may not write")
    assert hub.uploads == {}


@pytest.mark.parametrize("missing", ["results.json", "run.json", "model.safetensors"])
def test_nothing_is_created_for_a_folder_without_a_finished_run(hub: Hub, model_dir: Path, missing: str) -> None:
    (model_dir / missing).unlink()
    assert_refused(push(hub, model_dir), missing)
    assert hub.requests == []


def test_the_datasets_name_is_checked_before_the_model_is_sent(hub: Hub, model_dir: Path) -> None:
    assert_refused(push(hub, model_dir, "--dataset", "you/corpus"), "cannot write to you")
    assert hub.uploads == {}


def test_offline_mode_is_named(hub: Hub, model_dir: Path) -> None:
    words = ("push_to_hub.py", "--model_dir", str(model_dir), "--hub_model_id", "me/reviews")
    result = run(*words, cwd=model_dir.parent, **{**hub.environment(TOKEN), "HF_HUB_OFFLINE": "1"})
    assert_refused(result, "HF_HUB_OFFLINE is set")
    assert hub.requests == []


def test_evaluation_gives_the_same_digits_on_two_processes(finished: Path, tmp_path: Path, two_processes) -> None:
    results = json.loads((finished / "results.json").read_text())
    written = []
    for name, launcher in (("one", ()), ("two", two_processes)):
        words = ("evaluate_model.py", "--model", str(finished), "--output_dir", name)
        result = run(*words, cwd=tmp_path, launcher=launcher)
        assert result.returncode == 0, result.stderr[-3000:]
        evaluation = json.loads((tmp_path / name / "evaluation.json").read_text())
        assert [evaluation[split] for split in ("validation", "test")] == [results["validation"], results["test"]]
        written.append((tmp_path / name / "predictions.jsonl").read_text(encoding="utf-8"))
    assert written[0] == written[1]
    rows = [json.loads(line) for line in written[0].splitlines()]
    tested = [row for row in rows if row["split"] == "test"]
    right = sum(row["label"] == row["predicted"] for row in tested)
    assert (len(rows), right / len(tested)) == (1200, results["test"]["accuracy"])


def test_evaluation_in_other_numbers_is_said(finished: Path, tmp_path: Path) -> None:
    model = shutil.copytree(finished, tmp_path / "model")
    results = json.loads((model / "results.json").read_text())
    assert results["evaluated_with"].pop("mixed_precision") == "no"
    for recorded, said in (({}, False), ({"mixed_precision": "bf16"}, True)):  # runs before this was noted, and others
        told = {**results, "evaluated_with": {**results["evaluated_with"], **recorded}}
        (model / "results.json").write_text(json.dumps(told))
        result = run("evaluate_model.py", "--model", "model", cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-3000:]
        assert ("scored with mixed precision bf16, this is with no" in result.stderr) is said


def test_a_name_alone_is_the_users_own(hub: Hub, model_dir: Path) -> None:
    assert push(hub, model_dir, name="reviews").returncode == 0
    assert ("model", "me/reviews") in hub.repos


def test_a_push_that_fails_after_training_leaves_the_run_whole(hub: Hub, tmp_path: Path) -> None:
    hub.fail("commit", 403, times=math.inf)
    result = run(*SHORT, "--push_to_hub", "--hub_model_id", "me/reviews", cwd=tmp_path, **hub.environment(TOKEN))
    assert_refused(result, "The run is whole in outputs/quickstart")
    hub.fail("commit", 403, times=0)
    (command,) = re.findall(r"^ +python scripts/(push_to_hub.py .*)$", result.stderr, flags=re.MULTILINE)
    again = run(*command.split(), cwd=tmp_path, **hub.environment(TOKEN))
    assert again.returncode == 0, again.stderr[-3000:]
    assert set(hub.files("me/reviews")) == BELONGS


def test_what_is_read_back_is_what_was_pushed(hub: Hub, model_dir: Path) -> None:
    result = push(hub, model_dir, "--dataset", "--revision", "trial", "--private")
    assert result.returncode == 0, result.stderr[-3000:]
    urls = dict(line.split() for line in result.stdout.splitlines()[-2:])
    assert urls["dataset"].endswith(hub.last_commit("me/reviews-data", "dataset", "trial").sha)
    assert set(hub.files("me/reviews-data", "dataset", "trial")) == {
        *("README.md", "data/train.parquet", "data/test.parquet")
    }
    before = pipeline("text-classification", str(model_dir), device="cpu", truncation=True)(TEXTS)
    told = client(
        hub,
        f"""
import json
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard, snapshot_download
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
model = AutoModelForSequenceClassification.from_pretrained("me/reviews", revision="trial")
tokenizer = AutoTokenizer.from_pretrained("me/reviews", revision="trial")
answers = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", truncation=True)({TEXTS!r})
data = load_dataset("me/reviews-data", revision="trial")
folder = snapshot_download("me/reviews", revision="trial")
print(json.dumps({{
    "answers": answers, "longest": tokenizer.model_max_length, "folder": folder, "first": data["train"][0],
    "rows": data.num_rows, "labels": data["train"].features["label"].names, "columns": data["train"].column_names,
}}))
""",
    )
    told = json.loads(told.splitlines()[-1])
    assert told["answers"] == before
    assert told["longest"] == 64
    assert told["rows"] == {"train": 4000, "test": 1000}
    assert (told["labels"], told["columns"]) == (["부정", "긍정"], ["text", "label"])
    assert (Path(told["folder"]) / "model.safetensors").read_bytes() == (model_dir / "model.safetensors").read_bytes()


def test_the_pushed_model_is_used_by_the_scripts(hub: Hub, model_dir: Path, tmp_path: Path) -> None:
    assert push(hub, model_dir).returncode == 0
    environment = hub.environment(TOKEN)
    evaluated = run(
        *("evaluate_model.py", "--model", "me/reviews", "--output_dir", "evaluated"), cwd=tmp_path, **environment
    )
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    ours = json.loads((model_dir / "results.json").read_text())
    theirs = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())
    assert {name: theirs[name] for name in ("validation", "test")} == {
        name: ours[name] for name in ("validation", "test")
    }
    hub.down()  # from now on the cache has to do
    predicted = run("predict.py", "--model", "me/reviews", *TEXTS, cwd=tmp_path, **environment)
    assert predicted.returncode == 0, predicted.stderr[-3000:]
    assert [line.split("\t")[2] for line in predicted.stdout.splitlines()] == TEXTS


# The card.


def test_the_card_has_the_runs_values(finished: Path, tmp_path: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    model_card(finished, "me/reviews").save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "accuracy": results["test"]["accuracy"],
        "f1": results["test"]["f1_macro"],
    }
    assert card.data.language == "ko"
    assert card.data.pipeline_tag == "text-classification"
    low, high = results["test"]["accuracy_interval"]
    run_ = json.loads((finished / "run.json").read_text())
    for expected in (
        *(f"{low:.4f}-{high:.4f}", run_["corpus"]["sha256"]["train"], run_["corpus"]["sha256"]["test"]),
        *('model="me/reviews"', "| learning_rate | 0.0005 |", "| gamma | 0.9 |", "| max_steps | 30 |"),
        *("held-out training reviews", "검증 세트", f"| torch | {run_['environment']['packages']['torch']} |"),
    ):
        assert expected in card.text
    assert "{" not in card.text  # no place was left unfilled
    assert "별점" not in card.text  # nothing is claimed of a corpus that is not NSMC
    assert "처음부터 학습했습니다" in card.text
    assert str(finished) not in card.content


def test_the_card_says_so_where_the_test_set_chose(model_dir: Path) -> None:
    results = json.loads((model_dir / "results.json").read_text())
    results["checkpoint_chosen_on"] = "test"
    del results["validation"]
    (model_dir / "results.json").write_text(json.dumps(results))
    assert "not an honest estimate" in model_card(model_dir, "me/reviews").text


def test_the_card_of_the_official_corpus_names_its_faults(model_dir: Path) -> None:
    about = json.loads((model_dir / "run.json").read_text())
    about["corpus"]["official_nsmc"] = True
    about["model"] |= {"commit": "0123456789abcdef", "pretrained": True}
    about["arguments"]["model"]["model_name_or_path"] = "beomi/kcbert-base"
    (model_dir / "run.json").write_text(json.dumps(about))
    card = model_card(model_dir, "me/reviews")
    assert card.data.datasets == ["e9t/nsmc"]
    assert card.data.base_model == "beomi/kcbert-base"
    for expected in (
        "1,571",
        "CC0 1.0",
        "beomi/kcbert-base",
        "별점",
        "star ratings",
        "NSMC 데이터로 파인튜닝했습니다",
    ):
        assert expected in card.text


def test_no_card_of_an_unfinished_run(model_dir: Path) -> None:
    (model_dir / "results.json").unlink()
    with pytest.raises(UserError, match=r"no finished run.*--resume_from_checkpoint auto"):
        model_card(model_dir, "me/reviews")


def test_the_dataset_card_is_read_by_the_hub(hub: Hub, model_dir: Path) -> None:
    assert push(hub, model_dir, "--dataset", "me/corpus").returncode == 0
    card = DatasetCard(hub.files("me/corpus", "dataset")["README.md"].decode())
    assert card.data.task_categories == ["text-classification"]
    assert "4,000" in card.text
    assert "별점" not in card.text
    official = dataset_card({"official_nsmc": True, "sha256": {"test": "0" * 64}}, {"test": 50_000}, "me/corpus")
    assert official.data.license == "cc0-1.0"
    assert "별점" in official.text


def test_a_model_that_the_hub_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with torch.device("meta"):
        model = torch.nn.Linear(1, LARGEST_FILE // 8, bias=True)
    check_size(model, Destination("me/large", "model", False, "main"))
    with torch.device("meta"):
        model = torch.nn.Linear(2, LARGEST_FILE // 8, bias=True)
    check_size(model, None)
    with pytest.raises(UserError, match="50,000,000,000"):
        check_size(model, Destination("me/large", "model", False, "main"))
