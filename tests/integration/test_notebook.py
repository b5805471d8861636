"""docs/colab.ipynb runs from top to bottom, offline and without a GPU, but for the cells that only Colab can run."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from support import ROOT

NOTEBOOK = ROOT / "docs" / "colab.ipynb"
TAG = "colab-only"
# What needs Colab, a network, a GPU or an account.
NEEDS_COLAB = re.compile(r"git clone|%pip|pip install|/content|google\.colab|notebook_login|push_to_hub")
MIN_CELLS = 7  # of code that run


def code_cells() -> list[dict]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


def is_left_out(cell: dict) -> bool:
    return TAG in cell["metadata"].get("tags", [])


def test_the_cells_that_are_left_out_are_those_that_need_colab() -> None:
    cells = code_cells()
    assert [source_of(cell) for cell in cells if is_left_out(cell) != bool(NEEDS_COLAB.search(source_of(cell)))] == []
    assert len(cells) - sum(map(is_left_out, cells)) >= MIN_CELLS


def test_it_is_a_notebook_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert [cell["id"] for cell in code_cells() if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    (tmp_path / "scripts").symlink_to(ROOT / "scripts")  # the notebook's folder is the checkout
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and not is_left_out(cell)]
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()

    written = {cell.id: text_of(cell) for cell in notebook.cells}
    assert len(written) >= MIN_CELLS
    assert all(cell.execution_count for cell in notebook.cells)
    assert not [name for name, text in written.items() if re.search(r"Traceback|error:", text)], written
    assert "GPU: 없음" in written["gpu"]
    for cell, folder in (("quickstart-run", "outputs/quickstart"), ("own-train-run", "outputs/my-model")):
        assert f"results   {folder}/results.json" in written[cell], written[cell]
        scores = json.loads((tmp_path / folder / "results.json").read_text())
        assert scores["test"]["accuracy"] > 0.8
    assert {"연기", "음악", "이야기"} == set(scores["test"]["per_class"])
    assert re.search(r"^연기\t0\.\d+\t주인공도", written["own-predict-run"], re.MULTILINE), written["own-predict-run"]
    assert re.search(r"^음악\t0\.\d+\t노래도", written["own-predict-run"], re.MULTILINE)
    assert [
        word
        for word in ("번호", "리뷰", "label", "probability", "결말도 너무 아깝다")
        if word in written["file-predict"]
    ]
    assert re.findall(r"^(\S+) \{", written["python-predict"], re.MULTILINE) == ["연기", "이야기"]


def text_of(cell: dict) -> str:
    """What a cell has printed and its value, as text, with the line ends of a file."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
    return "".join(texts).replace("\r\n", "\n")
