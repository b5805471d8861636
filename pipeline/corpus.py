"""Korpora -> verified files -> a DatasetDict of `text` and `label`. The only importer of Korpora.

Korpora knows where NSMC is and fetches it. What it cannot do is done around it: it opens the URL even where the files
are in place, leaves half a file behind when a download breaks, takes anything for NSMC, and holds all of it in memory
several times over (0.2.0, utils.py and korpus_nsmc.py).
"""

import contextlib
import hashlib
import http.client
import io
import logging
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import ContentTooShortError, URLError

import pyarrow as pa
import pyarrow.csv as csv
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Value, concatenate_datasets
from filelock import FileLock

from pipeline.errors import UserError

logger = logging.getLogger(__name__)

LABELS = ["부정", "긍정"]  # 0: one to four stars, 1: nine or ten
COLUMNS = Features({"text": Value("string"), "label": ClassLabel(names=LABELS)})
HEADER = b"id\tdocument\tlabel"
SOURCE = "https://github.com/e9t/nsmc"
LONGEST_LINE = 1 << 19  # bytes; a review of NSMC has some 500 at most
CONNECT_SECONDS = 5  # also the longest silence inside a download
DOWNLOAD_ATTEMPTS = 3


@dataclass(frozen=True)
class OfficialFile:
    """What the official file of one split is known to be."""

    name: str
    size: int  # bytes
    sha256: str
    rows: int


OFFICIAL = {
    "train": OfficialFile(
        "ratings_train.txt", 14_628_807, "e03b7d14e9e41be8d464a28057cd25d7396c53e67aa7fd5f7e552c59b0ee2940", 150_000
    ),
    "test": OfficialFile(
        "ratings_test.txt", 4_893_335, "8ac9f64052f11dbf6ae0acb5e038f03d90a76f0eda7820cfb3a92d02edfcebda", 50_000
    ),
}


@dataclass(frozen=True)
class CorpusFiles:
    """Two files in NSMC's layout that were looked at and found sound.

    Attributes:
        root_dir: Korpora's folder; the files are in its `nsmc/`.
        sha256: hex digest of each split's bytes. They, and nothing else, decide what the rows are.
        official: whether both are byte for byte the official NSMC.
    """

    root_dir: Path
    sha256: dict[str, str]
    official: bool


def fetch_corpus(
    root_dir: str | Path, *, official_only: bool = True, download: bool = True, force_download: bool = False
) -> CorpusFiles:
    """Find both files under `root_dir`, downloading what is not there, and verify them.

    Args:
        root_dir: Korpora's folder; the files are `nsmc/ratings_train.txt` and `nsmc/ratings_test.txt` in it.
        official_only: refuse files that are not byte for byte the official ones.
        download: fetch missing files; without it a missing file is an error.
        force_download: fetch both files anew even if they are there.

    Raises:
        UserError: a file is missing and cannot be fetched, is malformed (file, line and reason are named), or is not
            the official one (the expected and the found figures are named).
    """
    started = time.time()
    folder = Path(root_dir).expanduser().resolve() / "nsmc"
    for path in (folder / file.name for file in OFFICIAL.values()):
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file; expected the reviews of one split. Move it away.")
    wanted = [file for file in OFFICIAL.values() if force_download or not (folder / file.name).is_file()]
    if wanted and not download:
        raise UserError(f"{folder / wanted[0].name} is missing.")
    if wanted:
        # A file that is newer than this call was fetched by another process while this one waited for the lock.
        _download(folder, wanted, newer_than=started if force_download else 0)
    digests = {split: _sha256(folder / file.name) for split, file in OFFICIAL.items()}
    official = {split: digests[split] == file.sha256 for split, file in OFFICIAL.items()}
    for split, file in OFFICIAL.items():
        if official[split]:
            continue
        rows = check_layout(folder / file.name)
        if official_only:
            raise UserError(_not_official(folder / file.name, file, digests[split], rows))
    return CorpusFiles(folder.parent, digests, all(official.values()))


def read_corpus(files: CorpusFiles) -> DatasetDict:
    """Read both splits into memory.

    Returns:
        DatasetDict of `train` and `test` with the columns `text` (string: what the reviewer wrote, the two CSV layers
        around quoted reviews undone; empty reviews stay) and `label` (ClassLabel: 0 부정, 1 긍정), in file order.
    """
    return DatasetDict({split: concatenate_datasets(list(blocks)) for split, blocks in read_blocks(files).items()})


def read_blocks(files: CorpusFiles) -> dict[str, Iterator[Dataset]]:
    """Read both splits block by block, so that memory stays the same however long the files are.

    Returns:
        For each split its rows, as `read_corpus` describes them, some 10,000 at a time.
    """
    return {split: _read_split(files.root_dir / "nsmc" / file.name) for split, file in OFFICIAL.items()}


def _read_split(path: Path) -> Iterator[Dataset]:
    # Arrow's reader gives what Korpora's gives (`test_rows_are_those_of_korpora`), in a tenth of its memory.
    options = {
        "read_options": csv.ReadOptions(block_size=2 * LONGEST_LINE),
        "parse_options": csv.ParseOptions(delimiter="\t", quote_char=False),
        "convert_options": csv.ConvertOptions(column_types={"document": pa.string(), "label": pa.int64()}),
    }
    with csv.open_csv(path, **options) as batches:
        for batch in batches:
            texts = [undo_csv(text) for text in batch["document"].to_pylist()]
            table = pa.table([texts, batch["label"]], schema=COLUMNS.arrow_schema)
            # Not `Dataset.from_dict`, which looks at every value again and takes longer than the reading (5.2).
            yield Dataset(table, DatasetInfo(features=COLUMNS))


_CSV_FIELD = re.compile(r'"(?:[^"]|"")*"')


