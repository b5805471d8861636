"""scripts/train.py on XLA devices: the shipped command with the shipped YAML, as one replica and as eight.

One replica is torch_xla alone on its CPU client. Eight are `support/xla_replicas/`, whose README says what they prove.
They need torch_xla, which needs an older torch than the other tests: `pytest -m tpu` in an environment of its own.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import ACCELERATE, NO_DROPOUT, ROOT, run
from support.hub import Hub

pytest.importorskip("torch_xla", reason="torch_xla is not installed: see `.ci/run` for the environment it needs")

pytestmark = pytest.mark.tpu

TPU = (*ACCELERATE, "--config_file", str(ROOT / "accelerate_configs" / "tpu_8core.yaml"))
TOKEN = "hf_NobodyMayEverReadThis"
TINY = "hidden_size=16,num_attention_heads=2,intermediate_size=32"
# Compiling well is slow, and what is compiled here runs for a second.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
XLA_FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
# Five updates an epoch, the last of 14 reviews, which leave some replicas without any. Evaluated and saved within the
# first epoch, within the second and at the end. The checkpoint of the highest loss is loaded at the end: the first, so
# that the last is not taken for it.
STEPS = ("--max_steps", "9", "--eval_strategy", "steps", "--save_strategy", "steps", "--save_total_limit", "9")
STEPS += ("--eval_steps", "3", "--save_steps", "3", "--logging_steps", "3", "--greater_is_better", "true")
UPDATES_PER_EPOCH = 5
AT_REST = [(1, 2), (2, 3), (4, 5), (7, 8), (8, 9)]  # updates between which nothing is logged, evaluated or read


@dataclass
class Run:
    """A finished run, and what `support/xla_replicas/probe.py` saw of it, replica by replica."""

    output: Path
    result: subprocess.CompletedProcess
    told: list[dict[str, Any]]
    weights: list[dict[str, torch.Tensor]]  # before the best checkpoint was loaded

    def read(self, name: str) -> Any:
        return json.loads((self.output / name).read_text())

    def counts(self, what: str, replica: int = 0) -> dict[int, int]:
        """What was counted when each update was done."""
        return {counts["step"]: counts[what] for counts in self.told[replica]["steps"]}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub({TOKEN: {"name": "me", "role": "write"}}) as hub:
        yield hub
        assert hub.unknown == []


@pytest.fixture(scope="module")
def train(odd_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Run scripts/train.py by the shipped command in `layout`: how many processes of how many threads."""

    def train(layout: str, *flags: str, launcher: tuple[str, ...] = TPU, output: Path | None = None, **env: str) -> Run:
        probe = tmp_path_factory.mktemp("probe")
        output = output or tmp_path_factory.mktemp("run") / "run"
        environment = {"XLA_PROBE": str(probe), "PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": "1", "XLA_FLAGS": XLA_FLAGS}
        environment |= {"PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'xla_replicas'}:{ROOT}", "OMP_NUM_THREADS": "1"}
        if layout != "1x1":  # one replica needs no stand-in
            environment["XLA_REPLICAS"] = layout
        result = run(
            *("train.py", "--recipe", "quickstart", "--corpus_name", "nsmc_layout"),
            *("--corpus_root_dir", str(odd_corpus), "--max_length", "16", "--per_device_eval_batch_size", "4"),
            *("--learning_rate", "2e-3", "--output_dir", str(output), *flags),
            cwd=output.parent,
            launcher=launcher,
            timeout=900,  # on a machine that has other work as well
            **{**environment, **env},
        )
        replicas = range(len(list(probe.glob("*.json"))))
        return Run(
            output,
            result,
            [json.loads((probe / f"{replica}.json").read_text()) for replica in replicas],
            [load_file(probe / f"{replica}.safetensors") for replica in replicas],
        )

    return train


