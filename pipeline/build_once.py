"""Build a folder once, however many processes want it and whenever one of them is killed."""

import logging
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError, disk_trouble

logger = logging.getLogger(__name__)


def build_once(
    folder: Path, build: Callable[[Path], None], *, sound: Callable[[Path], bool], anew: bool = False
) -> bool:
    """Make sure that `folder` is there and sound, building it if need be. One process builds, the others wait.

    The folder is built beside its place and renamed into it, so that it is there whole or not at all: a builder that
    is killed leaves a `.tmp-` folder, which the next one removes, and a lock that the system has already let go.

    Args:
        folder: where the result goes.
        build: fills the empty folder that it is given.
        sound: whether a folder that is in place holds all that it should.
        anew: build even if a sound folder is in place.

    Returns:
        Whether this call built it.

    Raises:
        UserError: the place cannot be written.
    """
    started = time.time()
    if not anew and folder.is_dir() and sound(folder):
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
            if folder.is_dir() and (not anew or built_meanwhile) and sound(folder):
                return False
            _build(folder, build)
            return True
    except Exception as error:
        if isinstance(error, UserError) or not (reason := disk_trouble(error)):
            raise
        raise UserError(
            f"{getattr(error, 'filename', None) or folder} cannot be written: {reason}. Free some space, or set "
            "--cache_dir to a folder that can be written."
        ) from error


def trusted_place(folder: Path) -> Path:
    """Where to find or build a folder: not where another user could have put or changed it.

    Returns:
        `folder`; or one of this user's own beside it, if `folder` is there and not ours alone to write.

    Raises:
        UserError: that one too is not ours.
    """
    for place in (folder, folder.with_name(f"{folder.name}-uid{os.getuid()}")) if hasattr(os, "getuid") else (folder,):
        if not place.exists() or _ours_alone(place):
            return place
        logger.warning(
            "Not trusting %s: other users own it or can write in it. Remove it to have it built anew.", place
        )
    raise UserError(f"{folder} and {place} can be written by other users. Set --cache_dir to a folder of your own.")


def _ours_alone(folder: Path) -> bool:
    """Whether all in it belongs to us or to root, and neither group nor others can write to it; no links within."""
    about = [folder.stat(), *(path.lstat() for path in folder.rglob("*"))]
    return all(
        each.st_uid in (0, os.getuid()) and not each.st_mode & 0o022 and not stat.S_ISLNK(each.st_mode)
        for each in about
    )


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    beside = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    beside.mkdir()
    try:
        build(beside)
        if folder.exists():
            logger.warning("Replacing %s.", folder)
            old = folder.with_name(f"{folder.name}.tmp-old-{os.getpid()}")
            folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        for path in (beside, *beside.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o022)  # whatever the umask: see `trusted_place`
        os.utime(beside)  # renaming keeps the time, which tells those who waited that this was built meanwhile
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
