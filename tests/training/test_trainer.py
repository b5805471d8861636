"""The Trainer subclass against the arithmetic it stands for: a plain loop, and itself split up in every way."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, Features
from safetensors.torch import load_file
from support import NO_DROPOUT, TASK, train_small
from transformers import AutoTokenizer, set_seed

from pipeline.config.arguments import TrainingArguments
from pipeline.modeling.batching import make_collator
from pipeline.modeling.files import fetch_model
from pipeline.modeling.loading import load_model
from pipeline.runtime.errors import UserError
from pipeline.tasks import MultiLabelClassification, Regression, SingleLabelClassification, Task
from pipeline.training.schedule import EpochwiseExponentialLR
from pipeline.training.trainer import Trainer


def logged(trainer: Trainer, what: str) -> list[float]:
    return [entry[what] for entry in trainer.state.log_history if what in entry]


def shuffled(seed: int, epoch: int) -> np.ndarray:
    order = np.arange(150)
    np.random.default_rng((seed, epoch)).shuffle(order)
    return order


def plain_loop(model: torch.nn.Module, rows, updates: int) -> list[float]:
    """The book's training, by hand: pad to the maximum, Adam, the learning rate times 0.9 after every epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    data, losses, epoch = rows[:], [], 0
    model.train()
    while len(losses) < updates:
        order = shuffled(7, epoch)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32].tolist()
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