@pytest.fixture(scope="module")
def one_process(train) -> Run:
    """What all are compared with: torch on the CPU, one process, batches of 32, no XLA at all."""
    flags = ("--config_overrides", f"{TINY},{NO_DROPOUT}", *STEPS, "--use_cpu")
    done = train("1x1", *flags, launcher=ACCELERATE, USE_TORCH_XLA="false", PYTHONPATH=str(ROOT))
    assert done.result.returncode == 0, done.result.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def one_replica(train, hub: Hub) -> Run:
    """With dropout, pushed to the Hub."""
    push = ("--push_to_hub", "--hub_model_id", "me/one")
    return checked(train("1x1", "--config_overrides", TINY, *STEPS, *push, **hub.environment(TOKEN)), 1)


@pytest.fixture(scope="module")
def eight_replicas(train, hub: Hub) -> Run:
    """Without dropout, pushed to the Hub, with empty caches."""
    flags = ("--config_overrides", f"{TINY},{NO_DROPOUT}", *STEPS, "--push_to_hub", "--hub_model_id", "me/eight")
    return checked(train("8x1", *flags, **hub.environment(TOKEN)), 8)


@pytest.fixture(scope="module")
def four_by_two(train) -> Run:
    """Four processes of two threads, as on a v2-8 and a v3-8, all but the first disturbed before the first step."""
    flags = ("--config_overrides", f"{TINY},{NO_DROPOUT}", *STEPS)
    return checked(train("4x2", *flags, XLA_PROBE_DISTURB="1"), 8)


