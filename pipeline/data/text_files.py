"""Text files of unknown encoding: UTF-8 with or without BOM, UTF-16 with BOM, or CP949 as Korean Excel writes it."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from pipeline.runtime.errors import UserError, as_user_error

CHUNK = 1 << 20  # bytes
MAX_LINE = 16 * CHUNK  # a longer line is not read into memory

OLD_EXCEL = b"\xd0\xcf\x11\xe0"

# The first bytes of files that are no text, and what they are.
MAGIC = {
    b"PK\x03\x04": "an Excel workbook or a zip archive: if it is a workbook, name it .xlsx",
    OLD_EXCEL: "an old Excel file (.xls) or a protected workbook: save it as .xlsx without a password",
    b"PAR1": "a Parquet file: name it .parquet",
    b"ARROW1": "an Arrow file: save it as Parquet",
    b"\x1f\x8b": "compressed with gzip: add .gz to its name",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file with `git lfs pull`",
}


@dataclass(frozen=True)
class TextFile:
    """What was found about a text file.

    Attributes:
        encoding: a codec's name.
        clean: every byte can be decoded, and none is NUL. Otherwise `unreadable` tells which texts are damaged.
        num_lines: ends of lines, and the last line if it has none.
        notes: what the user should know, such as an encoding that is not UTF-8.
    """

    path: Path
    encoding: str
    clean: bool
    num_lines: int
    notes: tuple[str, ...]

    @contextmanager
    def open(self, newline: str) -> Iterator[TextIO]:
        """Open for reading. Bytes that cannot be decoded become lone surrogates.

        Args:
            newline: as for `open`: "" for lines that end in any way and keep their ends, "\\n" for `\\n` alone.
        """
        errors = "strict" if self.clean else "surrogateescape"
        opener: Any = gzip.open if self.path.suffix.lower() == ".gz" else open
        with (
            _reading(self.path),
            opener(self.path, "rt", encoding=self.encoding, errors=errors, newline=newline) as file,
        ):
            yield file


def inspect_text(path: Path, has_lines: bool = True) -> TextFile:
    """Read the whole file once, in constant memory, to find its encoding.

    UTF-8 is tried first. A file that is not UTF-8 is CP949 if all of it can be read so and most of its lines cannot be
    read as UTF-8; a file of which most lines are UTF-8 is UTF-8 with damaged lines.

    Args:
        has_lines: the file is read line by line: a line longer than `MAX_LINE` is an error.

    Raises:
        UserError: the file is empty, is no text, or has another encoding.
    """
    with _reading(path):
        with _open_binary(path) as file:
            start = file.read(CHUNK)
        _check_start(path, start)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _inspect_utf16(path)
        return _inspect_8bit(path, has_lines, "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8")


def unreadable(text: str) -> str | None:
    """Why a text is damaged: a byte that could not be decoded, or half a character; None if it is not."""
    for character in text:
        if "\udc80" <= character <= "\udcff":
            return f"byte 0x{ord(character) - 0xDC00:02x} is not UTF-8"
        if "\ud800" <= character <= "\udfff":
            return f"{character!r} is not a character"
        if character == "\0":
            return "holds a NUL character"
    return None


def _check_start(path: Path, start: bytes) -> None:
    if not start.removeprefix(codecs.BOM_UTF8).strip():
        raise UserError(f"{path} is empty.")
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            raise UserError(f"{path} is no text file, but {kind}.")
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path} is an HTML page, such as a site shows instead of a download.")
    is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_utf16 and start.count(0) * 10 > len(start):
        raise UserError(f"{path} is no text file: {start.count(0):,} of its first {len(start):,} bytes are zero.")


def _inspect_utf16(path: Path) -> TextFile:
    decoder, num_lines, last, position = codecs.getincrementaldecoder("utf-16")(), 0, "\n", 0
    has_nul = False
    with _open_binary(path) as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise UserError(f"{path} is not UTF-16, as its first bytes say (near byte {position:,}).") from error
            position += len(chunk)
            num_lines, last, has_nul = num_lines + text.count("\n"), text[-1:] or last, has_nul or "\0" in text
            if not chunk:
                return TextFile(path, "utf-16", not has_nul, num_lines + (last != "\n"), (f"{path}: read as UTF-16",))


def _inspect_8bit(path: Path, has_lines: bool, encoding: str) -> TextFile:
    decoder, is_utf8, has_nul = codecs.getincrementaldecoder("utf-8")(), True, False
    num_lines, length, last = 0, 0, b"\n"  # `length`: of the line that the last chunk has begun
    with _open_binary(path) as file:
        while chunk := file.read(CHUNK):
            end = b"\n" if b"\n" in chunk else b"\r"
            count = chunk.count(end)
            num_lines, last, has_nul = num_lines + count, chunk[-1:], has_nul or b"\0" in chunk
            length = len(chunk) - chunk.rfind(end) - 1 if count else length + len(chunk)
            if has_lines and length > MAX_LINE:
                raise UserError(f"{path}, line {num_lines + 1:,}: is longer than {MAX_LINE >> 20} MB; one row a line?")
            try:
                is_utf8 = is_utf8 and decoder.decode(chunk) is not None
            except UnicodeDecodeError:
                is_utf8 = False
    num_lines += last not in b"\r\n"
    is_utf8 = is_utf8 and not decoder.getstate()[0]  # a character that the file's end cuts
    if is_utf8:
        return TextFile(path, encoding, not has_nul, num_lines, ())
    if _is_cp949(path):
        return TextFile(path, "cp949", not has_nul, num_lines, (f"{path}: read as CP949, as Korean Excel writes it",))
    return TextFile(path, encoding, False, num_lines, ())


def _is_cp949(path: Path) -> bool:
    """Whether a file that is not UTF-8 is CP949; if not, most of its lines are UTF-8.

    Raises:
        UserError: it is neither.
    """
    num_lines = num_utf8 = 0  # of lines that are not ASCII
    broken: UserError | None = None
    with _open_binary(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            if line.isascii():
                continue
            num_lines += 1
            num_utf8 += _decoding_error(line, "utf-8") is None
            error = _decoding_error(line, "cp949")
            if error and not broken:
                byte = f"byte {error.start + 1} of the line, 0x{line[error.start]:02x}"
                broken = UserError(f"{path}, line {number:,}: {byte}, is neither UTF-8 nor CP949. Save it as UTF-8.")
    if num_utf8 * 2 >= num_lines:
        return False
    if broken:
        raise broken
    return True


def _decoding_error(line: bytes, encoding: str) -> UnicodeDecodeError | None:
    try:
        line.decode(encoding)
    except UnicodeDecodeError as error:
        return error
    return None


def _open_binary(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else open(path, "rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    with as_user_error(f"{path} cannot be read", OSError, EOFError, zlib.error):  # the latter two: broken gzip
        yield