@pytest.mark.parametrize("batching", ["packed", "longest"])
def test_thirty_steps_are_those_of_a_plain_loop(train, make_model, rows, batching: str) -> None:
    expected = plain_loop(make_model(), rows["train"], 30)
    trainer = train(batching=batching, max_steps=30)
    # Rounding grows from step to step through Adam's division by a small root; 1e-4 is far above it and far below the
    # 0.03 by which a wrong last batch, schedule or scale differs.
    assert logged(trainer, "loss") == pytest.approx(expected, abs=1e-4)
    assert min(expected) < expected[0] - 0.2  # it learned: agreeing on a constant would prove nothing
    rates = [5e-4 * 0.9 ** (step // 5) for step in range(30)]
    assert logged(trainer, "learning_rate") == pytest.approx(rates, rel=1e-9)


def test_a_compiled_model_trains_and_is_scored_alike(train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers sets it for the whole process
    plain = train(max_steps=10)
    compiled = train(max_steps=10, torch_compile=True, torch_compile_backend="aot_eager")
    assert compiled.data_collator.pad_to_multiple_of  # its batches have few shapes
    assert logged(compiled, "loss") == pytest.approx(logged(plain, "loss"), abs=1e-5)
    assert compiled.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-5)


@pytest.mark.parametrize(("per_device", "accumulation"), [(16, 2), (8, 4), (2, 16)])
def test_accumulation_changes_nothing(train, per_device: int, accumulation: int) -> None:
    undivided = train(max_steps=12)
    split = train(max_steps=12, per_device_train_batch_size=per_device, gradient_accumulation_steps=accumulation)
    # Updates 5 and 10 are the epochs' last, of 22 reviews: with 16 x 2 a micro-batch of 16 and one of 6.
    assert logged(split, "loss") == pytest.approx(logged(undivided, "loss"), abs=1e-5)
    assert logged(split, "learning_rate") == logged(undivided, "learning_rate")


def test_optimizer_is_fused_adam_without_decay(make) -> None:
    optimizer = make(adam_beta1=0.7, adam_beta2=0.95, adam_epsilon=1e-6).create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["fused"] is True
    for group in optimizer.param_groups:
        assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (5e-4, 0, (0.7, 0.95), 1e-6)


def test_other_optimizers_and_schedules_are_trainers_own(train) -> None:
    trainer = train(optim="adamw_torch", lr_scheduler_type="linear", max_steps=4)
    assert type(trainer.optimizer.optimizer) is torch.optim.AdamW
    assert logged(trainer, "learning_rate") == pytest.approx([5e-4, 3.75e-4, 2.5e-4, 1.25e-4])


def test_schedule_is_never_left_to_accelerate(train) -> None:
    assert type(train(max_steps=1).lr_scheduler) is EpochwiseExponentialLR  # wrapped, it would step once per process


def test_a_second_training_starts_at_the_first_learning_rate(train) -> None:
    trainer = train(max_steps=7)
    first = logged(trainer, "learning_rate")
    trainer.train()
    assert logged(trainer, "learning_rate") == first


def test_every_parameter_moves(make) -> None:
    trainer = make(max_steps=2)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    still = [name for name, tensor in trainer.model.state_dict().items() if torch.equal(tensor, before[name])]
    assert still == []


# The order of examples.


def examples_seen(trainer: Trainer) -> list[list[tuple[int, ...]]]:
    """Train, and return the token ids of the examples in each update; fillers are left out."""
    updates, collate = [], trainer.data_collator

    def note(examples: list[dict]):
        updates.append([tuple(one["input_ids"].tolist()) for one in examples if one["label"] >= 0])
        return collate(examples)

    trainer.data_collator = note
    trainer.train()
    return updates


def by_updates(rows, order) -> list[list[tuple[int, ...]]]:
    """The token ids of one epoch's examples in this order, 32 an update."""
    ids = [tuple(rows["train"]["input_ids"][int(index)]) for index in order]
    return [ids[start : start + 32] for start in range(0, len(ids), 32)]


def test_rows_are_in_order_where_that_is_asked_for(make, rows) -> None:
    seen = examples_seen(make(num_train_epochs=2, train_sampling_strategy="sequential"))
    assert seen == 2 * by_updates(rows, range(150))


@pytest.mark.parametrize(("options", "seed"), [({}, 7), ({"seed": 8}, 8), ({"data_seed": 9}, 9)])
def test_the_order_follows_from_seed_and_epoch(make, rows, options: dict[str, int], seed: int) -> None:
    seen = examples_seen(make(num_train_epochs=2, **options))
    assert seen == by_updates(rows, shuffled(seed, 0)) + by_updates(rows, shuffled(seed, 1))


# The loss.


def test_label_smoothing(train, make_model, rows) -> None:
    """Cross-entropy against 1 - 0.4 of the label and 0.4 of a uniform distribution."""
    model, data = make_model().train(), rows["train"][:]
    losses = []
    for index in shuffled(7, 0)[:32].tolist():
        scores = model(input_ids=torch.tensor([data["input_ids"][index]])).logits.log_softmax(-1)[0]
        losses.append(-0.6 * scores[data["label"][index]].item() - 0.4 * scores.mean().item())
    (loss,) = logged(train(max_steps=1, label_smoothing_factor=0.4), "loss")
    assert loss == pytest.approx(sum(losses) / 32, abs=1e-5)
    (plain,) = logged(train(max_steps=1), "loss")
    assert abs(loss - plain) > 1e-3


def test_several_gpus_in_one_process_do_not_multiply_the_loss(make, rows) -> None:
    """nn.DataParallel hands the logits of all GPUs to the loss; without GPUs only its arithmetic can be tried."""
    trainer = make(batching="longest", max_steps=1)
    batch = trainer.data_collator(rows["train"].select(range(32)).to_list())
    expected = F.cross_entropy(trainer.model(**{**batch, "labels": None}).logits, batch["labels"]).item()
    for gpus in (0, 2):
        trainer.args._n_gpu = gpus
        assert trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=32).item() == pytest.approx(expected)


def test_a_loss_that_is_not_a_number_is_shown(make) -> None:
    trainer = make(max_steps=2)
    torch.nn.init.constant_(trainer.model.classifier.weight, float("nan"))
    trainer.train()
    assert all(map(math.isnan, logged(trainer, "loss")))


def test_the_norm_of_gradients_is_computed_where_it_is_logged(train, make, monkeypatch: pytest.MonkeyPatch) -> None:
    every = train(max_steps=12, logging_steps=1)
    trainer, computed = make(max_steps=12, logging_steps=5), []
    clip = trainer.accelerator.clip_grad_norm_
    monkeypatch.setattr(
        trainer.accelerator, "clip_grad_norm_", lambda *args: computed.append(trainer.state.global_step) or clip(*args)
    )
    trainer.train()
    assert computed == [4, 9, 11]
    norms = logged(every, "grad_norm")
    assert logged(trainer, "grad_norm") == [norms[4], norms[9], norms[11]]


# Evaluation.


@pytest.mark.parametrize("batching", ["packed", "longest"])
def test_evaluation_counts_every_example_once(make, rows, batching: str) -> None:
    trainer = make(batching=batching, per_device_eval_batch_size=16)  # 50 reviews: the last batch has 2
    numbers = trainer.evaluate()
    prediction = trainer.predict(rows["test"])
    assert prediction.predictions.shape == (50, 2)
    assert prediction.label_ids.tolist() == rows["test"]["label"][:]
    with torch.no_grad():
        logits = torch.cat([trainer.model(input_ids=torch.tensor([ids])).logits for ids in rows["test"]["input_ids"]])
    mean = F.cross_entropy(logits, torch.tensor(rows["test"]["label"][:])).item()
    assert TASK.evaluate(prediction.predictions, prediction.label_ids)["loss"] == pytest.approx(mean, abs=1e-6)
    assert numbers["eval_loss"] == pytest.approx(mean, abs=1e-6)


# Resuming.


@pytest.mark.parametrize("stopped_at", [3, 5, 7])
def test_resuming_gives_the_same_weights(train, tmp_path: Path, stopped_at: int) -> None:
    """Within the first epoch, at its last step, and within the second; with dropout the random state counts too."""
    options = {"max_steps": 11, "save_strategy": "steps", "save_steps": stopped_at, "save_total_limit": None}
    options["overrides"] = "hidden_dropout_prob=0.1,attention_probs_dropout_prob=0.1"
    straight = train(**options)
    weights = {name: tensor.clone() for name, tensor in straight.model.state_dict().items()}
    checkpoint = str(tmp_path / "run" / f"checkpoint-{stopped_at}")
    resumed = train(**options, output_dir=str(tmp_path / "again"), resume_from=checkpoint)
    assert logged(resumed, "learning_rate")[-3:] == logged(straight, "learning_rate")[-3:]
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_two_processes_resume_the_same_rows(tmp_path: Path, toy_corpus: Path, two_processes) -> None:
    """Resumed within the second epoch, two processes have to go on with that epoch's rows."""
    flags = ["--max_steps", "12", "--eval_strategy", "steps", "--save_strategy", "steps"]
    flags += ["--save_steps", "7", "--eval_steps", "7"]
    train_small(tmp_path, two_processes, toy_corpus, "stopped", *flags, "--save_total_limit", "5")
    straight = load_file(tmp_path / "stopped" / "checkpoint-12" / "model.safetensors")
    for name in ("checkpoint-12", "results.json", "model.safetensors"):
        path = tmp_path / "stopped" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train_small(tmp_path, two_processes, toy_corpus, "stopped", *flags, "--resume_from_checkpoint", "auto")
    resumed = load_file(tmp_path / "stopped" / "checkpoint-12" / "model.safetensors")
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


# Other kinds of task.

WEIGHTED = SingleLabelClassification(TASK.class_names, class_weights=(3.0, 0.5))
MULTI = MultiLabelClassification(("a", "b", "c"), class_weights=(1.0, 2.0, 0.5))
NUMBER = Regression(("score",))
LOSSES = {
    WEIGHTED: torch.nn.CrossEntropyLoss(weight=torch.tensor([3.0, 0.5]), reduction="sum"),
    MULTI: lambda logits, labels: (
        len(labels) * torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 0.5]))(logits, labels)
    ),
    NUMBER: lambda logits, labels: torch.nn.MSELoss(reduction="sum")(logits[:, 0], labels),
}
every_kind = pytest.mark.parametrize("task", LOSSES, ids=lambda task: task.problem_type)


