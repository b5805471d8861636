"""Fine-tune a Korean text classifier. Data flows one way; docs/architecture.md has the map.

For other experiments: `from pipeline import load_corpus, load_features` (pipeline/api.py).
"""

from typing import Any

__version__ = "0.2.0"
__all__ = ["load_corpus", "load_features"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # imported on first use: `import pipeline` itself stays instant
        from pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
