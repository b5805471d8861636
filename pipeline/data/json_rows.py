"""Objects of JSON files: one a line, or an array of them, one at a time in constant memory."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

from pipeline.data.text_files import TextFile, unreadable
from pipeline.runtime.errors import UserError

CHUNK = 1 << 20  # characters
WHITESPACE = re.compile(r"[ \t\r\n]*")
MAX_OBJECT = 64 * CHUNK  # characters; a larger one is not read into memory


class JsonRow(NamedTuple):
    """One object.

    Attributes:
        line: the line on which it starts, from 1.
        value: empty if there is a problem.
        size: in characters.
        problem: why it cannot be read, or None.
    """

    line: int
    value: dict[str, Any]
    size: int
    problem: str | None = None


def is_array(file: TextFile) -> bool:
    """Whether the file is an array, rather than one object a line."""
    with file.open(newline="\n") as stream:
        return next((line.lstrip()[0] for line in stream if line.strip()), "") == "["


def read_lines(file: TextFile) -> Iterator[JsonRow]:
    """One object a line. Blank lines are skipped."""
    with file.open(newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.isspace():
                yield _parse_line(number, line, file.clean)


def _parse_line(number: int, line: str, is_clean: bool) -> JsonRow:
    problem = None if is_clean else unreadable(line)
    value: Any = {}
    if not problem:
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            problem = f"is not JSON ({error.msg} at character {error.pos + 1})"
        except (ValueError, RecursionError) as error:  # a number of too many digits, too many brackets
            problem = f"is not JSON ({error})"
        else:
            problem = _find_problem(value, line)
    return JsonRow(number, {} if problem else value, len(line), problem)


def _find_problem(value: Any, source: str) -> str | None:
    if not isinstance(value, dict):
        return f"is not a JSON object, but a {type(value).__name__}"
    if "\\u" in source:  # JSON's `\ud800` is half a character
        return unreadable(json.dumps(value, ensure_ascii=False).replace("\0", ""))
    return None


def read_array(file: TextFile) -> Iterator[JsonRow]:
    """The objects of an array.

    Raises:
        UserError: the file is not JSON, with line and reason. What follows a mistake cannot be told apart.
    """
    with file.open(newline="\n") as stream:
        buffer = _Buffer(stream)
        buffer.expect(file, "[")
        if buffer.peek() == "]":
            return
        while True:
            line = buffer.next_line
            try:
                value, source = buffer.decode()
            except (ValueError, RecursionError) as error:
                raise UserError(f"{file.path} is not JSON: {_explain(error, line)}.") from error
            problem = _find_problem(value, source) or (not file.clean and unreadable(source)) or None
            yield JsonRow(line, {} if problem else value, len(source), problem)
            if buffer.expect(file, ",]") == "]":
                break
        if buffer.peek():
            raise UserError(f"{file.path}, line {buffer.next_line}: there is more after the array's end.")


def _explain(error: Exception, line: int) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} in line {line + error.doc.count(chr(10), 0, error.pos)}"
    return f"{error} in line {line}"


class _Buffer:
    """A window of a file that moves forward value by value.

    Attributes:
        line: the line, from 1, of the character at `position`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.line = 1
        self._stream = stream
        self._decoder = json.JSONDecoder()
        self._text, self._position = "", 0

    @property
    def next_line(self) -> int:
        """The line of the next character that is no space."""
        self.peek()
        return self.line

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._advance(WHITESPACE.match(self._text, self._position).end() - self._position)  # type: ignore[union-attr]
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read():
                return ""

    def expect(self, file: TextFile, characters: str) -> str:
        """Take the next character, which must be one of these."""
        character = self.peek()
        if not character or character not in characters:
            found = repr(character) if character else "the end of the file"
            expected = " or ".join(f"`{one}`" for one in characters)
            raise UserError(f"{file.path} is not JSON: {found} in line {self.line}, where {expected} is expected.")
        self._advance(1)
        return character

    def decode(self) -> tuple[Any, str]:
        """The next value and its source."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                start = self._position
                if not self._is_cut(error) or len(self._text) - start > MAX_OBJECT or not self._read(size):
                    raise json.JSONDecodeError(error.msg, error.doc[start:], error.pos - start) from error
                size *= 2
            else:
                if end < len(self._text) or not self._read():  # `12` may go on as `123`
                    source = self._text[self._position : end]
                    self._advance(len(source))
                    return value, source

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the mistake may be none, if there is more text. The longest word of JSON is `-Infinity`."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16

    def _advance(self, count: int) -> None:
        self.line += self._text.count("\n", self._position, self._position + count)
        self._position += count

    def _read(self, size: int = 0) -> bool:
        """Read on. Returns False at the end."""
        more = self._stream.read(size or CHUNK)
        self._text, self._position = self._text[self._position :] + more, 0
        return bool(more)