def labelled_for(rows: Dataset, task: Task) -> Dataset:
    """The same texts with labels of another kind."""
    labels = np.array(rows["label"][:])
    others = {MULTI: np.stack([labels, 1 - labels, np.arange(len(labels)) % 3 == 0], axis=1), NUMBER: labels * 2.5 - 1}
    columns = {"input_ids": rows["input_ids"][:], "label": others.get(task, labels).tolist()}
    return Dataset.from_dict(columns, features=Features({**rows.features, "label": task.label_feature}))


@pytest.fixture
def make_for(rows, quickstart, tmp_path: Path) -> Callable[..., Trainer]:
    """A Trainer of another kind of task, with hardly any learning rate: its model stays as it is."""

    def make_for(task: Task, **options: Any) -> Trainer:
        set_seed(7)
        model = load_model(fetch_model(str(quickstart[1]), weights=False), task, NO_DROPOUT)
        given = {"output_dir": str(tmp_path / "run"), "logging_steps": 1, "report_to": "none", "learning_rate": 1e-12}
        given |= {"disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        args = TrainingArguments(**{**given, **options})
        return Trainer(
            model=model,
            task=task,
            args=args,
            train_dataset=labelled_for(rows["train"], task),
            eval_dataset=labelled_for(rows["test"], task),
            data_collator=make_collator("packed", model, AutoTokenizer.from_pretrained(quickstart[1]), 32, args),
        )

    return make_for


@every_kind
@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_loss_of_another_kind_is_the_mean_over_the_update(make_for, rows, task: Task, accumulation: int) -> None:
    """In an epoch's last update too, which has 22 examples and ten fillers."""
    trainer = make_for(
        task, max_steps=5, per_device_train_batch_size=32 // accumulation, gradient_accumulation_steps=accumulation
    )
    data = labelled_for(rows["train"], task)[:]
    with torch.no_grad():
        logits = torch.cat([trainer.model(input_ids=torch.tensor([ids])).logits for ids in data["input_ids"]])
    labels, order = torch.tensor(data["label"]), shuffled(7, 0)
    expected = [
        LOSSES[task](logits[batch], labels[batch]).item() / len(batch)
        for batch in (order[start : start + 32] for start in range(0, 150, 32))
    ]
    trainer.train()
    assert logged(trainer, "loss") == pytest.approx(expected, abs=1e-5)
    numbers = trainer.evaluate()
    assert {name.removeprefix("eval_") for name in numbers} >= task.greater_is_better.keys()


def test_examples_of_several_labels_are_counted_once_where_trainer_counts(make_for) -> None:
    counted, known = (make_for(MULTI, max_steps=5, ignore_data_skip=skip) for skip in (True, False))
    for trainer in (counted, known):
        trainer.train()
    assert logged(counted, "loss") == pytest.approx(logged(known, "loss"), abs=1e-5)


def test_label_smoothing_of_several_labels_is_refused(make_for) -> None:
    with pytest.raises(UserError, match="label_smoothing_factor is 0"):
        make_for(MULTI, label_smoothing_factor=0.1)


@pytest.mark.parametrize(("rank_zero", "lines"), [(True, 1), (False, 0)])
def test_a_model_that_learns_nothing_is_pointed_out_once(
    make_for, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, rank_zero: bool, lines: int
) -> None:
    trainer = make_for(TASK, max_steps=6, eval_strategy="steps", eval_steps=2)
    torch.nn.init.zeros_(trainer.model.classifier.weight)
    trainer.model.classifier.bias.data = torch.tensor([1.0, 0.0])
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: rank_zero)
    trainer.evaluate()
    assert "predicts only" not in caplog.text  # the caller of an evaluation outside of training says it
    trainer.train()
    assert len(logged(trainer, "eval_loss")) == 3
    found = [record.getMessage() for record in caplog.records if "predicts only 부정 for all 50" in record.getMessage()]
    assert len(found) == lines
    assert all(line.startswith("Step 2: ") for line in found)
