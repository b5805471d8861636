"""A trial trains as scripts/train.py does, whatever came before it, ends alone, and leaves the test set alone."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import toy_reviews, write_corpus

from pipeline.config.parser import parse_arguments
from pipeline.prepare import fetch_sources
from pipeline.runtime.errors import UserError
from pipeline.search import trial as module
from pipeline.search.trial import DIVERGED, OUT_OF_MEMORY, PRUNED, Data, Outcome, TrialTrainer, load_data, train_trial

TINY = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64"  # dropout stays on


class Trial:
    """Stands in for Optuna's: prunes at the evaluations in `prune_at`."""

    def __init__(self, *prune_at: int) -> None:
        self.prune_at, self.reported = prune_at, {}

    def report(self, value: float, step: int) -> None:
        self.reported[step] = value

    def should_prune(self) -> bool:
        return max(self.reported) in self.prune_at


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Collecting garbage takes longer than these trainings: it is left out where no memory is looked at."""
    if "is_gone" not in request.node.name:
        monkeypatch.setattr(gc, "collect", lambda *args: 0)


@pytest.fixture
def words(toy_corpus: Path, tmp_path: Path) -> list[str]:
    return command(toy_corpus, tmp_path)


def command(corpus: Path, tmp_path: Path) -> list[str]:
    """Four epochs of five updates on 134 reviews, 16 to validate on."""
    given = ["--recipe", "quickstart", "--corpus_name", "nsmc_layout", "--corpus_root_dir", str(corpus)]
    given += ["--config_overrides", TINY, "--max_length", "32", "--validation_fraction", "0.1", "--use_cpu"]
    given += ["--num_train_epochs", "4", "--report_to", "none", "--cache_dir", str(tmp_path / "cache")]
    return [*given, "--output_dir", str(tmp_path / "trial")]


def load(words: list[str]) -> Data:
    data_args, model_args, training_args = parse_arguments(words)
    return load_data(data_args, model_args, fetch_sources(data_args, model_args), training_args)


@pytest.fixture
def train(words: list[str]) -> Callable[..., Outcome]:
    """Train a trial with more options, on data that was loaded once."""
    data = load(words)

    def train(*more: str, trial: Trial | None = None) -> Outcome:
        return train_trial(trial or Trial(), [*words, *more], data)

    return train


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.Tensor]]:
    """The step and the weights at each evaluation."""
    seen = []
    evaluate = TrialTrainer.evaluate

    def spy(trainer: TrialTrainer, *args, **kwargs):
        weights = torch.cat([weights.detach().flatten() for weights in trainer.model.parameters()])
        seen.append((trainer.state.global_step, weights.clone()))
        return evaluate(trainer, *args, **kwargs)

    monkeypatch.setattr(TrialTrainer, "evaluate", spy)
    return seen


def test_a_trial_is_the_same_whatever_was_trained_before(train, evaluated) -> None:
    """Bit for bit: optimizer, schedule, dropout, order of examples and options of the trial before are gone."""
    first = train()
    weights = [weights for _, weights in evaluated]
    other = train(
        "--learning_rate", "1e-3", "--global_batch_size", "16", "--optim", "adamw_torch", "--max_length", "16"
    )
    evaluated.clear()
    again = train()
    assert first.evaluations == again.evaluations != other.evaluations
    assert len(weights) == 4
    for expected, (_, found) in zip(weights, evaluated, strict=True):
        assert torch.equal(expected, found)


def test_options_of_the_data_are_followed(train) -> None:
    """Of Trainer's own search, `max_length` and `global_batch_size` change nothing."""
    losses = [train(*more).evaluations for more in ((), ("--max_length", "8"), ("--global_batch_size", "16"))]
    assert losses[0] != losses[1] != losses[2] != losses[0]