def checked(done: Run, replicas: int) -> Run:
    assert done.result.returncode == 0, done.result.stderr[-3000:]
    assert "Traceback" not in done.result.stderr
    assert [told["world_size"] for told in done.told] == [replicas] * replicas  # there really were so many
    assert {told["per_device_train_batch_size"] for told in done.told} == {32 // replicas}
    return done


# What a run leaves.


@pytest.mark.parametrize(("name", "repo"), [("one_replica", "me/one"), ("eight_replicas", "me/eight")])
def test_a_run_trains_evaluates_and_is_pushed(name: str, repo: str, request: pytest.FixtureRequest, hub: Hub) -> None:
    done = request.getfixturevalue(name)
    results, about = done.read("results.json"), done.read("run.json")["environment"]
    assert (about["device"], about["mixed_precision"], about["packages"]["torch_xla"]) == ("cpu", "no", "2.9.0")
    assert (results["validation"]["num_examples"], results["test"]["num_examples"]) == (8, 101)
    best = done.output / results["training"]["best_checkpoint"]
    assert best.name == "checkpoint-3"
    assert (best / "model.safetensors").read_bytes() == (done.output / "model.safetensors").read_bytes()
    assert hub.files(repo)["model.safetensors"] == (best / "model.safetensors").read_bytes()
    url = f"{hub.endpoint}/{repo}/commit/{hub.last_commit(repo).sha}"
    assert done.result.stdout.splitlines()[-1].split() == ["pushed", url]
    assert done.result.stdout.count("/commit/") == 1


def test_eight_replicas_speak_once(eight_replicas: Run) -> None:
    out, err = eight_replicas.result.stdout, eight_replicas.result.stderr
    log = (eight_replicas.output / "train.log").read_text()
    assert log.count("'eval_loss'") == 3
    assert log.count("*** Example ***") == 5
    assert log.count("training arguments:") == 1
    assert out.count("The checkpoint was chosen on") == 1
    assert err.count("says nothing of kcbert") == 1
    assert err.count("validation loss") == 1
    assert "'pin_memory' argument" not in err  # of which torch would warn on every replica
    assert len(list((eight_replicas.output / "runs").rglob("events.out.tfevents.*"))) == 1


def test_eight_replicas_build_the_dataset_once(eight_replicas: Run) -> None:
    folder = Path(eight_replicas.read("run.json")["features"]["folder"])
    assert eight_replicas.read("run.json")["features"]["num_examples"] == {"train": 150, "test": 101}
    names = {path.name for path in folder.parent.iterdir() if path.name.startswith("nsmc_layout-")}
    assert names == {folder.name, f"{folder.name}.lock"}
    begun = re.findall(r"Tokenizing (\w+): 0 examples", eight_replicas.result.stderr)
    assert begun == ["train", "test"]


# The same numbers.


def assert_same_weights(weights: list[dict[str, torch.Tensor]], expected: dict[str, torch.Tensor]) -> None:
    """All replicas bit by bit, and the expected within 1e-6: Adam makes 1e-7 of 1e-8 of rounding in a few steps."""
    for replica in weights:
        assert replica.keys() == expected.keys()
        for name, tensor in replica.items():
            assert torch.equal(tensor, weights[0][name]), name
            torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("name", ["eight_replicas", "four_by_two"])
def test_eight_replicas_of_four_are_one_process_of_32(
    name: str, one_process: Run, request: pytest.FixtureRequest
) -> None:
    done = request.getfixturevalue(name)
    last = load_file(one_process.output / "checkpoint-9" / "model.safetensors")
    first = load_file(one_process.output / "checkpoint-3" / "model.safetensors")
    assert max((last[name] - first[name]).abs().max() for name in last) > 5e-3  # far beyond 1e-6
    assert_same_weights(done.weights, last)
    expected, results = one_process.read("results.json"), done.read("results.json")
    for split, reviews in (("validation", 8), ("test", 101)):
        assert results[split]["num_examples"] == reviews
        # The logits differ by what the weights do; the loss is rounded to six places.
        assert results[split]["loss"] == pytest.approx(expected[split]["loss"], abs=3e-6)
        assert results[split]["confusion_matrix"] == expected[split]["confusion_matrix"]
    assert results["training"]["train_loss"] == pytest.approx(expected["training"]["train_loss"], abs=1e-5)
    ours, theirs = (
        [entry["learning_rate"] for entry in run.read("trainer_state.json")["log_history"] if "learning_rate" in entry]
        for run in (done, one_process)
    )
    assert ours == theirs


def test_replicas_that_do_not_average_are_found_out(train, one_process: Run) -> None:
    flags = ("--config_overrides", f"{TINY},{NO_DROPOUT}", "--max_steps", "3", "--eval_strategy", "no")
    flags += ("--save_strategy", "no", "--load_best_model_at_end", "false")
    alone = checked(train("8x1", *flags, XLA_REPLICAS_FAULT="averaging"), 8)
    expected = load_file(one_process.output / "checkpoint-3" / "model.safetensors")
    with pytest.raises(AssertionError):
        assert_same_weights(alone.weights, expected)
    for weights in alone.weights:  # nor is any of them right by itself
        with pytest.raises(AssertionError):
            assert_same_weights([weights], expected)


@pytest.mark.parametrize("name", ["eight_replicas", "four_by_two"])
def test_replicas_begin_equal_and_drop_differently(name: str, request: pytest.FixtureRequest) -> None:
    told = request.getfixturevalue(name).told
    assert len({replica["begin"] for replica in told}) == 1
    assert len({seed for replica in told for seed in replica["seeds"]}) == 8 * 9


def test_the_precision_is_the_yamls(eight_replicas: Run) -> None:
    for replica in eight_replicas.told:
        assert replica["dtypes"] == ["torch.float32"]
        assert replica["precision"] == {"XLA_USE_BF16": None, "XLA_DOWNCAST_BF16": None}
    optimizer = torch.load(eight_replicas.output / "checkpoint-9" / "optimizer.pt", weights_only=True)
    assert not optimizer["param_groups"][0]["fused"]  # which XLA has not
    moments = [state[name] for state in optimizer["state"].values() for name in ("exp_avg", "exp_avg_sq")]
    assert {tensor.dtype for tensor in moments} == {torch.float32}
    # bfloat16 has 8 bits of precision: rounded to it, these would be the same.
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in moments)


