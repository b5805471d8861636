"""The tree on the front pages is that of the repository."""

import re
from pathlib import Path

import pytest
from support import ROOT


def tree_of(readme: str) -> dict[Path, set[str]]:
    """The names in each folder, as the page draws them: indented by two spaces, several of a folder after commas."""
    (block,) = re.findall(r"^```\n(pipeline/.*?)^```$", (ROOT / readme).read_text(encoding="utf-8"), re.M | re.S)
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


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_tree_of_the_front_page_is_true(readme: str) -> None:
    tree = tree_of(readme)
    assert {Path("pipeline"), Path("pipeline/data"), Path("scripts")} <= set(tree)
    drawn = [folder / name for folder, names in tree.items() for name in names]
    assert [str(path) for path in drawn if not (ROOT / path).exists()] == []
    for folder, names in tree.items():
        if folder.parts and names:  # a folder whose files are drawn
            modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
            assert modules - names == set(), folder
    rooms = {path.relative_to(ROOT) for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(tree)
