"""Text in columns of a terminal, where a Korean syllable takes two and a combining mark none."""

import unicodedata
from collections.abc import Iterable, Sequence

INVISIBLE = {"Mn", "Me", "Cf"}  # categories of combining marks and joiners


def display_width(text: str) -> int:
    """Columns that a text takes."""
    return sum(map(_width, text))


def shorten(text: str, width: int) -> str:
    """The text on one line of at most `width` columns; what is cut off is marked by "…"."""
    text = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    if display_width(text) <= width:
        return text
    taken = 1  # the mark's own
    for index, letter in enumerate(text):
        taken += _width(letter)
        if taken > width:
            return text[:index] + "…"
    return text


def wrap(phrases: Iterable[str], width: int) -> list[str]:
    """The phrases on lines of at most `width` columns, two blanks between them; a longer one has a line of its own."""
    lines: list[str] = []
    for phrase in phrases:
        if lines and display_width(lines[-1]) + 2 + display_width(phrase) <= width:
            lines[-1] += f"  {phrase}"
        else:
            lines.append(phrase)
    return lines


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines: the first column to the left, all others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            _pad(cell, width, right=index > 0) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _width(letter: str) -> int:
    if unicodedata.category(letter) in INVISIBLE:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - display_width(text))
    return space + text if right else text + space
