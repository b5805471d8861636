"""What an audit prints at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.audit.files import JSON, PAGE
from pipeline.audit.findings import Finding, findings
from pipeline.runtime.terminal import align

WORDS = {
    "leak": "{split} examples whose text stands in {other}",
    "held_out": "examples that {split} would share with train",
    "no_split": "the examples cannot be split: {problem}",
    "repeated": "{split} examples that repeat a text",
    "contradictions": "{split} examples whose text has several labels; such texts: {num_texts:,}",
    "missing_class": "{split} has no example of {names}",
    "balance": "largest class of train by the smallest: {ratio:.1f}",
    "shifted": "share of {class} differs between train and test",
    "label_errors": "{split} labels that hardly fit their texts",
    "cut": "{split} examples longer than {max_length} tokens",
    "unknown": "{split} examples with tokens that the vocabulary does not have",
    "odd_empty": "empty texts",
    "odd_no_letters": "texts without a letter",
    "odd_only_jamo": "texts of ㅋ, ㅠ and the like alone",
    "odd_not_korean": "texts without Korean",
    "odd_replacement": "texts with the replacement character U+FFFD",
    "odd_misread": "texts decoded by the wrong encoding",
    "odd_decomposed": "texts with decomposed syllables (NFD)",
    "odd_control": "texts with control or invisible characters",
    "odd_private": "texts with characters of private use",
    "odd_markup": "texts with HTML",
    "odd_url": "texts with a URL",
    "odd_personal": "texts with an e-mail address or a mobile number",
}


def summary(found: Mapping[str, Any], output_dir: Path) -> str:
    """The overview as lines of text, and the paths of the files."""
    rows = []
    for finding in findings(found):
        rows.append([WORDS[finding.name].format(**finding.values), _count(finding), finding.level])
    notes = [f"lengths in tokens are not known: {found['no_tokens']}"] if "no_tokens" in found else []
    paths = [f"  {what:<6} {output_dir / name}" for what, name in (("page", PAGE), ("JSON", JSON))]
    return "\n".join(["", *align(rows), *notes, "", *paths])


def _count(finding: Finding) -> str:
    if finding.count is None:
        return ""
    share = f" ({100 * finding.count / finding.total:.2f} %)" if finding.count and finding.total else ""
    return f"{finding.count:,}{share}"
