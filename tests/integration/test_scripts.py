"""The real scripts as a user starts them, in processes of their own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_from_disk
from support import ACCELERATE, NO_DROPOUT, SCRATCH, run
from transformers import pipeline

from pipeline.data.corpora import get_corpus

NSMC = get_corpus("nsmc")
SECRET = "hf_NobodyMayEverReadThis"
ONLINE = {"HF_HUB_OFFLINE": "0"}  # the libraries are not told that there is no network


@pytest.fixture(scope="session")
def cut_off() -> tuple[str, ...]:
    """A prefix that runs a command in a network namespace of its own, which has no way out."""
    prefix = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("this machine allows no network namespaces: the network cannot be really cut off")
    return prefix


@pytest.fixture(scope="module")
def quickstart_run(cut_off, tmp_path_factory: pytest.TempPathFactory):
    """The README's first command, with the network really cut off and an empty cache."""
    cwd = tmp_path_factory.mktemp("quickstart")
    result = run(
        *("train.py", "--recipe", "quickstart"),
        cwd=cwd,
        launcher=(*cut_off, *ACCELERATE),
        HF_TOKEN=SECRET,
        HF_DATASETS_CACHE=str(cwd / "cache"),
        **ONLINE,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return cwd, result


def test_quickstart_ends_with_a_table_and_paths(quickstart_run) -> None:
    cwd, result = quickstart_run
    output = cwd / "outputs" / "quickstart"
    results = json.loads((output / "results.json").read_text())
    last = result.stdout[result.stdout.rindex("validation           test         unseen") :]
    assert f"{results['test']['accuracy']:.4f}" in last
    paths = dict(re.findall(r"^  (\w+) +(\S+)$", last, flags=re.MULTILINE))
    assert list(paths) == "model results settings card report curves log examples features".split()
    for path in paths.values():
        assert (cwd / path).exists()
    report = (cwd / paths["report"]).read_text(encoding="utf-8")
    assert f"<td>{results['test']['accuracy']:.4f}</td>" in report
    assert 'class="carried"' in report  # words of its mistakes, by the model that was saved
    assert "Traceback" not in result.stderr
    assert "says nothing of kcbert" in result.stderr


def test_quickstart_score_is_neither_chance_nor_perfect(quickstart_run) -> None:
    results = json.loads((quickstart_run[0] / "outputs/quickstart/results.json").read_text())
    assert results["checkpoint_chosen_on"] == "validation"
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (200, 1000)
    # 4 % of the labels are wrong on purpose: no model can be right about those.
    assert 0.8 < results["test"]["accuracy"] < 0.98


def test_quickstart_leaves_what_made_it(quickstart_run) -> None:
    cwd, _ = quickstart_run
    output = cwd / "outputs" / "quickstart"
    about = json.loads((output / "run.json").read_text())
    assert about["arguments"]["data"]["corpus_name"] == "quickstart"
    assert about["arguments"]["training"]["learning_rate"] == 5e-4
    assert about["corpus"]["name"] == "quickstart"
    assert set(about["corpus"]["sha256"]) == {"train", "test"}
    assert {"torch", "transformers", "datasets", "Korpora"} <= set(about["environment"]["packages"])
    assert list((output / "runs").rglob("events.out.tfevents.*"))
    assert load_from_disk(about["features"]["folder"])["train"].num_rows == 4000
    assert (output / "train.log").read_text().count("*** Example ***") == 5  # the tutorial's, too long for a screen
    # Best and last are kept; the model at the top is the best.
    best = json.loads((output / "results.json").read_text())["training"]["best_checkpoint"]
    assert (output / best / "model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()
    assert len(list(output.glob("checkpoint-*"))) <= 2


def test_quickstart_model_is_an_ordinary_one(quickstart_run) -> None:
    classify = pipeline("text-classification", model=str(quickstart_run[0] / "outputs/quickstart"), device="cpu")
    assert [answer["label"] for answer in classify(["연기가 정말 최고다 꿀잼", "스토리가 너무 지루하다 돈아깝다"])] == [
        "긍정",
        "부정",
    ]


def test_no_secret_is_written_anywhere(quickstart_run) -> None:
    cwd, result = quickstart_run
    assert SECRET not in result.stdout + result.stderr
    assert not [path for path in cwd.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_real_run_without_network_and_caches_says_what_to_do(cut_off, tmp_path: Path) -> None:
    result = run(
        *("train.py", "--corpus_root_dir", str(tmp_path / "Korpora")),
        cwd=tmp_path,
        launcher=(*cut_off, sys.executable),
        timeout=60,
        HF_HOME=str(tmp_path / "huggingface"),
        **ONLINE,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for expected in (
        *("raw.githubusercontent.com", str(tmp_path / "Korpora" / "nsmc" / "ratings_train.txt"), "--corpus_root_dir"),
        *("beomi/kcbert-base", "--model FOLDER", "--recipe quickstart"),
    ):
        assert expected in result.stderr
    assert result.stderr.count("error: ") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--recipe", "quickstart", "--max_lenght", "64"], "unknown option --max_lenght. Did you mean max_length?"),
        (["--recipe", "quickstart", "--max_length", "500"], "--max_length 500 is more than the 128 positions"),
        (
            ["--recipe", "quickstart", "--corpus_name", "nsmc", "--corpus_root_dir", "toy"],
            "is not the official NSMC file",
        ),
        (
            ["--recipe", "quickstart", "--output_dir", "a_run", "--overwrite_output_dir", "false"],
            "holds a finished run",
        ),
        (["--recipe", "quickstart", "--cache_dir", "a_file/cache"], "--cache_dir"),
        (["--recipe", "quickstart", "--output_dir", "a_file/run"], "--output_dir a_file/run cannot be written"),
        (
            ["--recipe", "quickstart", "--config_overrides", "num_hidden_layers=abc"],
            "--config_overrides num_hidden_layers=abc does not fit",
        ),
    ],
)
def test_mistakes_show_no_traceback(tmp_path: Path, toy_corpus: Path, flags: list[str], expected: str) -> None:
    (tmp_path / "a_run").mkdir()
    (tmp_path / "a_run" / "results.json").write_text("{}")
    (tmp_path / "a_file").write_text("")
    result = run("train.py", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert expected in result.stderr.split("error: ")[1]
    assert "INFO Features" not in result.stderr  # nothing was tokenized for it
    assert "Traceback" not in result.stderr
    assert (tmp_path / "a_run" / "results.json").exists()


@pytest.mark.parametrize(("launcher", "code"), [((), 2), (ACCELERATE, 1)])
def test_a_mistake_is_no_success_and_no_preemption(tmp_path: Path, launcher: tuple[str, ...], code: int) -> None:
    """Where nobody reads along, the launcher's exit code counts, and its traceback may follow."""
    result = run("train.py", "--recipe", "quickstart", "--gamma", "0", cwd=tmp_path, launcher=launcher)
    assert result.returncode == code
    assert "\nerror: --gamma is 0.0; expected more than 0 and at most 1.\n" in result.stderr


def test_the_book_chooses_on_test_and_says_so(tmp_path: Path) -> None:
    result = run(
        *("train.py", "--recipe", "quickstart", "--validation_fraction", "0", "--max_steps", "5", "--seed", "-1"),
        *("--report_to", "none"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    results = json.loads((tmp_path / "outputs/quickstart/results.json").read_text())
    assert results["checkpoint_chosen_on"] == "test"
    assert "validation" not in results
    assert "The checkpoint was chosen on the test examples" in result.stdout
    assert "curves" not in result.stdout  # no path is named that is not there
    seed = json.loads((tmp_path / "outputs/quickstart/run.json").read_text())["arguments"]["training"]["seed"]
    assert seed >= 0
    assert f" seed={seed}," in (tmp_path / "outputs/quickstart/train.log").read_text()  # the drawn one


def test_fast_dev_run_does_one_step_of_everything(tmp_path: Path) -> None:
    result = run("train.py", "--recipe", "quickstart", "--fast_dev_run", "--full_determinism", cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    output = tmp_path / "outputs" / "quickstart-fast_dev_run"
    state = json.loads((output / "trainer_state.json").read_text())
    assert state["global_step"] == 1
    results = json.loads((output / "results.json").read_text())
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (32, 32)
    assert (output / "checkpoint-1" / "optimizer.pt").exists()
    assert (output / "model.safetensors").exists()


def test_prepare_data_prints_the_folder_last(tmp_path: Path) -> None:
    flags = ("--recipe", "quickstart", "--cache_dir", str(tmp_path / "cache"))
    for expected in ("written", "found"):
        result = run("prepare_data.py", *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-3000:]
        folder = Path(result.stdout.splitlines()[-1])
        assert folder.parent == tmp_path / "cache"
        assert load_from_disk(folder)["test"].num_rows == 1000
        assert f"Features {expected}: {folder}" in result.stderr


def test_two_layers_learn_on_the_official_corpus(tmp_path: Path, official: Path, kcbert: Path) -> None:
    result = run(
        *("train.py", "--corpus_root_dir", str(official), "--model_name_or_path", str(kcbert), "--from_scratch"),
        "--config_overrides",
        f"num_hidden_layers=2,hidden_size=128,num_attention_heads=2,intermediate_size=256,{NO_DROPOUT}",
        # Random weights need a warm-up and large batches to show anything in 20 steps: 0.69 to 0.48 at max length 128.
        *("--max_steps", "20", "--global_batch_size", "512", "--learning_rate", "3e-3"),
        *("--lr_scheduler_type", "constant_with_warmup", "--warmup_steps", "5"),
        *("--logging_steps", "1", "--output_dir", "run", "--max_length", "32"),
        *("--cache_dir", str(SCRATCH / "official"), "--per_device_eval_batch_size", "256"),
        cwd=tmp_path,
        launcher=ACCELERATE,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 0.1
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["corpus"]["name"] == "nsmc"
    assert about["corpus"]["sha256"] == {split: file.sha256 for split, file in NSMC.files.items()}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (7500, 50_000)