def undo_csv(text: str) -> str:
    """Undo the two CSV layers that the official files have around every review with a quotation mark.

    They were written by a CSV writer twice (all 856 such rows). Text that is not two whole layers deep is left alone:
    undoing "until it no longer changes" damages 31 official rows whose review itself stands in quotation marks.
    """
    inner = text
    for _ in range(2):
        if not _CSV_FIELD.fullmatch(inner):
            return text
        inner = inner[1:-1].replace('""', '"')
    return inner


def check_layout(path: Path) -> int:
    """Check that a file is laid out like NSMC: UTF-8, a header, and three columns with label 0 or 1 in every line.

    Returns:
        The number of reviews.

    Raises:
        UserError: it is not; the text names file, line and reason.
    """

    def fail(line: int, reason: str) -> UserError:
        return UserError(
            f"{path}, line {line}: {reason}\n  expected: UTF-8 text; first line id<TAB>document<TAB>label; then one "
            "review a line in these three columns, label 0 or 1."
        )

    number = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            if len(raw) > LONGEST_LINE:
                raise fail(number, f"has more than {LONGEST_LINE:,} bytes; is a line end missing?")
            line = raw.removesuffix(b"\n").removesuffix(b"\r")
            if number == 1:
                if line.startswith(b"\xef\xbb\xbf"):
                    raise fail(1, "starts with a byte order mark. Save the file as UTF-8 without BOM.")
                if line != HEADER:
                    raise fail(1, f"expected the header, found {_shown(line)}")
                continue
            if b"\x00" in line:
                raise fail(number, "holds a NUL byte.")
            if b"\r" in line:
                raise fail(
                    number, "holds a carriage return inside the line, where a reader would break the line in two."
                )
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise fail(number, f"is not UTF-8 (byte {error.start} of the line: {error.reason}).") from error
            columns = line.split(b"\t")
            if len(columns) != 3:
                raise fail(number, f"has {len(columns)} column(s), not 3: {_shown(line)}")
            if columns[2] not in (b"0", b"1"):
                raise fail(number, f"has the label {_shown(columns[2])}, not 0 or 1.")
    if number < 2:
        raise fail(number + 1, "the file ends before the first review.")
    return number - 1


def _shown(raw: bytes, longest: int = 60) -> str:
    text = raw.decode("utf-8", errors="replace")
    return repr(text if len(text) <= longest else text[:longest] + "…")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _not_official(path: Path, file: OfficialFile, sha256: str, rows: int) -> str:
    carriage_returns = path.read_bytes().count(b"\r\n")
    hint = f"\n  its {carriage_returns:,} lines end in CR LF: git or an editor has rewritten them." * bool(
        carriage_returns
    )
    return (
        f"{path} is not the official NSMC file.\n"
        f"  expected: {file.size:,} bytes, {file.rows:,} reviews, sha256 {file.sha256}\n"
        f"  found:    {path.stat().st_size:,} bytes, {rows:,} reviews, sha256 {sha256}{hint}\n"
        "  Truncated and rewritten copies of NSMC circulate; scores on them do not compare. Delete the file and run "
        "again to fetch the official one, or say --allow_modified_corpus if you mean to use this one."
    )


def _download(folder: Path, wanted: list[OfficialFile], newer_than: float) -> None:
    """Fetch files beside their place, verify them, and rename them into it; one process works, the others wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".download.lock"):
            for left_over in folder.glob(".download-*"):  # of a process that was killed
                shutil.rmtree(left_over, ignore_errors=True)
            for file in wanted:
                path = folder / file.name
                if not path.is_file() or path.stat().st_mtime < newer_than:
                    _download_one(folder, file)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Name a folder that can be with "
            "--corpus_root_dir."
        ) from error


def _download_one(folder: Path, file: OfficialFile) -> None:
    from Korpora import korpus_nsmc
    from Korpora.utils import fetch

    url = next(
        entry["url"] for entry in korpus_nsmc.NSMC_FETCH_INFORMATION if entry["destination"].endswith(file.name)
    )
    logger.info("Downloading %s", url)
    beside = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    try:
        for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
            try:
                with _socket_timeout(CONNECT_SECONDS), contextlib.redirect_stdout(io.StringIO()):
                    fetch(url, str(beside / file.name), "nsmc", force_download=True)
                break
            except (ContentTooShortError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
                if attempt == DOWNLOAD_ATTEMPTS:
                    raise UserError(
                        _unreachable(folder, url, f"the download broke {attempt} times: {error}")
                    ) from error
                logger.warning("The download of %s broke (%s); trying again.", file.name, error)
            except (URLError, TypeError) as error:  # TypeError: an answer without Content-Length, which Korpora needs
                reason = getattr(error, "reason", None) or error
                raise UserError(_unreachable(folder, url, str(reason))) from error
        found = _sha256(beside / file.name)
        if found != file.sha256:
            raise UserError(
                f"{url} did not send the official NSMC file; nothing was kept.\n"
                f"  expected: {file.size:,} bytes, sha256 {file.sha256}\n"
                f"  found:    {(beside / file.name).stat().st_size:,} bytes, sha256 {found}"
            )
        os.replace(beside / file.name, folder / file.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()  # urlretrieve, which Korpora calls, takes no timeout of its own
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(folder: Path, url: str, reason: str) -> str:
    places = "\n".join(f"      {folder / file.name}  ({file.size:,} bytes)" for file in OFFICIAL.values())
    return (
        f"the corpus NSMC is not in {folder} and could not be downloaded.\n"
        f"  tried: {url}\n"
        f"  found: {reason}\n"
        f"  Without a network here: download both files from {SOURCE} elsewhere and put them at\n{places}\n"
        "  If they are somewhere already, name the folder above nsmc/ with --corpus_root_dir."
    )
