"""Log this project to stderr, from rank 0 only (errors: from every rank). stdout is for results."""

import logging
import sys

from pipeline.runtime import xla
from pipeline.runtime.distributed import is_rank_zero


def configure_logging() -> logging.Logger:
    """Set up the `pipeline` logger. Called once, at the start of a script."""
    logger = logging.getLogger("pipeline")
    with xla.thread_lock:
        if not logger.handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
            # A filter rather than the logger's level, which XLA replicas in threads of one process would share.
            handler.addFilter(lambda record: record.levelno >= logging.ERROR or is_rank_zero())
            logger.addHandler(handler)
            logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger
