"""Fine-tune a Korean text classifier. Data flows one way; docs/architecture.md has the map.

For other experiments: `from pipeline import load_classifier, load_corpus, load_features`.
"""

import importlib
from typing import Any

__version__ = "0.3.0"
EXPORTED = {
    "load_classifier": "pipeline.inference.classifier",
    "load_corpus": "pipeline.api",
    "load_features": "pipeline.api",
}
__all__ = ["load_classifier", "load_corpus", "load_features"]


def __getattr__(name: str) -> Any:
    if name in EXPORTED:  # imported on first use: `import pipeline` itself stays instant
        return getattr(importlib.import_module(EXPORTED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