def test_no_test_example_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test set changes nothing, and no Trainer is given one of its examples."""
    rows, outcomes, sizes = toy_reviews(200), [], set()
    make_loader = TrialTrainer.get_eval_dataloader

    def spy(trainer: TrialTrainer, dataset=None):
        sizes.add(len(trainer.eval_dataset if dataset is None else dataset))
        return make_loader(trainer, dataset)

    monkeypatch.setattr(TrialTrainer, "get_eval_dataloader", spy)
    monkeypatch.setattr(TrialTrainer, "get_test_dataloader", None)
    for name, test in (("a", rows[150:]), ("b", [(text, 1 - label) for text, label in rows[150:180]])):
        words = command(write_corpus(tmp_path / name, rows[:150], test), tmp_path)
        data = load(words)
        assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 134, "validation": 16}
        outcomes.append(train_trial(Trial(), words, data))
    assert outcomes[0].evaluations == outcomes[1].evaluations
    assert sizes == {16}


@pytest.mark.parametrize(
    "more", [["--validation_fraction", "0"], ["--validation_fraction", "0", "--test_fraction", "0.2"]]
)
def test_without_validation_examples_there_is_no_search(words: list[str], more: list[str]) -> None:
    with pytest.raises(UserError, match="a search needs validation examples, and there are none"):
        load([*words, *more])


def test_the_best_evaluation_counts_or_the_last_weights(train, evaluated) -> None:
    bad_end = ("--learning_rate", "0.03", "--gamma", "1")
    best = train(*bad_end)
    assert best.value == min(best.evaluations) < best.evaluations[-1]
    last = train(*bad_end, "--load_best_model_at_end", "false")
    assert last.evaluations == best.evaluations
    assert last.value == last.evaluations[-1]
    assert [step for step, _ in evaluated] == [5, 10, 15, 20] * 2


def test_what_was_not_evaluated_in_training_is_evaluated_at_its_end(train, evaluated) -> None:
    no_best = ("--load_best_model_at_end", "false")
    assert train("--eval_strategy", "no", *no_best).value == train().evaluations[-1]
    assert [step for step, _ in evaluated] == [20, 5, 10, 15, 20]
    evaluated.clear()
    outcome = train("--eval_strategy", "steps", "--eval_steps", "15", *no_best)
    assert [step for step, _ in evaluated] == [15, 20]
    assert outcome.value == outcome.evaluations[-1]


def test_more_is_better_where_the_metric_says_so(train) -> None:
    outcome = train("--metric_for_best_model", "accuracy", "--learning_rate", "0.01")
    assert outcome.value == max(outcome.evaluations) > min(outcome.evaluations)
    assert all((16 * value).is_integer() for value in outcome.evaluations)


def test_a_trial_is_pruned_at_an_evaluation_but_not_at_its_last(train, evaluated) -> None:
    trial = Trial(2)
    outcome = train(trial=trial)
    assert (outcome.stopped, outcome.value) == (PRUNED, None)
    assert [step for step, _ in evaluated] == [5, 10]
    assert trial.reported == dict(enumerate(outcome.evaluations, 1))
    outcome = train(trial=Trial(4))
    assert outcome.stopped is None
    assert outcome.value == min(outcome.evaluations)


def test_a_trial_that_diverges_ends_alone(train, monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrialTrainer.training_step

    def overflow(trainer: TrialTrainer, model: torch.nn.Module, *args, **kwargs):
        loss = step(trainer, model, *args, **kwargs)
        if trainer.state.global_step == 7:
            for weights in model.parameters():
                weights.grad.fill_(float("nan"))
        return loss

    expected = train().evaluations
    monkeypatch.setattr(TrialTrainer, "training_step", overflow)
    outcome = train()
    assert (outcome.stopped, outcome.value, outcome.evaluations) == (DIVERGED, None, expected[:1])
    monkeypatch.undo()
    assert train().evaluations == expected


def test_a_regression_that_diverges_ends_alone(tmp_path: Path) -> None:
    """Its metrics refuse numbers that are none."""
    path = tmp_path / "numbers.csv"
    rows = [f"{text},{0.5 + index % 7}" for index, (text, _) in enumerate(toy_reviews(200))]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    given = ["--train_file", str(path), "--model", "quickstart", "--from_scratch", "--config_overrides", TINY]
    given += ["--report_to", "none", "--use_cpu", "--cache_dir", str(tmp_path), "--max_length", "32"]
    given += ["--num_train_epochs", "1", "--output_dir", str(tmp_path / "trial"), "--logging_steps", "1000"]
    data = load(given)
    assert data.prepared.task.problem_type == "regression"
    assert train_trial(Trial(), given, data).stopped is None
    assert train_trial(Trial(), [*given, "--learning_rate", "1e38"], data).stopped == DIVERGED


def test_a_trial_that_runs_out_of_memory_ends_alone(train, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train()

    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TrialTrainer, "training_step", run_out)
    assert train().stopped == OUT_OF_MEMORY
    monkeypatch.undo()
    assert train().evaluations == expected.evaluations


def test_an_error_of_ours_ends_the_search(train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(TrialTrainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train()


def test_values_that_do_not_work_together_end_a_trial_alone(train) -> None:
    outcome = train("--global_batch_size", "33", "--gradient_accumulation_steps", "2")
    assert "--global_batch_size 33 does not divide by" in outcome.stopped
    assert outcome.value is None


def test_nothing_is_left_but_curves(train, tmp_path: Path) -> None:
    train("--report_to", "tensorboard")
    files = [path.relative_to(tmp_path / "trial") for path in (tmp_path / "trial").rglob("*") if path.is_file()]
    assert len(files) == 1
    assert files[0].parts[0] == "runs"


def test_an_interrupted_trial_writes_no_checkpoint(train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.runtime import coordinated_stop
    from pipeline.runtime.signals import Interrupted

    monkeypatch.setattr(coordinated_stop, "received_signal", lambda: 15)
    with pytest.raises(Interrupted):
        train()
    assert not list(tmp_path.rglob("checkpoint-*"))


def test_the_data_is_loaded_once_unless_a_trial_asks_for_other(train, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(module, "load_data", lambda *args: loaded.append(args) or load_data(*args))
    train()
    train("--global_batch_size", "16")
    assert loaded == []
    train("--max_length", "16")
    assert len(loaded) == 1


def test_threads_that_would_compete_are_warned_of(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    pytest.importorskip("optuna")
    from pipeline.search import loop

    monkeypatch.setattr(loop.logger, "propagate", True)
    monkeypatch.setattr(loop.os, "sched_getaffinity", lambda process: range(4))
    monkeypatch.setattr(loop.torch.accelerator, "is_available", lambda: False)
    for threads, others, warned in ((2, 1, False), (4, 1, True), (2, 2, True), (1, 5, False)):
        monkeypatch.setattr(loop.torch, "get_num_threads", lambda threads=threads: threads)
        caplog.clear()
        with caplog.at_level("WARNING", logger="pipeline"):
            loop._warn_of_threads(others)
        assert ("OMP_NUM_THREADS=1" in caplog.text) == warned, (threads, others)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_of_a_finished_trial_is_gone(train, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """So that the next one has the memory."""
    models = []

    def load_model(*args):
        model = module_load_model(*args)
        models.append(weakref.ref(model))
        return model

    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    module_load_model = module.load_model
    monkeypatch.setattr(module, "load_model", load_model)
    if fails:
        monkeypatch.setattr(TrialTrainer, "training_step", run_out)
    assert train("--num_train_epochs", "1").stopped == (OUT_OF_MEMORY if fails else None)
    assert [reference() for reference in models] == [None]
