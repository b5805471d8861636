"""What both kinds of classification share: weights of classes, metrics of each class, rows of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.runtime.errors import UserError
from pipeline.tasks.task import Task

MAX_CLASS_ROWS = 10  # of a table


@dataclass(frozen=True)
class Classification(Task):
    """A task of one or several labels out of `class_names`.

    Attributes:
        class_weights: how much each class counts in the loss; None: all alike. See the kinds.
        temperature: what logits are divided by before they become probabilities; 1: they are taken as they are.
    """

    means: ClassVar[tuple[str, ...]]  # the scores of `evaluate` that are not of one class

    class_weights: tuple[float, ...] | None = None
    temperature: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(f"the temperature is {self.temperature}; expected a number above 0.")
        weights = self.class_weights
        if weights is None:
            return
        if len(weights) != self.num_labels:
            raise UserError(f"there are {len(weights)} class weights for {self.num_labels} classes; expected one each.")
        for name, weight in zip(self.class_names, weights, strict=True):
            if not (math.isfinite(weight) and weight > 0):
                raise UserError(f"the class weight of {name} is {weight}; expected a number above 0.")

    @property
    def greater_is_better(self) -> Mapping[str, bool]:
        per_class = (f"f1_{name}" for name in self.class_names)
        return {"loss": False, **dict.fromkeys((*self.means, *per_class), True)}

    def compute_metrics(self, prediction: Any) -> dict[str, float]:
        numbers = self.evaluate(prediction.predictions, prediction.label_ids)
        per_class = {f"f1_{name}": row["f1"] for name, row in numbers["per_class"].items()}
        return per_class | {name: numbers[name] for name in ("loss", *self.means)}  # a class may be called "macro"

    def calibration_rows(self, numbers: dict[str, Any]) -> list[tuple[str, str]]:
        """The row of a table; none of results that an earlier version wrote."""
        calibration = numbers.get("calibration")
        return [("calibration error", f"{calibration['ece']:.4f}")] if calibration else []

    def class_rows(self, numbers: dict[str, Any], ranked_by: dict[str, Any] | None) -> list[tuple[str, str]]:
        """Rows of a table: precision and recall of a few classes, or F1 of the worst of many."""
        per_class = numbers["per_class"]
        if 2 * len(per_class) <= MAX_CLASS_ROWS:
            return [
                (f"{what} {name}", f"{row[what]:.4f}")
                for name, row in per_class.items()
                for what in ("precision", "recall")
            ]
        scores = {name: row["f1"] for name, row in (ranked_by or numbers)["per_class"].items()}
        names = sorted(scores, key=scores.__getitem__)  # worst first; stable
        rows = [(f"F1 {name}", f"{per_class[name]['f1']:.4f}") for name in names[:MAX_CLASS_ROWS]]
        if more := len(names) - len(rows):
            rows.append((f"  {more} better classes", "results.json"))
        return rows
