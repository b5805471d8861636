"""Which columns of a table hold the texts and the labels: those that the user names, else common names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.runtime.errors import UserError
from pipeline.runtime.terminal import display_width

# Compared without case.
TEXT = (
    "text texts sentence document review reviews comment comments content 텍스트 문장 문서 리뷰 댓글 내용 본문".split()
)
PAIRS = [
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("문장1", "문장2"),
    ("전제", "가설"),
]
LABEL = "label labels gold_label target class category 레이블 라벨 감정 분류".split()
RESERVED = ("label", "input_ids", "token_type_ids", "window_lengths", "num_tokens")  # columns of the features
LONGEST_EXAMPLE = 40  # characters of a value in a message


def find_text_columns(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """What may be the texts: a column alone, or two columns of a pair. One candidate is a finding."""
    by_name = {column.strip().lower(): column for column in columns}
    pairs = [tuple(by_name[name] for name in pair) for pair in PAIRS if set(pair) <= by_name.keys()]
    return pairs + [(by_name[name],) for name in TEXT if name in by_name]


def find_label_columns(columns: Sequence[str]) -> list[str]:
    """What may be the labels. One candidate is a finding."""
    by_name = {column.strip().lower(): column for column in columns}
    return [by_name[name] for name in LABEL if name in by_name]


def choose_text_columns(given: Sequence[str], example: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """The columns of the texts, one or two.

    Args:
        given: `--text_column`, or empty.
        example: the columns and their values in a first row.
        source: of the table, for messages.

    Raises:
        UserError: a given column is not there, or none or several may be meant.
    """
    if given:
        _check_there(given, "text_column", example, source)
        if len(given) > 2 or len(set(given)) < len(given):
            raise UserError(f"--text_column is {' '.join(given)}; expected one column, or the two of a pair.")
        return tuple(given)
    found = find_text_columns([column for column in example if column not in find_label_columns(list(example))])
    return _only(found, "text_column", "text", example, source)


def choose_label_columns(given: Sequence[str], example: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """The columns of the labels; several of 0 and 1 for several labels at once. Raises as `choose_text_columns`."""
    if given:
        _check_there(given, "label_column", example, source)
        return tuple(dict.fromkeys(given))
    return _only([(column,) for column in find_label_columns(list(example))], "label_column", "label", example, source)


def _check_there(given: Sequence[str], option: str, example: Mapping[str, Any], source: str) -> None:
    for column in given:
        if column not in example:
            raise UserError(f"--{option} {column}: {source} has no such column.\n{_list(example)}")


def _only(
    found: list[tuple[str, ...]], option: str, what: str, example: Mapping[str, Any], source: str
) -> tuple[str, ...]:
    if len(found) == 1:
        return found[0]
    problem = (
        f"{source}: several columns may be the {what}: {', '.join(' + '.join(each) for each in found)}"
        if found
        else f"{source}: no column has a name by which the {what} is known"
    )
    raise UserError(f"{problem}. Name it with --{option}.\n{_list(example)}")


def _list(example: Mapping[str, Any]) -> str:
    """The columns with an example value each."""
    width = min(24, max(map(display_width, example), default=0))
    spaces = {column: " " * (width - display_width(column)) for column in example}
    lines = [f"    {column}{spaces[column]}  {shown(value)}" for column, value in example.items()]
    return "\n".join(["  Its columns, with a value of each:", *lines])


def shown(value: Any) -> str:
    """A value in a message: short, on one line."""
    text = repr(value) if not isinstance(value, str) else value
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1] + "…"


def counted(items: Iterable[str], count: int, limit: int = 10) -> str:
    """The first items of a list, one a line, and how many more there are."""
    lines = [f"  {item}" for item, _ in zip(items, range(limit), strict=False)]
    return "\n".join([*lines, *([f"  … and {count - len(lines):,} more"] if count > len(lines) else [])])
