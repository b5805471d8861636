"""scripts/train.py --push_to_hub against the double of the Hub, and what users of the pushed model and data get."""

import csv
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
from huggingface_hub import DatasetCard, ModelCard
from support import ACCELERATE, run
from support.hub import TOKEN, Hub, assert_refused
from support.models import save_random_classifier
from transformers import pipeline

pytestmark = pytest.mark.slow

SHORT = ("train.py", "--recipe", "quickstart", "--max_steps", "30")
PUSHED = {"README.md", "config.json", "model.safetensors", "results.json", "tokenizer.json", "tokenizer_config.json"}
TINY = "num_hidden_layers=1,hidden_size=16,num_attention_heads=2,intermediate_size=32"
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


# The user's own data, of other kinds.


def write_csv(path: Path, header: list[str], rows: list[tuple]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def push_own_data(hub: Hub, cwd: Path, file: Path, *flags: str) -> tuple[ModelCard, DatasetCard, dict]:
    """Train on a file and push model and data; their cards as the Hub has them, and the scores on test."""
    words = ["train.py", "--recipe", "quickstart", "--train_file", str(file), "--config_overrides", TINY]
    words += ["--max_steps", "2", "--output_dir", "model", *flags]
    trained = run(*words, cwd=cwd)
    assert trained.returncode == 0, trained.stderr[-3000:]
    pushed = push(hub, cwd / "model", "--dataset")
    assert pushed.returncode == 0, pushed.stderr[-3000:]
    assert "The licence of" in pushed.stderr
    assert str(cwd).encode() not in hub.received_bytes()
    cards = []
    for kind, name, card in (("model", "me/reviews", ModelCard), ("dataset", "me/reviews-data", DatasetCard)):
        (cwd / f"{kind}.md").write_bytes(hub.files(name, kind)["README.md"])
        cards.append(card.load(cwd / f"{kind}.md"))
    assert not re.search("nsmc|부정|긍정|리뷰|review(?!s)", cards[0].content + cards[1].content, re.IGNORECASE)
    return (*cards, json.loads((cwd / "model" / "results.json").read_text())["test"])


def test_a_regression_and_its_data_go_up_and_come_back(hub: Hub, tmp_path: Path) -> None:
    rows = [(f"문장 {number}", number % 9 / 2) for number in range(120)]
    file = write_csv(tmp_path / "stars.csv", ["text", "별점"], rows)
    model, data, scores = push_own_data(hub, tmp_path, file, "--label_column", "별점", "--problem_type", "regression")
    assert {(each.metric_type, each.metric_value) for each in model.data.eval_results} == {
        ("pearsonr", scores["pearson"]),
        ("spearmanr", scores["spearman"]),
        ("mse", scores["loss"]),
    }
    assert model.data.metrics == ["pearsonr", "spearmanr", "mse"]
    assert "숫자 하나(`별점`)를 예측합니다" in model.text
    assert "숫자(별점)가 들어" in data.text
    got = client(
        hub,
        """
        from datasets import load_dataset
        from transformers import pipeline

        data = load_dataset("me/reviews-data")
        predict = pipeline("text-classification", model="me/reviews", device="cpu", function_to_apply="none")
        result = [str(data["train"].features), data["train"][0], predict("문장 1")]
        """,
    )
    features, first, ((prediction),) = got
    assert "'label': Value('float32')" in features
    assert first == {"text": "문장 0", "label": 0.0}
    assert prediction["label"] == "별점"
    predicted = run("predict.py", "--model", "model", "문장 1", cwd=tmp_path)
    assert float(predicted.stdout.split("\t")[0]) == pytest.approx(prediction["score"], abs=1e-3)


def test_pairs_and_their_data_go_up_and_come_back(hub: Hub, tmp_path: Path) -> None:
    names = ("entailment", "neutral", "contradiction")
    rows = [(f"전제 {number}", f"가설 {number * 7}", names[number % 3]) for number in range(120)]
    file = write_csv(tmp_path / "pairs.csv", ["premise", "hypothesis", "gold_label"], rows)
    model, data, scores = push_own_data(hub, tmp_path, file, "--class_weights", "balanced")
    assert {(each.metric_type, each.metric_value) for each in model.data.eval_results} == {
        ("accuracy", scores["accuracy"]),
        ("f1", scores["f1_macro"]),
    }
    assert model.data.get("license") is None
    assert data.data.get("license") is None
    assert "두 글(`premise`, `hypothesis`)을 함께 읽습니다" in model.text
    assert "가중치를 주었습니다(`balanced`)" in model.text
    assert "테스트 세트가 따로 없어" in model.text
    assert "| contradiction | 34 (33.3%) | 2 (33.3%) | 4 (33.3%) |" in model.text  # of 40
    got = client(
        hub,
        """
        from datasets import load_dataset
        from transformers import pipeline

        data = load_dataset("me/reviews-data")["train"]
        classify = pipeline("text-classification", model="me/reviews", device="cpu", truncation=True)
        answer = classify({"text": data[1]["premise"], "text_pair": data[1]["hypothesis"]})
        result = [data.column_names, data.features["label"].names, data[1], answer]
        """,
    )
    columns, found, second, answer = got
    assert columns == ["premise", "hypothesis", "label"]
    assert found == sorted(names)
    assert second == {"premise": "전제 1", "hypothesis": "가설 7", "label": found.index("neutral")}
    assert answer["label"] in names


def test_several_labels_and_their_data_come_back(hub: Hub, tmp_path: Path) -> None:
    rows = [
        (f"문장 {number}", "|".join(name for bit, name in enumerate("가나다") if number >> bit & 1))
        for number in range(120)
    ]
    file = write_csv(tmp_path / "topics.csv", ["text", "label"], rows)
    model, data, scores = push_own_data(hub, tmp_path, file)
    assert ("f1", scores["f1_micro"]) in {(each.metric_type, each.metric_value) for each in model.data.eval_results}
    assert "레이블마다 0 또는 1이 차례대로(가, 나, 다)" in data.text
    got = client(
        hub,
        """
        from datasets import load_dataset

        data = load_dataset("me/reviews-data")["train"]
        result = [str(data.features["label"]), data[5]]
        """,
    )
    assert "length=3" in got[0]
    assert got[1] == {"text": "문장 5", "label": [1.0, 0.0, 1.0]}


def test_the_users_own_readme_is_pushed(hub: Hub, model_dir: Path) -> None:
    (model_dir / "README.md").write_text("내 모델입니다.", encoding="utf-8")
    result = push(hub, model_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "is your own and stays; the model card is in" in result.stderr
    assert hub.files("me/reviews")["README.md"].decode() == "내 모델입니다."
    assert "MODEL_CARD.md" not in hub.files("me/reviews")
