"""The Trainer subclass against the arithmetic it stands for: a plain loop, and itself split up in every way."""

import math
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import NO_DROPOUT, token_rows, train_small
from safetensors.torch import load_file
from transformers import AutoTokenizer, set_seed

from pipeline.arguments import TrainingArguments
from pipeline.batching import EpochOrder, make_collator
from pipeline.corpus import LABELS
from pipeline.fetch import fetch_model
from pipeline.metrics import report, scalars
from pipeline.model import load_model
from pipeline.schedule import EpochwiseExponentialLR
from pipeline.trainer import Trainer


@pytest.fixture
def rows(toy_corpus: Path, quickstart):
    """Features of 150 + 50 toy reviews: five updates of 32 an epoch, the last of them of 22."""
    return token_rows(toy_corpus, quickstart[1])


def small_model(quickstart, seed: int = 7) -> torch.nn.Module:
    set_seed(seed)
    return load_model(fetch_model(str(quickstart[1]), weights=False), LABELS, NO_DROPOUT)


@pytest.fixture
def make(rows, quickstart, tmp_path: Path):
    """A Trainer of a small model without dropout on the toy rows."""

    def make(batching: str = "packed", **options: object) -> Trainer:
        model, tokenizer = small_model(quickstart), AutoTokenizer.from_pretrained(quickstart[1])
        given = {"output_dir": str(tmp_path / "run"), "logging_steps": 1, "report_to": "none", "learning_rate": 5e-4}
        given |= {"disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        args = TrainingArguments(**{**given, **options})
        return Trainer(
            model=model,
            args=args,
            train_dataset=rows["train"],
            eval_dataset=rows["test"],
            data_collator=make_collator(batching, model, tokenizer, 32, args),
            compute_metrics=partial(scalars, labels=LABELS),
        )

    return make


def logged(trainer: Trainer, what: str) -> list[float]:
    return [entry[what] for entry in trainer.state.log_history if what in entry]


def train(trainer: Trainer, **options: object) -> Trainer:
    trainer.train(**options)
    return trainer


def plain_loop(model: torch.nn.Module, rows, updates: int) -> list[float]:
    """The book's training, by hand: pad to the maximum, Adam, the learning rate times 0.9 after every epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    data, losses, epoch = rows[:], [], 0
    model.train()
    while len(losses) < updates:
        order = EpochOrder(len(rows), 32, seed=7)
        order.set_epoch(epoch)
        indices = [index for index in order if index < len(rows)]
        for start in range(0, len(indices), 32):
            batch = indices[start : start + 32]
            ids = torch.zeros(len(batch), 128, dtype=torch.long)
            mask = torch.zeros(len(batch), 128, dtype=torch.long)
            for place, index in enumerate(batch):
                tokens = torch.tensor(data["input_ids"][index])
                ids[place, : len(tokens)] = tokens
                mask[place, : len(tokens)] = 1
            labels = torch.tensor([data["label"][index] for index in batch])
            loss = F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        decay.step()
        epoch += 1
    return losses[:updates]


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_thirty_steps_are_those_of_a_plain_loop(make, rows, quickstart, batching: str) -> None:
    expected = plain_loop(small_model(quickstart), rows["train"], 30)
    trainer = train(make(batching, max_steps=30))
    # Rounding grows from step to step through Adam's division by a small root; 1e-4 is far above it and far below the
    # 0.03 by which a wrong last batch, schedule or scale differs.
    assert logged(trainer, "loss") == pytest.approx(expected, abs=1e-4)
    assert min(expected) < expected[0] - 0.2  # it learned: agreeing on a constant would prove nothing
    rates = [5e-4 * 0.9 ** (step // 5) for step in range(30)]
    assert logged(trainer, "learning_rate") == pytest.approx(rates, rel=1e-9)


def test_a_compiled_model_trains_and_is_scored_alike(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers sets it, for all that follows
    plain = train(make(max_steps=10))
    compiled = train(make(max_steps=10, torch_compile=True, torch_compile_backend="aot_eager"))
    assert compiled.data_collator.multiple  # its batches are those for programs
    assert logged(compiled, "loss") == pytest.approx(logged(plain, "loss"), abs=1e-5)
    assert compiled.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-5)


@pytest.mark.parametrize(("per_device", "accumulation"), [(16, 2), (8, 4), (2, 16)])
def test_accumulation_changes_nothing(make, per_device: int, accumulation: int) -> None:
    whole = train(make(max_steps=12))
    split = train(make(max_steps=12, per_device_train_batch_size=per_device, gradient_accumulation_steps=accumulation))
    # Update 5 and 10 are the epochs' last, of 22 reviews: with 16 x 2 a micro-batch of 16 and one of 6.
    assert logged(split, "loss") == pytest.approx(logged(whole, "loss"), abs=1e-5)
    assert logged(split, "learning_rate") == logged(whole, "learning_rate")


def test_optimizer_is_fused_adam_without_decay(make) -> None:
    optimizer = make().create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["fused"] is True
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0}
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4}


def test_other_optimizers_and_schedules_are_trainers_own(make) -> None:
    trainer = train(make(optim="adamw_torch", lr_scheduler_type="linear", max_steps=4))
    assert type(trainer.optimizer.optimizer) is torch.optim.AdamW
    assert logged(trainer, "learning_rate") == pytest.approx([5e-4, 3.75e-4, 2.5e-4, 1.25e-4])


def test_schedule_is_never_left_to_accelerate(make) -> None:
    trainer = train(make(max_steps=1))
    assert type(trainer.lr_scheduler) is EpochwiseExponentialLR  # wrapped, it would step once per process


def test_second_train_starts_anew(make) -> None:
    trainer = train(make(max_steps=7))
    first = logged(trainer, "learning_rate")
    assert logged(train(trainer), "learning_rate") == first


def test_every_parameter_moves(make) -> None:
    trainer = make(max_steps=2)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    train(trainer)
    still = [name for name, tensor in trainer.model.state_dict().items() if torch.equal(tensor, before[name])]
    assert still == []


def test_label_smoothing_is_heeded(make) -> None:
    plain, smoothed = (train(make(max_steps=1, label_smoothing_factor=factor)) for factor in (0.0, 0.5))
    assert logged(plain, "loss") != logged(smoothed, "loss")


def test_several_gpus_in_one_process_do_not_multiply_the_loss(make, rows) -> None:
    """nn.DataParallel hands the logits of all GPUs to the loss; without GPUs its arithmetic alone can be tried."""
    trainer = make("padded", max_steps=1)
    batch = trainer.data_collator(rows["train"].select(range(32)).to_list())
    expected = F.cross_entropy(trainer.model(**{**batch, "labels": None}).logits, batch["labels"]).item()
    for gpus in (0, 2):
        trainer.args._n_gpu = gpus
        assert trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=32).item() == pytest.approx(
            expected
        )


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_evaluation_counts_every_review_once(make, rows, batching: str) -> None:
    trainer = make(batching, per_device_eval_batch_size=16)  # 50 reviews: the last batch has 2
    numbers = trainer.evaluate()
    prediction = trainer.predict(rows["test"])
    assert prediction.predictions.shape == (50, 2)
    assert prediction.label_ids.tolist() == rows["test"]["label"][:]
    one_by_one = report(prediction.predictions, prediction.label_ids, LABELS)
    with torch.no_grad():
        logits = torch.cat([trainer.model(input_ids=torch.tensor([ids])).logits for ids in rows["test"]["input_ids"]])
    mean = F.cross_entropy(logits, torch.tensor(rows["test"]["label"][:])).item()
    assert one_by_one["loss"] == pytest.approx(mean, abs=1e-6)
    assert numbers["eval_loss"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("stopped_at", [3, 5, 7])
def test_resuming_gives_the_same_weights(make, tmp_path: Path, stopped_at: int) -> None:
    """Within the first epoch, at its last step, and within the second; with dropout the random state counts too."""
    options = {"max_steps": 11, "save_strategy": "steps", "save_steps": stopped_at, "save_total_limit": None}
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}

    def new(**changes: object) -> Trainer:
        trainer = make(**{**options, **changes})
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout["hidden_dropout_prob"]
        return trainer

    whole = train(new())
    weights = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}
    resumed = train(
        new(output_dir=str(tmp_path / "again")), resume_from_checkpoint=str(tmp_path / f"run/checkpoint-{stopped_at}")
    )
    assert logged(resumed, "learning_rate")[-3:] == logged(whole, "learning_rate")[-3:]
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_two_processes_resume_the_same_rows(tmp_path: Path, toy_corpus: Path, two_processes) -> None:
    """Resumed within the second epoch, two processes must go on with that epoch's rows."""
    flags = [
        "--max_steps",
        "12",
        "--eval_strategy",
        "steps",
        "--save_strategy",
        "steps",
        "--save_steps",
        "7",
        "--eval_steps",
        "7",
    ]
    train_small(tmp_path, two_processes, toy_corpus, "stopped", *flags, "--save_total_limit", "5")
    whole = load_file(tmp_path / "stopped" / "checkpoint-12" / "model.safetensors")
    for name in ("checkpoint-12", "results.json", "model.safetensors"):
        path = tmp_path / "stopped" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train_small(tmp_path, two_processes, toy_corpus, "stopped", *flags, "--resume_from_checkpoint", "auto")
    again = load_file(tmp_path / "stopped" / "checkpoint-12" / "model.safetensors")
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_norm_of_gradients_is_computed_where_it_is_logged(make, monkeypatch: pytest.MonkeyPatch) -> None:
    every = train(make(max_steps=12, logging_steps=1))
    trainer, computed = make(max_steps=12, logging_steps=5), []
    clip = trainer.accelerator.clip_grad_norm_
    monkeypatch.setattr(
        trainer.accelerator, "clip_grad_norm_", lambda *args: computed.append(trainer.state.global_step) or clip(*args)
    )
    train(trainer)
    assert computed == [4, 9, 11]
    norms = logged(every, "grad_norm")
    assert logged(trainer, "grad_norm") == [norms[4], norms[9], norms[11]]


def test_a_loss_that_is_not_a_number_is_shown(make) -> None:
    trainer = make(max_steps=2)
    torch.nn.init.constant_(trainer.model.classifier.weight, float("nan"))
    assert all(map(math.isnan, logged(train(trainer), "loss")))
