"""The libraries of the extra `audit`."""

from importlib.util import find_spec

from pipeline.runtime.errors import UserError


def require_libraries(*, label_errors: bool) -> None:
    """Find out before anything is read whether the libraries are there.

    Args:
        label_errors: whether labels are judged, which needs one of them.

    Raises:
        UserError: one is missing.
    """
    needed = {"rensa": "near duplicates", **({"cleanlab": "suspected label errors"} if label_errors else {})}
    if missing := [name for name in needed if not find_spec(name)]:
        wants = " and ".join(f"{name} ({needed[name]})" for name in missing)
        without = "\n  Or leave label errors out: --no_label_errors." if missing == ["cleanlab"] else ""
        raise UserError(f"the audit needs {wants}, not installed here: pip install -e '.[audit]'{without}")
