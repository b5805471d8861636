"""Examples made on the spot."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.audit.examples import Examples
from pipeline.tasks import SingleLabelClassification, Task

BINARY = SingleLabelClassification(("no", "yes"))


@pytest.fixture(scope="session")
def make_examples() -> Callable[..., Examples]:
    """Examples of rows (text, label) by split."""

    def make(task: Task = BINARY, **splits: Sequence[tuple[Any, Any]]) -> Examples:
        rows = [row for each in splits.values() for row in each]
        sizes = np.cumsum([0, *map(len, splits.values())]).tolist()
        labels = np.array([label for _, label in rows])
        return Examples([text for text, _ in rows], labels, dict(zip(splits, sizes, strict=False)), task)

    return make
