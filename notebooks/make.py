"""Make the notebooks (``.ipynb``) from their scripts, and execute them.

Run as ``make notebooks`` or ``python notebooks/make.py``. A progress bar leaves only its last line,
and cells keep their names, so that a notebook that was made again differs where it has to.
"""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def make(script: Path) -> Path:
    """Execute one script as a notebook, and write it beside the script."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    client = NotebookClient(
        notebook,
        timeout=3600,  # of a cell, on a busy machine too
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute()
    notebook.metadata.pop("jupytext", None)  # how the script is written
    path = script.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    return path


if __name__ == "__main__":
    for script in sorted(HERE.glob("[0-9]*.py")):
        print(f"executing {script.name}", flush=True)
        print(f"wrote {make(script).name}")
