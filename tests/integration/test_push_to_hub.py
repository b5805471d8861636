"""scripts/train.py --push_to_hub against the double of the Hub, and what users of the pushed model and data get."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ACCELERATE, run
from support.hub import TOKEN, Hub, assert_refused
from support.models import save_random_classifier
from transformers import pipeline

pytestmark = pytest.mark.slow

SHORT = ("train.py", "--recipe", "quickstart", "--max_steps", "30")
PUSHED = {"README.md", "config.json", "model.safetensors", "results.json", "tokenizer.json", "tokenizer_config.json"}
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


def train(hub: Hub, cwd: Path, *flags: str, name: str = "me/reviews", token: str = TOKEN, **options):
    words = (*SHORT, "--push_to_hub", "--hub_model_id", name, *flags)
    return run(*words, cwd=cwd, **hub.environment(token), **options)


def push(hub: Hub, model_dir: Path, *flags: str):
    words = ("push_to_hub.py", "--model_dir", str(model_dir), "--hub_model_id", "me/reviews", *flags)
    return run(*words, cwd=model_dir.parent, **hub.environment(TOKEN))


def client(hub: Hub, code: str):
    """Run code in a process whose libraries use the double, and return what it leaves in `result`."""
    code = f"import json\n{textwrap.dedent(code)}\nprint('\\n' + json.dumps(result))"
    environment = {**os.environ, **hub.environment(TOKEN)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_training_pushes_at_its_end(hub: Hub, tmp_path: Path) -> None:
    result = train(hub, tmp_path, "--hub_private_repo", "--hub_revision", "trial", launcher=ACCELERATE)
    assert result.returncode == 0, result.stderr[-3000:]
    commit = hub.last_commit("me/reviews", revision="trial")
    assert result.stdout.splitlines()[-1].split() == ["pushed", f"{hub.endpoint}/me/reviews/commit/{commit.sha}"]
    assert hub.repos["model", "me/reviews"].private
    output = tmp_path / "outputs" / "quickstart"
    assert set(commit.files) == PUSHED  # no optimizer, no pickle, no checkpoint
    assert all((output / name).read_bytes() == content for name, content in commit.files.items())
    assert hub.uploads["model.safetensors"] == 1  # once, at the end
    # The token is only in the headers where it belongs.
    assert TOKEN.encode() not in hub.received_bytes()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in result.stdout + result.stderr


def test_no_path_of_this_machine_is_pushed(hub: Hub, quickstart, toy_corpus: Path, tmp_path: Path) -> None:
    """Model, corpus, cache and output folder are all given by absolute paths."""
    model = save_random_classifier(tmp_path / "my-bert", quickstart[1])
    flags = ["--model_name_or_path", str(model), "--from_scratch", "false", "--max_length", "16", "--max_steps", "2"]
    flags += ["--corpus_name", "nsmc_layout", "--corpus_root_dir", str(toy_corpus), "--cache_dir", str(tmp_path / "c")]
    result = train(hub, tmp_path, *flags, "--output_dir", str(tmp_path / "my-run"))
    assert result.returncode == 0, result.stderr[-3000:]
    assert str(tmp_path).encode() not in hub.received_bytes()
    files = hub.files("me/reviews")
    assert set(files) == PUSHED
    assert b"| model_name_or_path | my-bert |" in files["README.md"]
    assert str(tmp_path) in (tmp_path / "my-run" / "run.json").read_text()  # which is not pushed
    pushed_by_hand = {name: (tmp_path / "my-run" / name).read_text() for name in ("results.json", "config.json")}
    assert not [name for name, text in pushed_by_hand.items() if str(tmp_path) in text]


def test_a_run_without_push_leaves_a_card_without_paths(finished: Path) -> None:
    text = (finished / "README.md").read_text(encoding="utf-8")
    assert "# quickstart\n" in text
    assert str(finished.parent) not in text
    assert "outputs" not in text


@pytest.mark.parametrize(
    ("token", "name", "expected"),
    [
        ("", "me/reviews", "HF_TOKEN"),
        ("hf_reader", "me/reviews", "may only read"),
        (TOKEN, "you/x", "cannot write to you"),
    ],
)
def test_a_refusal_comes_before_the_first_step_and_keeps_the_earlier_run(
    hub: Hub, model_dir: Path, token: str, name: str, expected: str
) -> None:
    before = sorted(model_dir.iterdir())
    flags = ("--output_dir", str(model_dir), "--overwrite_output_dir")
    assert_refused(train(hub, model_dir.parent, *flags, token=token, name=name), expected)
    assert sorted(model_dir.iterdir()) == before
    assert hub.repos == {}


def test_nothing_is_created_on_the_hub_if_the_folder_holds_a_finished_run(hub: Hub, model_dir: Path) -> None:
    result = train(hub, model_dir.parent, "--output_dir", str(model_dir), "--overwrite_output_dir", "false")
    assert_refused(result, "holds a finished run", "--overwrite_output_dir")
    assert hub.repos == {}


def test_a_failed_push_keeps_the_run_and_tells_the_command_that_pushes_it(hub: Hub, tmp_path: Path) -> None:
    hub.fail("commit", 403, times=math.inf)
    result = train(hub, tmp_path, "--hub_private_repo", "--output_dir", "my run")
    assert_refused(result, "The run is complete in my run.")
    hub.fail("commit", 403, times=0)
    hub.repos.clear()  # so that the command creates the repository again
    (command,) = re.findall(r"^ +python scripts/(push_to_hub\.py .*)$", result.stderr, flags=re.MULTILINE)
    again = run(*shlex.split(command), cwd=tmp_path, **hub.environment(TOKEN))
    assert again.returncode == 0, again.stderr[-3000:]
    assert set(hub.files("me/reviews")) == PUSHED
    assert hub.repos["model", "me/reviews"].private


def test_several_processes_push_once(hub: Hub, tmp_path: Path, two_processes) -> None:
    result = train(hub, tmp_path, launcher=two_processes)
    assert result.returncode == 0, result.stderr[-3000:]
    assert sum("/repos/create" in request.path for request in hub.requests) == 1
    assert sum("/commit/" in request.path for request in hub.requests) == 1


def test_users_get_what_was_pushed(hub: Hub, model_dir: Path) -> None:
    result = push(hub, model_dir, "--dataset", "--revision", "trial", "--private")
    assert result.returncode == 0, result.stderr[-3000:]
    urls = dict(line.split() for line in result.stdout.splitlines())
    commit = hub.last_commit("me/reviews-data", "dataset", "trial")
    assert urls["dataset"].endswith(commit.sha)
    assert set(commit.files) == {"README.md", "data/train.parquet", "data/test.parquet"}
    assert hub.repos["dataset", "me/reviews-data"].private
    got = client(
        hub,
        f"""
        from datasets import load_dataset
        from huggingface_hub import snapshot_download
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

        model = AutoModelForSequenceClassification.from_pretrained("me/reviews", revision="trial")
        tokenizer = AutoTokenizer.from_pretrained("me/reviews", revision="trial")
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", truncation=True)
        data = load_dataset("me/reviews-data", revision="trial")
        result = {{
            "predictions": classify({TEXTS!r}),
            "max_length": tokenizer.model_max_length,
            "folder": snapshot_download("me/reviews", revision="trial"),
            "num_rows": data.num_rows,
            "class_names": data["train"].features["label"].names,
            "columns": data["train"].column_names,
            "first": data["train"][0],
        }}
        """,
    )
    reference = pipeline("text-classification", str(model_dir), device="cpu", truncation=True)
    assert got["predictions"] == reference(TEXTS)
    assert got["max_length"] == 64
    assert got["num_rows"] == {"train": 4000, "test": 1000}
    assert (got["class_names"], got["columns"]) == (["부정", "긍정"], ["text", "label"])
    features = json.loads((model_dir / "run.json").read_text())["features"]["folder"]
    assert got["first"] == _first_example(features)
    assert Path(got["folder"], "model.safetensors").read_bytes() == (model_dir / "model.safetensors").read_bytes()


def _first_example(features: str) -> dict:
    from datasets import load_from_disk

    return load_from_disk(features)["train"].select_columns(["text", "label"])[0]


def test_the_scripts_use_a_pushed_model(hub: Hub, model_dir: Path, tmp_path: Path) -> None:
    assert push(hub, model_dir).returncode == 0
    environment = hub.environment(TOKEN)
    words = ("evaluate_model.py", "--model", "me/reviews", "--output_dir", "evaluated")
    evaluated = run(*words, cwd=tmp_path, **environment)
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    expected = json.loads((model_dir / "results.json").read_text())
    found = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())
    assert [found[split] for split in ("validation", "test")] == [expected[split] for split in ("validation", "test")]
    hub.down()  # from now on from the cache
    predicted = run("predict.py", "--model", "me/reviews", *TEXTS, cwd=tmp_path, **environment)
    assert predicted.returncode == 0, predicted.stderr[-3000:]
    assert [line.split("\t")[2] for line in predicted.stdout.splitlines()] == TEXTS
