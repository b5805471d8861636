"""Fine-tune a Korean classifier on NSMC, or on data laid out like it. One stage a file; data flows one way."""

__version__ = "0.1.0"
