"""Log this project to the terminal (stderr) and to a run's log file. stdout is for results.

Only rank 0 logs, but for errors. The terminal gets INFO and above, above a progress bar if there is one; the file gets
DEBUG too: what is too long for a terminal.
"""

import logging
import sys
from pathlib import Path

from pipeline.runtime import xla
from pipeline.runtime.distributed import is_rank_zero

LIBRARY = "transformers"  # whose warnings are of the run too; it writes them to the terminal itself


def configure_logging() -> logging.Logger:
    """Set up the `pipeline` logger. Called once, at the start of a script."""
    logger = logging.getLogger("pipeline")
    with xla.thread_lock:
        if not logger.handlers:
            logger.addHandler(_prepared(_Terminal(), "%H:%M:%S", logging.INFO))
            logger.propagate = False
    logger.setLevel(logging.DEBUG)
    return logger


def log_to_file(path: Path, *, append: bool) -> None:
    """Write everything that is logged from now on to a file as well. Does nothing on other ranks than 0.

    Args:
        path: in a folder that can be written.
        append: keep what the file has, as a resumed run does.
    """
    if is_rank_zero():
        handler = _prepared(
            _LogFile(path, "a" if append else "w", encoding="utf-8"), "%Y-%m-%d %H:%M:%S", logging.DEBUG
        )
        for name in ("pipeline", LIBRARY):
            logging.getLogger(name).addHandler(handler)


def show(text: str) -> None:
    """Log text as it is, without time and level: a screen, a line of a table."""
    logging.getLogger("pipeline").info("%s", text, extra={"bare": True})


class _Terminal(logging.Handler):
    """Writes to stderr without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # slow to import for a script that has nothing to say

        try:
            tqdm.write(f"{self.format(record)}\n", file=sys.stderr, end="")
        except Exception:
            self.handleError(record)


class _LogFile(logging.FileHandler):
    """Gives up where the file cannot be written: a full disk is reported once, by what writes the checkpoints."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if getattr(record, "bare", False) else super().format(record)


def _prepared(handler: logging.Handler, time_format: str, level: int) -> logging.Handler:
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s", datefmt=time_format))
    handler.setLevel(level)
    # A filter rather than the logger's level, which XLA replicas in threads of one process would share.
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or is_rank_zero())
    return handler
