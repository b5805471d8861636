"""Templates -> a page. The frame that all pages share, its colours and its charts are in templates/."""

import re
from html import escape
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

MAX_LETTERS = 400  # of a text that a page shows
# What a reader would not see, or would see in another order: controls, zero-width and bidirectional characters.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\xa0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ue000-\uf8ff]")


def render_page(package: str, template: str, **values: Any) -> str:
    """A page by a template of `package`/templates, which extends `base.html` of this room.

    A name that the template reads and `values` lacks is an error of ours (`jinja2.UndefinedError`).
    """
    loaders = [PackageLoader(package), PackageLoader("pipeline.pages")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "percent": percent, "readable": readable}
    return environment.get_template(template).render(**values) + "\n"


def number(value: float, digits: int = 0) -> str:
    """1234 -> 1,234."""
    return f"{value:,.{digits}f}"


def percent(share: float, digits: int | None = None) -> str:
    """0.0314 -> 3.14 %, on one line; without `digits` as many as a small share needs."""
    if digits is None:
        digits = 0 if share in (0, 1) else 2 if share < 0.1 else 1
    return f"{100 * share:.{digits}f}\u00a0%"


def readable(text: str, max_letters: int = MAX_LETTERS) -> Markup:
    """A text of the data as HTML: cut if it is long, and with hidden characters named."""
    shown = text if len(text) <= max_letters else text[: max_letters - 1] + "…"
    parts, end = [], 0
    for found in _HIDDEN.finditer(shown):
        parts += [escape(shown[end : found.start()]), f'<span class="hidden">U+{ord(found[0]):04X}</span>']
        end = found.end()
    return Markup("".join([*parts, escape(shown[end:])]))  # noqa: S704  (every part is escaped)
