"""Fine-tune a Korean classifier on NSMC, or on data laid out like it. One stage a file; data flows one way.

For other experiments: `from pipeline import load_corpus, load_features` (see pipeline/reuse.py).
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_corpus", "load_features"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # imported when asked for: `import pipeline` itself stays instant
        from pipeline import reuse

        return getattr(reuse, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
