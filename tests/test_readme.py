"""The trees of the docs are that of the repository: folders on the front pages, every file in the architecture."""

import re
from pathlib import Path

import pytest
from support import ROOT


def tree_of(page: str) -> dict[Path, set[str]]:
    """The names in each folder, as the page draws them: indented by two spaces, several of a folder after commas."""
    (block,) = re.findall(r"^```\n(pipeline/.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    tree: dict[Path, set[str]] = {Path(): set()}
    folders = {-1: Path()}
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.match(r"[\w./]+(?:, [\w./]+)*", line.strip())[0].split(", ")
        parent = folders[depth - 1]
        tree[parent] |= {name.rstrip("/") for name in names}
        if len(names) == 1 and names[0].endswith("/"):
            folders[depth] = parent / names[0]
            tree[folders[depth]] = set()
    return tree


PAGES = ["README.md", "README.ko.md", "docs/architecture.md", "docs/architecture.ko.md"]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_tree_draws_is_there_and_every_room_is_drawn(page: str) -> None:
    tree = tree_of(page)
    drawn = [folder / name for folder, names in tree.items() for name in names]
    assert [str(path) for path in drawn if not (ROOT / path).exists()] == []
    rooms = {path.relative_to(ROOT) for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(tree)


@pytest.mark.parametrize("page", PAGES[2:])
def test_the_tree_of_the_architecture_has_every_file(page: str) -> None:
    for folder, names in tree_of(page).items():
        if names and folder.parts[:1] in (("pipeline",), ("scripts",), ("benchmarks",)) and folder != Path("pipeline"):
            modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
            assert modules - names == set(), folder
