"""One trial: the training that scripts/train.py does with the same options, but no checkpoint and no test examples."""

import gc
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import TrainerCallback, enable_full_determinism, set_seed
from transformers.trainer_utils import SaveStrategy

from pipeline.config.arguments import DataArguments, ModelArguments, TrainingArguments
from pipeline.config.parser import check_metric, given_options, parse_arguments
from pipeline.data.splits import labels_of, model_inputs
from pipeline.modeling.batching import make_collator
from pipeline.modeling.loading import load_model
from pipeline.prepare import Prepared, Sources, fetch_sources, prepare
from pipeline.runtime.errors import UserError
from pipeline.tasks.weights import with_class_weights
from pipeline.training.progress import show_progress
from pipeline.training.trainer import Trainer

if TYPE_CHECKING:  # the latter is an extra
    from datasets import Dataset
    from optuna.trial import Trial

logger = logging.getLogger(__name__)

NO_VALIDATION = (
    "a search needs validation examples, and there are none: --validation_fraction is 0, and the data has no such "
    "split. Chosen on the test examples, settings would make the test score worthless. Use --validation_fraction 0.05."
)
DIVERGED, OUT_OF_MEMORY, PRUNED = "diverged", "out of memory", "pruned"


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        evaluations: the metric, evaluation by evaluation.
        value: by which the trial is compared; None if it was stopped.
        stopped: why it was stopped early: `PRUNED`, `DIVERGED`, `OUT_OF_MEMORY`, or what is wrong with its values.
        seconds: of training and evaluating.
    """

    evaluations: list[float] = field(default_factory=list)
    value: float | None = None
    stopped: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Data:
    """The data of trials. It holds no test example.

    Attributes:
        options: of data and model, which it was loaded for.
        splits: the rows to train on and to validate on.
    """

    options: tuple[DataArguments, ModelArguments]
    sources: Sources
    prepared: Prepared
    splits: dict[str, "Dataset"]


def load_data(
    data_args: DataArguments, model_args: ModelArguments, sources: Sources, training_args: TrainingArguments
) -> Data:
    """Tokenize the data, and select the rows.

    Args:
        sources: of these options, from `fetch_sources`.
        training_args: with `fast_dev_run`, only a batch of each split is selected.

    Raises:
        UserError: there are no validation examples, or data or model cannot be read.
    """
    prepared = prepare(data_args, sources)
    rows = prepared.select_splits(data_args, training_args.global_batch_size if training_args.fast_dev_run else None)
    if "validation" not in rows:
        raise UserError(NO_VALIDATION)
    splits = {name: model_inputs(rows[name]) for name in ("train", "validation")}
    return Data((data_args, model_args), sources, prepared, splits)


class TrialTrainer(Trainer):
    """Writes no checkpoint, where a signal stops it neither: an interrupted trial begins anew.

    Attributes:
        keeps_best: whether scripts/train.py would end with the best checkpoint, not with the last weights.
    """

    keeps_best = True

    def save_checkpoint(self) -> None:
        pass


def train_trial(trial: "Trial", words: list[str], data: Data) -> Outcome:
    """Train with these options, and report every evaluation to the trial.

    Values that do not work, a loss that is no number and memory that does not suffice end the trial alone: the data and
    the options that all trials have in common were found to work before.

    Args:
        words: the command line of scripts/train.py.
        data: as for `make_trainer`.

    Raises:
        Interrupted: a signal asked to stop.
    """
    outcome, begun = Outcome(), time.perf_counter()
    try:
        _train(trial, make_trainer(words, data), outcome)
    except UserError as error:
        outcome.stopped = str(error)
    outcome.seconds = round(time.perf_counter() - begun, 1)
    gc.collect()
    clear_device_cache()
    return outcome


def _train(trial: "Trial", trainer: "TrialTrainer", outcome: Outcome) -> None:
    trainer.add_callback(_Report(trial, outcome))
    try:
        trainer.train()
        if outcome.stopped is None and not outcome.evaluations:  # with evaluations the last weights have one
            trainer.evaluate()
    except Exception as error:
        if should_reduce_batch_size(error):
            outcome.stopped = OUT_OF_MEMORY
        elif isinstance(error, ValueError) and not _is_finite(trainer.model):
            outcome.stopped = DIVERGED  # metrics of numbers refuse to be computed
        else:
            raise
    if outcome.stopped is None:
        best = max if trainer.args.greater_is_better else min
        outcome.value = best(outcome.evaluations) if trainer.keeps_best else outcome.evaluations[-1]


def make_trainer(words: list[str], data: Data) -> TrialTrainer:
    """The Trainer that scripts/train.py makes of this command line, ready to train.

    Args:
        data: loaded before; other data is loaded if the command line asks for it.

    Raises:
        UserError: the options do not work together, or data or model cannot be read.
    """
    data_args, model_args, training_args = parse_arguments(words)
    if data.options != (data_args, model_args):
        data = load_data(data_args, model_args, fetch_sources(data_args, model_args), training_args)
    prepared, splits = data.prepared, data.splits
    check_metric(training_args, prepared.task, "greater_is_better" in given_options(words))
    if "logging_steps" not in given_options(words):
        training_args.logging_steps = training_args.default_logging_steps(len(splits["train"]))
    task = with_class_weights(prepared.task, data_args.class_weights, labels_of(splits["train"]))
    (enable_full_determinism if training_args.full_determinism else set_seed)(training_args.seed)
    model = load_model(data.sources.model_files, task, model_args.config_overrides)
    batches = (data_args.batching, model, prepared.tokenizer, data_args.max_length, training_args, data_args.long_text)
    collator = make_collator(*batches)
    keeps_best = training_args.load_best_model_at_end
    training_args.save_strategy = SaveStrategy.NO
    training_args.load_best_model_at_end = False
    trainer = TrialTrainer(
        model=model,
        task=task,
        args=training_args,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        data_collator=collator,
        processing_class=prepared.tokenizer,
    )
    trainer.keeps_best = keeps_best
    show_progress(trainer, task, "validation")
    return trainer


class _Report(TrainerCallback):
    """Reports every evaluation to the trial, and stops training where it is no number or the pruner says so.

    Evaluations are counted, since updates of trials with other batch sizes do not compare: the second is that of the
    second epoch, or after twice `--eval_steps`.
    """

    def __init__(self, trial: "Trial", outcome: Outcome) -> None:
        self.trial, self.outcome = trial, outcome

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not math.isfinite(kwargs["logs"].get("loss", 0.0)):
            self._stop(control, DIVERGED)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        value = kwargs["metrics"][f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"]
        if not math.isfinite(value):
            self._stop(control, DIVERGED)
            return
        self.outcome.evaluations.append(value)
        self.trial.report(value, len(self.outcome.evaluations))
        if state.global_step < state.max_steps and self.trial.should_prune():
            self._stop(control, PRUNED)

    def _stop(self, control: Any, reason: str) -> None:
        self.outcome.stopped = self.outcome.stopped or reason
        control.should_training_stop = True


def _is_finite(model: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(weights).all()) for weights in model.parameters())
