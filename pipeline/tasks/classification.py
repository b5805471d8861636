"""One label of several: cross-entropy, accuracy with an interval, precision, recall and F1 of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.tasks.task import Decision, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

MEANS = ("accuracy", "f1_macro", "precision_macro", "recall_macro")


class SingleLabelClassification(Task):
    """Each example has exactly one of `class_names`."""

    problem_type = "single_label_classification"

    @property
    def label_feature(self) -> Any:
        from datasets import ClassLabel

        return ClassLabel(names=list(self.class_names))

    def label_name(self, label: int) -> str:
        return self.class_names[label]

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            logits.float(), labels, reduction="sum", ignore_index=self.ignored_label, label_smoothing=label_smoothing
        )

    @property
    def greater_is_better(self) -> dict[str, bool]:
        return {"loss": False, **dict.fromkeys((*MEANS, *(f"f1_{name}" for name in self.class_names)), True)}

    def evaluate(self, logits: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """`ClassificationReport`'s numbers, the number of examples, the mean loss in nats, and an interval.

        The loss is computed in float64 over all examples at once, so that no batch and no process weighs more than its
        examples do. `accuracy_interval` is the 95 % Wilson interval.
        """
        import numpy as np

        from pipeline.tasks.metrics import ClassificationReport, wilson_interval

        numbers = ClassificationReport(self.class_names).compute(
            predictions=logits.argmax(axis=-1), references=references
        )
        losses = -self._log_probabilities(logits)[np.arange(len(references)), references]
        return {
            "num_examples": len(references),
            "loss": round(float(losses.mean()), 6),  # further digits differ with the number of threads and processes
            **numbers,
            "accuracy_interval": wilson_interval(numbers["accuracy"], len(references)),
        }

    def compute_metrics(self, prediction: Any) -> dict[str, float]:
        numbers = self.evaluate(prediction.predictions, prediction.label_ids)
        per_class = {f"f1_{name}": row["f1"] for name, row in numbers["per_class"].items()}
        return {name: numbers[name] for name in ("loss", *MEANS)} | per_class

    @property
    def headline_metrics(self) -> tuple[tuple[str, str, str], ...]:
        return (("accuracy", "accuracy", "Accuracy"), ("f1_macro", "f1", "Macro F1"))

    def table_rows(self, numbers: dict[str, Any]) -> list[tuple[str, str]]:
        low, high = numbers["accuracy_interval"]
        rows = [
            ("examples", f"{numbers['num_examples']:,}"),
            ("accuracy", f"{numbers['accuracy']:.4f}"),
            ("  95 % interval", f"{low:.4f}-{high:.4f}"),
            ("macro F1", f"{numbers['f1_macro']:.4f}"),
            ("loss", f"{numbers['loss']:.4f}"),
        ]
        for name, row in numbers["per_class"].items():
            rows += [(f"{what} {name}", f"{row[what]:.4f}") for what in ("precision", "recall")]
        return rows

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        import numpy as np

        exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
        return exponents / exponents.sum(axis=-1, keepdims=True)

    def decide(self, probabilities: np.ndarray) -> Decision:
        best = int(probabilities.argmax())
        by_name = dict(zip(self.class_names, probabilities.tolist(), strict=True))
        return Decision(self.class_names[best], by_name[self.class_names[best]], by_name)

    @staticmethod
    def _log_probabilities(logits: np.ndarray) -> np.ndarray:
        import numpy as np

        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
