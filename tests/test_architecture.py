"""Imports run one way between the rooms of pipeline/, and never in a circle."""

import ast
import re
from pathlib import Path

import pytest
from support import ROOT

# A room may import itself and those before it.
ROOMS = (
    *("runtime", "pages", "tasks", "data", "modeling", "config", "prepare", "api"),
    *("training", "evaluation", "inference", "publishing", "report", "audit", "search"),
)
SIBLINGS = [
    {"training", "evaluation"},
    {"inference", "publishing"},
    {"report", "audit", "search"},
]  # of one rank: neither imports the other
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """The modules of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("pipeline.")}


def room_of(module: str) -> str:
    return module.split(".")[1]


def module_of(path: Path) -> str:
    return re.sub(r"\.__init__$", "", ".".join(path.relative_to(ROOT).with_suffix("").parts))


def misplaced_imports(module: str, imported: set[str]) -> list[str]:
    """Which imports run against the order of the rooms."""
    if module == "pipeline":
        return []
    room = room_of(module)
    siblings = {name for group in SIBLINGS if room in group for name in group} - {room}
    return [
        name
        for name in sorted(imported)
        if room_of(name) in ROOMS and (ROOMS.index(room_of(name)) > ROOMS.index(room) or room_of(name) in siblings)
    ]


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_run_one_way(path: Path) -> None:
    assert module_of(path) == "pipeline" or room_of(module_of(path)) in ROOMS
    assert misplaced_imports(module_of(path), imported_modules(path)) == []


def test_no_module_imports_itself_in_a_circle() -> None:
    names = {module_of(path) for path in MODULES}
    graph = {module_of(path): {name for name in imported_modules(path) if name in names} for path in MODULES}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for name in sorted(graph[module] - {module}):
                visit(name, (*trail, module))
            done.add(module)

    done: set[str] = set()
    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "imported", "expected"),
    [
        ("pipeline.data.splits", {"pipeline.training.trainer"}, ["pipeline.training.trainer"]),
        ("pipeline.training.trainer", {"pipeline.evaluation.report"}, ["pipeline.evaluation.report"]),
        ("pipeline.evaluation.report", {"pipeline.training.trainer"}, ["pipeline.training.trainer"]),
        ("pipeline.training.trainer", {"pipeline.data.splits", "pipeline.runtime.xla"}, []),
    ],
)
def test_a_misplaced_import_is_found(module: str, imported: set[str], expected: list[str]) -> None:
    assert misplaced_imports(module, imported) == expected


def test_scripts_are_not_imported_by_the_package() -> None:
    for path in MODULES:
        assert not re.search(r"^\s*(from|import) scripts\b", path.read_text(encoding="utf-8"), re.MULTILINE), path
