"""The files of an audit: its page and its JSON."""

import json
from pathlib import Path
from typing import Any

from pipeline.runtime.errors import UserError
from pipeline.runtime.run_dir import create_output_dir, write_json

PAGE, JSON = "audit.html", "audit.json"


def prepare_output_dir(output_dir: Path, data_name: str, *, overwrite: bool) -> None:
    """Create the folder, and keep the files of another audit from being replaced; one of the same data is.

    Raises:
        UserError: it has files of another audit, or files of these names that no audit wrote; or cannot be written.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output_dir {output_dir} is a file; expected a folder.")
    existing = [path for name in (JSON, PAGE) if (path := output_dir / name).exists()]
    if existing and not overwrite and (about := _audited(output_dir / JSON)) != data_name:
        found = f"an audit of {about}" if about else f"{existing[0].name}, which no audit wrote"
        raise UserError(f"{output_dir} holds {found}. Choose another --output_dir, or replace it with --overwrite.")
    create_output_dir(output_dir)


def write_audit(output_dir: Path, found: dict[str, Any]) -> None:
    """Write both files; each appears complete, or not at all."""
    from pipeline.audit.page import audit_page

    tmp_path = output_dir / f"{PAGE}.tmp"
    tmp_path.write_text(audit_page(found), encoding="utf-8")
    write_json(output_dir / JSON, found)
    tmp_path.replace(output_dir / PAGE)


def _audited(path: Path) -> str | None:
    """The name of the data that an audit is of; None if the file is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["data"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