# Speed: no program is compiled again, and nothing waits for the device.


@pytest.mark.parametrize("name", ["one_replica", "eight_replicas", "four_by_two"])
def test_nothing_is_compiled_after_the_first_epoch(name: str, request: pytest.FixtureRequest) -> None:
    done = request.getfixturevalue(name)
    compiled = done.counts("compiled")
    print(f"{name}: {compiled}")
    evaluations = [counts["compiled"] for counts in done.told[0]["evaluations"]]
    assert compiled[UPDATES_PER_EPOCH + 1] == compiled[9] == evaluations[-1]


def test_an_evaluation_compiles_the_same_however_long_it_is(one_replica: Run) -> None:
    """Validation, compiled while training, has two steps of four reviews, test 26: 25 of them of one shape."""
    validation, test = (counts["compiled"] for counts in one_replica.told[0]["predictions"])
    assert validation == one_replica.counts("compiled")[9]
    assert test - validation <= 6  # for the last step, of one review, and for cutting it to that
    print(f"one_replica: {test} with the test set")


@pytest.mark.parametrize("name", ["one_replica", "eight_replicas", "four_by_two"])
def test_no_update_waits_for_the_device(name: str, request: pytest.FixtureRequest) -> None:
    """In the stand-in an update's one reduction goes over the host; without it, nothing does."""
    done = request.getfixturevalue(name)
    for replica in range(len(done.told)):
        to_host, reductions = done.counts("to_host", replica), done.counts("reductions", replica)
        threads = 2 if name == "four_by_two" else 1  # which share a process's count of transfers, not in step
        for before, after in AT_REST:
            assert reductions[after] - reductions[before] == len(done.told) // 8
            if threads == 1:
                assert to_host[after] - to_host[before] == reductions[after] - reductions[before]


# Interruptions and errors.


@pytest.mark.parametrize("name", ["one_replica", "eight_replicas"])
def test_resuming_gives_the_same_weights(name: str, train, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    straight = request.getfixturevalue(name)
    output = shutil.copytree(straight.output, tmp_path / "run")
    for path in (output / "checkpoint-6", output / "checkpoint-9"):
        shutil.rmtree(path)
    (output / "results.json").unlink()
    layout, overrides = ("1x1", TINY) if name == "one_replica" else ("8x1", f"{TINY},{NO_DROPOUT}")
    flags = ("--config_overrides", overrides, *STEPS, "--resume_from_checkpoint", "auto")
    again = checked(train(layout, *flags, output=output), len(straight.told))
    assert [counts["step"] for counts in again.told[0]["steps"]] == list(range(4, 10))
    for ours, theirs in zip(again.weights, straight.weights, strict=True):
        for tensor_name, tensor in ours.items():
            assert torch.equal(tensor, theirs[tensor_name]), tensor_name
    assert [replica["seeds"] for replica in again.told] == [replica["seeds"][3:] for replica in straight.told]


@pytest.mark.parametrize(
    ("layout", "flags", "expected"),
    [
        # Every replica finds out.
        ("4x2", ("--bf16",), "error: --bf16 would round Adam's state"),
        # The first finds out, and the others wait for it, until `end_with_failed_replica` ends that.
        ("8x1", ("--overwrite_output_dir", "false"), "holds a finished run"),
    ],
)
def test_a_mistake_is_told_once(train, tmp_path: Path, layout: str, flags: tuple[str, ...], expected: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text("{}")
    failed = train(layout, *flags, output=tmp_path / "run")
    assert failed.result.returncode == 2
    assert failed.result.stderr.count("error: ") == failed.result.stderr.count(expected) == 1
    assert "Traceback" not in failed.result.stderr


def test_no_replica_waits_for_one_that_failed(train) -> None:
    failed = train("8x1", "--max_steps", "1", XLA_PROBE_FAIL="5")
    assert failed.result.returncode == 1
    assert "replica 5 fails" in failed.result.stderr
