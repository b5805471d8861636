"""Labels that are probably wrong: confident learning (Northcutt et al. 2021) on predictions made without them."""

import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import median_abs_deviation, spearmanr
from sklearn.metrics import cohen_kappa_score

from pipeline.audit.examples import Examples
from pipeline.audit.oddities import CHECKS
from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import PREDICTIONS

MAX_SUSPECTS = 1000  # of each split
MIN_KAPPA = 0.3  # agreement of predictions and labels beyond chance, below which the predictions accuse nobody
MIN_SPEARMAN = 0.5  # likewise, of numbers: by their ranks, which a few wrong ones hardly change
FAR_OFF = 4  # standard deviations of the residuals, in a regression


def describe_suspects(examples: Examples, predictions: np.ndarray) -> dict[str, Any]:
    """By split: how well predictions and labels agree, and the labels that do not fit, the least likely first.

    `agreement`: Cohen's kappa (of several labels by class; of numbers Spearman's correlation). Where it is too low,
    `suspects` is None. `num_suspects` as confident learning counts them; at most `MAX_SUSPECTS` of them in
    `suspects`. Examples without a letter are not judged.

    Args:
        predictions: [rows, num_labels], of models that have not seen the labels; NaN: there is none.
    """
    judged = np.array([_has_letters(text) for text in examples.texts]) & ~np.isnan(predictions).any(axis=1)
    found = {}
    for split in examples.splits:
        rows = np.flatnonzero(judged[examples.rows_of(split)]) + examples.rows_of(split).start
        if len(rows):
            found[split] = _of_split(examples, rows, predictions[rows])
    return found


def read_predictions(run: Path, examples: Examples) -> np.ndarray:
    """The stored predictions of a run: float64, [rows, num_labels]; NaN where there is none, as of what it trained on.

    Raises:
        UserError: the run has none, or they are of other data.
    """
    path, task = run / PREDICTIONS, examples.task
    predictions = np.full((len(examples), task.num_labels), np.nan)
    rows: dict[tuple, list[int]] = defaultdict(list)  # by split, texts and label
    for row in reversed(range(len(examples))):
        text = examples.texts[row]
        key = ((text,) if isinstance(text, str) else text, examples.label_name(row))
        rows[examples.place(row)[0], *key].append(row)
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(map(json.loads, file), start=1):
                key = (tuple(line[column] for column in task.text_columns), line["label"])
                split = line["split"] if line["split"] in examples.splits else "train"  # split off from there
                if not rows[split, *key]:
                    raise UserError(
                        f"{path}, line {number}: the data has no such example in {split}. Give the data that the model "
                        "was trained with, or leave --model out."
                    )
                row = rows[split, *key].pop()
                predictions[row] = [line["probabilities"][name] for name in task.class_names]
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing. Write it with scripts/evaluate_model.py --model {run}, or leave --model out."
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read: {error!r}. Write it again with scripts/evaluate_model.py.") from error
    return predictions


def _has_letters(text: Any) -> bool:
    texts = [text] if isinstance(text, str) else text
    return not any(CHECKS["empty"](each) or CHECKS["no_letters"](each) for each in texts)


def _of_split(examples: Examples, rows: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    kind = {
        "single_label_classification": _single_label,
        "multi_label_classification": _multi_label,
        "regression": _regression,
    }[examples.task.problem_type]
    agreement, suspects = kind(examples, rows, predictions)
    about: dict[str, Any] = {"num_judged": len(rows), "agreement": agreement, "num_suspects": None, "suspects": None}
    if suspects is not None:
        listed = sorted(suspects, key=lambda suspect: suspect["score"])
        about |= {"num_suspects": len(listed), "suspects": listed[:MAX_SUSPECTS]}
    if examples.task.problem_type == "single_label_classification":
        about["accuracy"] = float((predictions.argmax(axis=1) == examples.labels[rows]).mean())
    return about


def _single_label(examples: Examples, rows: np.ndarray, predictions: np.ndarray) -> tuple[float, list | None]:
    labels, predicted = examples.labels[rows], predictions.argmax(axis=1)
    agreement = _kappa(labels, predicted)
    if agreement < MIN_KAPPA:
        return agreement, None
    names = examples.task.class_names
    return agreement, [
        examples.describe(
            int(rows[index]),
            suggested=names[predicted[index]],
            probability=float(predictions[index, labels[index]]),
            probability_of_suggested=float(predictions[index].max()),
            score=float(predictions[index, labels[index]]),
        )
        for index in _confident_learning(labels, predictions)
    ]


def _multi_label(examples: Examples, rows: np.ndarray, predictions: np.ndarray) -> tuple[dict, list | None]:
    """Each class by itself, as present or not. A row is a suspect once for each class that does not fit."""
    agreement, suspects, any_judged = {}, [], False
    for column, name in enumerate(examples.task.class_names):
        labels, probability = (examples.labels[rows, column] > 0).astype(np.int64), predictions[:, column]
        agreement[name] = _kappa(labels, (probability > 0.5).astype(np.int64))
        if agreement[name] < MIN_KAPPA:
            continue
        any_judged = True
        for index in _confident_learning(labels, np.column_stack([1 - probability, probability])):
            fit = float(probability[index] if labels[index] else 1 - probability[index])
            change = f"− {name}" if labels[index] else f"+ {name}"
            suspects.append(
                examples.describe(
                    int(rows[index]), suggested=change, probability=fit, probability_of_suggested=1 - fit, score=fit
                )
            )
    return agreement, suspects if any_judged else None


def _regression(examples: Examples, rows: np.ndarray, predictions: np.ndarray) -> tuple[float, list | None]:
    """Numbers that are more than four standard deviations of the residuals away from the prediction.

    The standard deviation is that of a normal distribution with the residuals' median absolute deviation.
    """
    labels, predicted = examples.labels[rows].astype(np.float64), predictions[:, 0]
    constant = not (np.ptp(labels) and np.ptp(predicted))
    agreement = 0.0 if constant else float(spearmanr(labels, predicted)[0])
    if agreement < MIN_SPEARMAN:
        return agreement, None
    residuals = labels - predicted
    scale = median_abs_deviation(residuals, scale="normal") or 1.0
    distances = np.abs(residuals - np.median(residuals)) / scale
    return agreement, [
        examples.describe(int(rows[index]), suggested=f"{predicted[index]:.3g}", score=-float(distances[index]))
        for index in np.flatnonzero(distances > FAR_OFF).tolist()
    ]


def _confident_learning(labels: np.ndarray, probabilities: np.ndarray) -> Iterator[int]:
    """The indices of suspected labels: as many as confident learning estimates, off its diagonal."""
    from cleanlab.filter import find_label_issues  # of the extra `audit`

    known = np.unique(labels)  # cleanlab wants an example of every class
    chosen = probabilities[:, known]
    chosen = (chosen + 1e-12) / (chosen + 1e-12).sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with few examples, of which nobody can say much
        issues = find_label_issues(np.searchsorted(known, labels), chosen, n_jobs=1)
    return iter(np.flatnonzero(issues).tolist())


def _kappa(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Cohen's kappa; 0 where only one class occurs."""
    if len(np.unique(labels)) < 2:
        return 0.0
    return float(cohen_kappa_score(labels, predicted))
