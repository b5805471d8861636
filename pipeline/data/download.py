"""Download the files of a corpus by Korpora's `fetch`, which only this module calls, and verify them before use.

Korpora's `fetch` leaves a partial file behind when a download breaks, has no timeout and knows no digest (0.2.0,
utils.py). Here a file is fetched into a temporary folder, compared with what is known of it, and renamed.
"""

import contextlib
import hashlib
import http.client
import io
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import ContentTooShortError, URLError

from filelock import FileLock
from huggingface_hub import constants

from pipeline.runtime.errors import UserError

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 5  # to connect, and between two packets of a download
DOWNLOAD_ATTEMPTS = 3


@dataclass(frozen=True)
class SourceFile:
    """The file of one split.

    Attributes:
        name: within the corpus' folder.
        size: in bytes, if the file is known.
        sha256: hex digest, if the file is known; another file is then refused.
        num_examples: if the file is known.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    num_examples: int | None = None


class _Unreachable(Exception):
    """A file could not be downloaded; the text says why."""


def download_files(
    urls: Mapping[SourceFile, str], folder: Path, title: str, source_url: str | None, *, replace: bool = False
) -> None:
    """Put verified files into `folder`. One process downloads, the others wait.

    Args:
        urls: of the files that are wanted.
        folder: where they go.
        title: of their corpus, for messages.
        source_url: a page about it, for messages.
        replace: download also what is there already, unless another process has just done so.

    Raises:
        UserError: a file cannot be downloaded or written, or is not the one that is known.
    """
    url = next(iter(urls.values()))
    newer_than = time.time() if replace else 0
    try:
        if constants.HF_HUB_OFFLINE:
            raise _Unreachable("HF_HUB_OFFLINE is set")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            for stale in folder.glob(".download-*"):  # of a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            for file, url in urls.items():
                path = folder / file.name
                if not path.is_file() or path.stat().st_mtime < newer_than:
                    _download(file, url, folder, title)
    except _Unreachable as error:
        paths = "".join(f"      {folder / file.name}{_size(file.size)}\n" for file in urls)
        source = f" from {source_url}" if source_url else ""
        raise UserError(
            f"the corpus {title} is not in {folder} and could not be downloaded.\n"
            f"  tried: {url}\n"
            f"  found: {error}\n"
            f"  Without a network: download the files{source} elsewhere and put them at\n{paths}"
            f"  If they are on this machine already, name the folder above {folder.name}/ with --corpus_root_dir."
        ) from error
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Name a folder that can be written with "
            "--corpus_root_dir."
        ) from error


def _download(file: SourceFile, url: str, folder: Path, title: str) -> None:
    from Korpora.utils import fetch

    logger.info("Downloading %s", url)
    tmp_dir = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    path = tmp_dir / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
            try:
                with _socket_timeout(SILENCE_SECONDS), contextlib.redirect_stdout(io.StringIO()):
                    fetch(url, str(path), folder.name, force_download=True)
                break
            except (ContentTooShortError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
                if attempt == DOWNLOAD_ATTEMPTS:
                    raise _Unreachable(f"the download broke {attempt} times: {error}") from error
                logger.warning("The download of %s broke (%s); trying again.", file.name, error)
            except (URLError, TypeError) as error:  # TypeError: an answer without Content-Length, which Korpora needs
                raise _Unreachable(str(getattr(error, "reason", None) or error)) from error
        found = file_sha256(path)
        if file.sha256 and found != file.sha256:
            raise UserError(
                f"{url} did not send the official {title} file; nothing was kept.\n"
                f"  expected: sha256 {file.sha256}{_size(file.size)}\n"
                f"  found:    sha256 {found}{_size(path.stat().st_size)}"
            )
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, folder / file.name)
    finally:
        shutil.rmtree(tmp_dir, ignore_errors=True)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()  # urlretrieve, which Korpora calls, has no timeout of its own
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _size(size: int | None) -> str:
    return "" if size is None else f"  ({size:,} bytes)"


def file_sha256(path: Path) -> str:
    """The hex digest of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
