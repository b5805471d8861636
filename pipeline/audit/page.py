"""The page of an audit, by templates/audit.html."""

from collections.abc import Mapping
from typing import Any

from pipeline.audit.findings import findings
from pipeline.pages.render import render_page

NUM_SUSPECTS = 50  # that the page shows, of each split


def audit_page(found: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        found: as `audit` returns it, and as audit.json has it.
    """
    return render_page("pipeline.audit", "audit.html", found=found, findings=findings(found), num_suspects=NUM_SUSPECTS)
