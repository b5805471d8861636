"""Build a folder once, however many processes want it and whenever one of them is killed."""

import logging
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import constants

from pipeline.runtime.errors import UserError, disk_error_reason
from pipeline.runtime.run_dir import CACHE_NAME

logger = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Our folder in the cache of Hugging Face datasets, found as datasets.config does, but without that slow import."""
    return Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME, "datasets")), CACHE_NAME).expanduser()


def build_once(
    folder: Path, build: Callable[[Path], None], *, is_valid: Callable[[Path], bool], force: bool = False
) -> bool:
    """Build `folder` unless it exists and is valid. One process builds, the others wait.

    The folder is built under another name and renamed, so that it exists complete or not at all. A builder that is
    killed leaves a `.tmp-` folder, which the next one removes, and a lock that the kernel has released.

    Args:
        folder: the result.
        build: fills the empty folder that it is given.
        is_valid: whether an existing folder is complete.
        force: build even if a valid folder exists.

    Returns:
        Whether this call built it.

    Raises:
        UserError: the folder cannot be written.
    """
    started = time.time()
    if not force and folder.is_dir() and is_valid(folder):
        return False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            logger.warning("Another process is building %s; waiting for it.", folder)
            lock.acquire()
        with lock:
            built_meanwhile = folder.is_dir() and folder.stat().st_mtime >= started
            if folder.is_dir() and (not force or built_meanwhile) and is_valid(folder):
                return False
            _build(folder, build)
            return True
    except Exception as error:
        if isinstance(error, UserError) or not (reason := disk_error_reason(error)):
            raise
        raise UserError(
            f"{getattr(error, 'filename', None) or folder} cannot be written: {reason}. Free some space, or set "
            "--cache_dir to a folder that can be written."
        ) from error


def trusted_folder(folder: Path) -> Path:
    """The folder to use: not one that another user could have written or changed.

    Returns:
        `folder`; or one of this user's own next to it, if `folder` exists and others can write to it.

    Raises:
        UserError: others can write to both.
    """
    own = [folder.with_name(f"{folder.name}-uid{os.getuid()}")] if hasattr(os, "getuid") else []
    for candidate in (folder, *own):
        if not candidate.exists() or _only_we_can_write(candidate):
            return candidate
        logger.warning(
            "Not trusting %s: other users own it or can write to it. Remove it to have it built again.", candidate
        )
    raise UserError(f"{folder} and {candidate} can be written by other users. Set --cache_dir to a folder of your own.")


def _only_we_can_write(folder: Path) -> bool:
    """Whether everything in it belongs to us or to root, without write access for others and without links."""
    stats = [folder.stat(), *(path.lstat() for path in folder.rglob("*"))]
    return all(
        each.st_uid in (0, os.getuid()) and not each.st_mode & 0o022 and not stat.S_ISLNK(each.st_mode)
        for each in stats
    )


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    for stale in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    tmp_dir = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    tmp_dir.mkdir()
    try:
        build(tmp_dir)
        if folder.exists():
            logger.warning("Replacing %s.", folder)
            old = folder.with_name(f"{folder.name}.tmp-old-{os.getpid()}")
            folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        for path in (tmp_dir, *tmp_dir.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o022)  # whatever the umask: see `trusted_folder`
        os.utime(tmp_dir)  # a rename keeps the time, which tells waiting processes that this was just built
        tmp_dir.rename(folder)
    finally:
        shutil.rmtree(tmp_dir, ignore_errors=True)
