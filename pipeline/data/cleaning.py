"""Cleaning of a text before it is tokenized (`--clean`). The columns of a dataset keep the text as it was."""

import re
from collections.abc import Callable

from pipeline.runtime.errors import UserError

# ASCII, some signs, and Korean. U+3131 to U+3163 are the letters that stand alone (ㅋ, ㅠ).
_OTHERS = re.compile(r"[^\x00-\x7F·∼％\u3131-\u3163가-힣]+")
# As in the README, a domain that runs into Korean is no URL, for lack of a word boundary: `http://a.kr에서` stays.
_HOST, _PATH = r"[-a-zA-Z0-9@:%._+~#=]", r"[-a-zA-Z0-9()@:%_+.~#?&/=]"
_URL = re.compile(rf"https?://(?:www\.)?{_HOST}{{1,256}}\.[a-zA-Z0-9()]{{1,6}}\b{_PATH}*")
_REPEATS = re.compile(r"(\w)\1{3,}")


def clean_kcbert(text: str) -> str:
    """Clean a text as KcBERT's authors recommend for fine-tuning (the `clean` of their README, since September 2022).

    Characters other than Korean, ASCII and · ∼ ％ become a space: other scripts and emoji. URLs are removed. Of four
    or more equal letters or digits in a row two are kept: ㅋㅋㅋㅋ -> ㅋㅋ, but also 10000 -> 100. White space becomes
    one space.

    The result is that of the README's function with emoji 2 and soynlp 0.0.493, its last release, whose
    `repeat_normalize` leaves three in a row (ㅋㅋㅋ) alone. Before then the README's function, with which the
    pretraining data were cleaned, kept emoji.
    """
    text = _URL.sub("", _OTHERS.sub(" ", text))
    return " ".join(_REPEATS.sub(r"\1\1", text).split())


CLEANERS: dict[str, Callable[[str], str]] = {"none": str, "kcbert": clean_kcbert}


def get_cleaner(name: str | None) -> Callable[[str], str]:
    """The function that `--clean` names; without a name, or by `none`, a text stays as it is.

    Raises:
        UserError: there is none of this name; it may be another version's, as a model from elsewhere names it.
    """
    try:
        return CLEANERS[name or "none"]
    except KeyError:
        raise UserError(f"--clean is {name}; expected one of {', '.join(CLEANERS)}.") from None
