"""The notebooks run from the first cell to the last, and are what their scripts say."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))

BUDGET = "64"
"""Evaluations of a search: two generations, so that offspring are made too."""


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Return kind and source of every cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return what all cells have printed and shown."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_is_a_notebook() -> None:
    assert [path.stem for path in SCRIPTS][:1] == ["01_quickstart"]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs_without_an_error(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTPRUNE_NOTEBOOK_EVALUATIONS", BUDGET)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no settings of the user's, no history
    notebook = jupytext.read(script)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    said = "".join(o.text for o in outputs(notebook) if o.get("name") == "stderr")
    assert "Warning" not in said, said
    assert list(tmp_path.glob("*.db")) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_ipynb_is_made_from_the_script(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    assert path.is_file(), "make it with: make notebooks"
    executed = nbformat.read(path, as_version=4)
    assert cells(executed) == cells(jupytext.read(script)), "make it again with: make notebooks"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_ipynb_was_executed_in_order_and_is_small(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    executed = nbformat.read(path, as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = outputs(executed)
    assert not [o for o in shown if o.output_type == "error"]
    kinds = {kind for o in shown for kind in o.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    assert path.stat().st_size < 1_000_000
