"""What was found, in the order of what it costs: the first lines of the page, and those of the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FEW = 0.001  # share of a split, below which something odd is hardly worth a look
MANY = 0.01  # share of a split, from which on something changes what is learnt or measured
IMBALANCED = 10  # the largest class by the smallest
SHIFTED = 3  # standard errors
ODD_TO_MEND = ("empty", "replacement", "misread", "decomposed", "control", "markup")  # never meant


@dataclass(frozen=True)
class Finding:
    """A line of the overview.

    Attributes:
        name: of its text in the templates.
        level: act, look or fine.
        count: of examples, or None where it is no number of them.
        total: of how many.
        values: for the text.
    """

    name: str
    level: str
    count: int | None
    total: int | None
    values: Mapping[str, Any]


def findings(found: Mapping[str, Any]) -> list[Finding]:
    """The findings of an audit: what asks for action first."""
    order = ("act", "look", "fine")
    return sorted(_findings(found), key=lambda finding: order.index(finding.level))


def _findings(found: Mapping[str, Any]) -> Iterator[Finding]:
    sizes, total = found["data"]["num_examples"], sum(found["data"]["num_examples"].values())
    for pair in found["between"]:
        count, names = pair["num_exact"], {"split": pair["split"], "other": pair["in"]}
        level = "act" if count >= MANY * pair["num_examples"] else "look" if count else "fine"
        yield Finding("leak", level, count, pair["num_examples"], names)
    for split, about in found["held_out"].items():
        if split == "problem":
            yield Finding("no_split", "act", None, None, {"problem": about})
        elif about["num_exact"]:
            level = "look" if about["num_exact"] >= FEW * about["num_examples"] else "fine"
            yield Finding("held_out", level, about["num_exact"], about["num_examples"], {"split": split})
    for split, about in found["within"].items():
        count = about["num_examples"] - about["num_distinct"]
        level = "look" if count >= MANY * about["num_examples"] else "fine"
        yield Finding("repeated", level, count, about["num_examples"], {"split": split, **about})
    for split, about in found["contradictions"].items():
        if split != "all":
            level = "look" if about["num_texts"] else "fine"
            yield Finding("contradictions", level, about["num_examples"], sizes[split], {"split": split, **about})
    yield from _label_findings(found)
    if found["tokens"]:
        for split, about in found["tokens"]["splits"].items():
            level = "look" if about["num_cut"] >= MANY * sizes[split] else "fine"
            yield Finding("cut", level, about["num_cut"], sizes[split], {"split": split, **found["tokens"]})
        for split, about in found["tokens"]["splits"].items():
            level = "look" if about["num_with_unknown"] >= MANY * sizes[split] else "fine"
            yield Finding("unknown", level, about["num_with_unknown"], sizes[split], {"split": split})
    for name, about in found["odd"].items():
        count = sum(about["num_examples"].values())
        if count:
            worth_it = count >= FEW * total or name in ODD_TO_MEND or name == "personal"
            yield Finding(f"odd_{name}", "look" if worth_it else "fine", count, total, {})


def _label_findings(found: Mapping[str, Any]) -> Iterator[Finding]:
    sizes, labels = found["data"]["num_examples"], found["labels"]
    for split, about in labels["splits"].items():
        if missing := about.get("missing"):
            yield Finding("missing_class", "act", None, None, {"split": split, "names": ", ".join(missing[:10])})
    train = labels["splits"].get("train", {})
    if "ratio" in train:
        level = "look" if train["ratio"] >= IMBALANCED else "fine"
        yield Finding("balance", level, None, None, {"ratio": train["ratio"], "largest": train.get("largest")})
    if labels["difference"] and labels["difference"]["standard_errors"] >= SHIFTED:
        level = "look" if labels["difference"]["points"] >= MANY else "fine"
        yield Finding("shifted", level, None, None, labels["difference"])
    for split, about in (found["label_errors"] or {"splits": {}})["splits"].items():
        if about["suspects"] is not None:
            level = "look" if about["num_suspects"] else "fine"
            yield Finding("label_errors", level, about["num_suspects"], sizes[split], {"split": split})
