"""The launch targets, each with the YAML that is shipped: the same numbers however a run is spread.

Only what a machine without GPUs lacks is overridden: processes meet on the CPU, over gloo; where the YAML counts GPUs
(`num_processes: gpu`) the number is given; and bf16 gives way to float32, whose rounding is small enough to compare.
Every test asserts that there really were so many processes.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from support import ACCELERATE, CONFIGS, ON_CPU, ROOT, logged_steps, probe, run, small_training
from transformers import AutoModelForSequenceClassification

UPDATES = 12
# 134 training reviews are left: 5 updates of 32 an epoch, the last of 6, and 12 updates end within the third epoch.
# Taking the checkpoint of the HIGHEST loss makes the best one another than the last, so that loading it shows.
FLAGS = (
    *("--max_steps", str(UPDATES), "--eval_strategy", "steps", "--eval_steps", "4", "--save_strategy", "steps"),
    *("--save_steps", "4", "--save_total_limit", "5", "--greater_is_better", "True", "--disable_tqdm", "True"),
)
FLOAT32 = ("--mixed_precision", "no")


def target(name: str, *flags: str) -> tuple[str, ...]:
    """The launcher with the YAML that is shipped."""
    return (*ACCELERATE, "--config_file", str(CONFIGS / f"{name}.yaml"), *flags)


def train(cwd: Path, launcher: tuple[str, ...], corpus: Path, output: str, *flags: str):
    """Train as FLAGS say, and return what the launcher printed."""
    result = run(*small_training(corpus, output), *FLAGS, *flags, cwd=cwd, launcher=launcher, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def one(odd_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process with batches of 32 leaves: the others are compared with it."""
    cwd = tmp_path_factory.mktemp("one")
    result = train(cwd, target("single_gpu", *FLOAT32), odd_corpus, "run")
    assert_said_once(result, cwd / "run")
    assert_processes(cwd / "run", 1, 32)
    assert len(logged_steps(cwd / "run")) == UPDATES
    assert best_checkpoint(cwd / "run") != f"checkpoint-{UPDATES}"
    return cwd / "run"


def assert_processes(output: Path, processes: int, per_device: int) -> None:
    about = json.loads((output / "run.json").read_text())
    assert about["environment"]["processes"] == processes
    assert about["arguments"]["training"]["per_device_train_batch_size"] == per_device


def best_checkpoint(output: Path) -> str:
    return json.loads((output / "results.json").read_text())["training"]["best_checkpoint"]


def assert_same(output: Path, reference: Path) -> None:
    """The same losses, learning rates, evaluations and weights as one process, but for rounding."""
    for what in ("loss", "learning_rate"):
        steps, expected = ([entry[what] for entry in logged_steps(folder)] for folder in (output, reference))
        # Sums in another order differ by some 1e-7; a batch divided wrongly, or a review counted twice, by 1e-3.
        assert steps == pytest.approx(expected, abs=1e-5)
    results, expected = (json.loads((folder / "results.json").read_text()) for folder in (output, reference))
    assert best_checkpoint(output) == best_checkpoint(reference)
    for split, count in (("validation", 16), ("test", 101)):
        assert results[split]["num_examples"] == expected[split]["num_examples"] == count
        assert results[split]["loss"] == pytest.approx(expected[split]["loss"], abs=1e-5)
        assert results[split]["confusion_matrix"] == expected[split]["confusion_matrix"]
    assert_same_weights(output, reference)


def assert_same_weights(output: Path, reference: Path) -> None:
    weights, expected = (load_file(folder / "model.safetensors") for folder in (output, reference))
    assert weights.keys() == expected.keys()
    moved = load_file(reference / f"checkpoint-{UPDATES}" / "model.safetensors")
    for name, tensor in expected.items():
        # Adam divides by the root of a square: where a gradient is all but 0, rounding moves a weight by up to the
        # learning rate of 5e-4. Between the best checkpoint and the last one weights move by far more.
        assert torch.allclose(weights[name], tensor, rtol=0, atol=1e-4), name
    assert max((expected[name] - moved[name]).abs().max() for name in expected) > 1e-3


def assert_said_once(result: subprocess.CompletedProcess, output: Path) -> None:
    """However many processes: one log, one table, no question and no warning of the launcher's."""
    for line in ("model are made by this project", "INFO Features ", "validation loss"):
        assert result.stderr.count(line) == 1, line
    log = (output / "train.log").read_text()
    assert log.count("training arguments:") == 1
    assert log.count("*** Example ***") == 5
    assert (log.count("{'loss'"), log.count("'eval_loss'")) == (UPDATES, 3)
    assert result.stdout.count("macro F1") == 1
    assert "were not passed to `accelerate launch`" not in result.stderr
    assert "Warning" not in result.stderr, result.stderr


def evaluate(launcher: tuple[str, ...], model: Path) -> list[dict]:
    """Score a finished model by the script for it, and return its predictions in the order that it wrote them."""
    result = run("evaluate_model.py", "--model", str(model), cwd=model.parent, launcher=launcher, **ON_CPU)
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in (model / "predictions.jsonl").read_text().splitlines()]


def assert_same_predictions(ours: list[dict], theirs: list[dict]) -> None:
    assert [line["text"] for line in ours] == [line["text"] for line in theirs]
    assert len([line for line in ours if line["split"] == "test"]) == 101
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


def files(folder: Path) -> set[str]:
    """All files, but for the names that hold a time."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"^runs/.*", "runs/", name) for name in found}


# The YAMLs themselves.


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_config_is_known_to_accelerate_and_opens_with_its_command(path: Path) -> None:
    config = load_config_from_file(str(path))  # refuses keys that it does not know, but not those of fsdp_config
    assert isinstance(config, ClusterConfig)
    for key in config.fsdp_config:
        field = key.removeprefix("fsdp_").replace("offload_params", "cpu_offload").replace("version", "fsdp_version")
        assert field in FullyShardedDataParallelPlugin.__dataclass_fields__, key
    comment = path.read_text(encoding="utf-8").split("\ncompute_environment")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert f"accelerate launch --config_file accelerate_configs/{path.name} " in comment
    assert set(yaml.safe_load(path.read_text())) >= {"distributed_type", "mixed_precision", "num_processes"}


# The same numbers everywhere.


def test_two_processes_are_one(tmp_path: Path, odd_corpus: Path, one: Path) -> None:
    result = train(tmp_path, target("cpu"), odd_corpus, "run")
    assert_processes(tmp_path / "run", 2, 16)
    assert_same(tmp_path / "run", one)
    assert_said_once(result, tmp_path / "run")
    states = {f"checkpoint-{step}/rng_state" for step in (4, 8, 12)}
    assert files(tmp_path / "run") - files(one) == {f"{state}_{rank}.pth" for state in states for rank in (0, 1)}
    assert files(one) - files(tmp_path / "run") == {f"{state}.pth" for state in states}

    assert_same_predictions(evaluate(target("cpu"), tmp_path / "run"), evaluate(target("single_gpu", *FLOAT32), one))


@pytest.mark.slow
def test_eight_processes_are_one(tmp_path: Path, odd_corpus: Path, one: Path) -> None:
    result = train(tmp_path, target("multi_gpu", "--num_processes", "8", *FLOAT32), odd_corpus, "run")
    assert_processes(tmp_path / "run", 8, 4)
    assert_same(tmp_path / "run", one)
    assert_said_once(result, tmp_path / "run")


@pytest.mark.slow
def test_accumulation_is_one(tmp_path: Path, odd_corpus: Path, one: Path) -> None:
    flags = ("--gradient_accumulation_steps", "2")
    train(tmp_path, target("single_gpu", *FLOAT32), odd_corpus, "run", *flags)
    assert_processes(tmp_path / "run", 1, 16)
    assert_same(tmp_path / "run", one)


@pytest.mark.slow
def test_every_row_is_seen_once_an_epoch_and_predicted_in_order(tmp_path: Path) -> None:
    """101 rows with a label each, so that order and number show, for each kind of model; spread, and sharded."""
    kinds = ("Bert", "Electra", "Roberta")
    found = {"one": {kind: probe.probe(kind) for kind in kinds}}
    for name, launcher in (("spread", target("cpu")), ("sharded", target("fsdp", "--num_processes", "2", *FLOAT32))):
        result = subprocess.run(
            [*launcher, probe.__file__, name, *kinds],
            **{"cwd": tmp_path, "env": {**os.environ, **ON_CPU}, "capture_output": True, "text": True, "check": False},
        )
        assert result.returncode == 0, result.stderr[-9000:]  # above the launcher's own traceback
        found[name] = json.loads((tmp_path / name).read_text())
    for kind in kinds:
        for name, about in ((name, of_kinds[kind]) for name, of_kinds in found.items()):
            assert about["processes"] == (1 if name == "one" else 2)
            assert sorted(row for seen in about["seen"] for row in seen) == sorted(2 * list(range(101)))  # two epochs
            assert about["labels"] == list(range(101))
            difference = torch.tensor(about["logits"]) - torch.tensor(found["one"][kind]["logits"])
            assert difference.abs().max() < 1e-5  # logits differ by 1e-2 from row to row
        assert found["spread"][kind]["units"] == []
        # One unit for each of the two layers, the embedding and the rest; each process has about a half of it all.
        assert sorted(found["sharded"][kind]["units"]) == sorted(
            [f"FSDP{kind}ForSequenceClassification", "FSDPEmbedding", *2 * [f"FSDP{kind}Layer"]]
        )
        assert found["sharded"][kind]["here"] / found["sharded"][kind]["all"] == pytest.approx(0.5, abs=0.02)


# FSDP.


@pytest.mark.slow
def test_sharded_is_one_and_resumes(tmp_path: Path, odd_corpus: Path, one: Path) -> None:
    launcher = target("fsdp", "--num_processes", "2", *FLOAT32)
    result = train(tmp_path, launcher, odd_corpus, "run")
    output = tmp_path / "run"
    assert_processes(output, 2, 16)
    assert (output / "checkpoint-4" / "pytorch_model_fsdp.bin").is_file()  # it was FSDP
    assert_same(output, one)
    assert_said_once(result, output)
    best = output / best_checkpoint(output)
    assert (output / "model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    _, about = AutoModelForSequenceClassification.from_pretrained(output, output_loading_info=True)
    assert not about["missing_keys"]
    assert not about["unexpected_keys"]

    straight = load_file(output / f"checkpoint-{UPDATES}" / "model.safetensors")
    final = (output / "model.safetensors").read_bytes()
    shutil.rmtree(output / f"checkpoint-{UPDATES}")
    (output / "results.json").unlink()
    result = train(tmp_path, launcher, odd_corpus, "run", "--resume_from_checkpoint", "auto")
    assert (output / "train.log").read_text().count("{'loss'") == UPDATES + 4  # and again 9 to 12
    again = load_file(output / f"checkpoint-{UPDATES}" / "model.safetensors")
    assert all(torch.equal(again[name], straight[name]) for name in straight)
    assert (output / "model.safetensors").read_bytes() == final
    assert len(evaluate(launcher, output)) == 16 + 101
    scores = (json.loads((output / name).read_text())["test"]["loss"] for name in ("evaluation.json", "results.json"))
    assert next(scores) == pytest.approx(next(scores), abs=1e-5)

    flags = ("--resume_from_checkpoint", str(output / "checkpoint-8"))
    result = run(*small_training(odd_corpus, "other"), *FLAGS, *flags, cwd=tmp_path, launcher=target("cpu"), **ON_CPU)
    assert "checkpoint-8 was written with FSDP" in result.stderr
    assert_one_message(result)


@pytest.mark.slow
def test_layers_that_are_computed_again_change_nothing(tmp_path: Path, odd_corpus: Path) -> None:
    """With dropout, whose masks have to be the same both times. FSDP's own way draws others, and is refused."""
    launcher = target("fsdp", "--num_processes", "2", *FLOAT32)
    dropout = ("--config_overrides", "hidden_dropout_prob=0.2,attention_probs_dropout_prob=0.2")
    once, again = ([*dropout], [*dropout, "--activation_checkpointing", "true"])
    for name, flags in (("once", once), ("again", again)):
        train(tmp_path, launcher, odd_corpus, name, *flags)
    losses = [[entry["loss"] for entry in logged_steps(tmp_path / name)] for name in ("once", "again")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    launcher = (*launcher, "--fsdp_activation_checkpointing", "true")
    result = run(*small_training(odd_corpus, "refused"), *FLAGS, cwd=tmp_path, launcher=launcher, **ON_CPU)
    assert "fsdp_activation_checkpointing would give wrong gradients" in result.stderr
    assert_one_message(result)


# Several nodes: two launchers that share nothing but the loopback.


def train_on_two_nodes(cwd: Path, corpus: Path, *flags: tuple[str, ...]) -> list[subprocess.CompletedProcess]:
    """Start the launcher in a folder and with a cache of its own for each node, whose extra flags are given."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank, own in enumerate(flags):
        (cwd / str(rank)).mkdir(exist_ok=True)
        meeting = ("--machine_rank", str(rank), "--main_process_ip", "127.0.0.1", "--main_process_port", port)
        script, *words = small_training(corpus, "run")
        started.append(
            subprocess.Popen(
                [*target("multi_node", *meeting, *FLOAT32), str(ROOT / "scripts" / script), *words, *FLAGS, *own],
                **{"cwd": cwd / str(rank), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
                env={**os.environ, **ON_CPU, "HF_DATASETS_CACHE": str(cwd / f"cache-{rank}")},
            )
        )
    results = []
    for process in started:
        stdout, stderr = process.communicate(timeout=280)
        results.append(subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr))
    return results


@pytest.mark.slow
def test_two_nodes_are_one_and_the_second_writes_nothing_but_its_cache(
    tmp_path: Path, odd_corpus: Path, one: Path
) -> None:
    first, second = train_on_two_nodes(tmp_path, odd_corpus, (), ())
    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-2000:] + second.stderr[-2000:]
    output = tmp_path / "0" / "run"
    assert_processes(output, 2, 16)
    assert_same(output, one)  # whose best checkpoint the second node could not load: it was sent the weights
    assert_said_once(first, output)
    assert "validation loss" not in second.stderr
    assert "macro F1" not in second.stdout
    assert list((tmp_path / "1").iterdir()) == []
    assert list((tmp_path / "cache-1").iterdir()) != []
    assert {f"checkpoint-4/rng_state_{rank}.pth" for rank in (0, 1)} <= files(output)

    # What the second node needs in order to resume is said to both; given that, it does.
    (output / "results.json").unlink()
    shutil.rmtree(output / f"checkpoint-{UPDATES}")
    resume = ("--resume_from_checkpoint", "auto")
    for result in train_on_two_nodes(tmp_path, odd_corpus, resume, resume):
        assert "checkpoint: checkpoint-8 on node 0, None on node 1" in result.stderr
        assert_one_message(result)
    final = (output / "model.safetensors").read_bytes()
    shutil.copytree(output / "checkpoint-8", tmp_path / "1" / "run" / "checkpoint-8")
    before = files(tmp_path / "1")
    first, second = train_on_two_nodes(tmp_path, odd_corpus, resume, resume)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-2000:] + second.stderr[-2000:]
    assert (output / "train.log").read_text().count("{'loss'") == UPDATES + 4  # and again 9 to 12
    assert (output / "model.safetensors").read_bytes() == final
    assert_same(output, one)
    assert files(tmp_path / "1") == before


# What goes wrong.


def assert_one_message(result: subprocess.CompletedProcess) -> None:
    """The launcher, left alone where stderr is no terminal, says in its own way that a process failed."""
    assert result.returncode == 1
    assert result.stderr.count("\nerror: ") == 1, result.stderr


@pytest.mark.parametrize(
    ("processes", "flags", "expected"),
    [
        ("3", [], "--global_batch_size 32 does not divide by 3 process(es) x 1 accumulation step(s)."),
        ("2", ["--corpus_root_dir", "nowhere"], "nowhere/nsmc"),
    ],
)
def test_a_mistake_is_told_once_and_ends_all_processes(
    tmp_path: Path, odd_corpus: Path, processes: str, flags: list[str], expected: str
) -> None:
    launcher = target("cpu", "--num_processes", processes)
    result = run(*small_training(odd_corpus, "run"), *flags, cwd=tmp_path, launcher=launcher, timeout=120, **ON_CPU)
    assert expected in result.stderr
    assert_one_message(result)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs to use")
def test_the_target_of_gpus_says_that_there_are_none(tmp_path: Path) -> None:
    result = run("train.py", "--recipe", "quickstart", cwd=tmp_path, launcher=target("multi_gpu"), timeout=120)
    assert result.returncode != 0
    assert "Cuda is not available." in result.stderr
    assert list(tmp_path.iterdir()) == []
