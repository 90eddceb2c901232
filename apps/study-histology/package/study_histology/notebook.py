"""The study's notebook, run from the first cell to the last: what a researcher would look at, with its output in it."""

from __future__ import annotations

import os
from pathlib import Path

from study_histology.files import write_whole

SOURCE = Path(__file__).with_name("results.ipynb")
CELL_TIMEOUT_S = 600


def execute(out: Path, results: Path) -> Path:
    """Run the notebook on what the study has written to `out`; write `results.ipynb` and `results.html` there.

    Args:
        results: the folder with the predictions.

    Raises:
        ValueError: a cell failed; the message has its last line.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbconvert import HTMLExporter

    notebook = nbformat.read(SOURCE, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": str(out)}})
    try:
        client.execute(env={**os.environ, "HISTOLOGY_OUT": str(out), "HISTOLOGY_RESULTS": str(results.relative_to(out))})
    except CellExecutionError as error:
        raise ValueError(f"a cell of the notebook failed: {error.ename}: {error.evalue}") from error
    # A page that needs nothing from elsewhere.
    exporter = HTMLExporter(mathjax_url="", require_js_url="", exclude_input_prompt=True, exclude_output_prompt=True)
    page, _ = exporter.from_notebook_node(notebook)
    write_whole(out / "results.html", lambda part: part.write_text(page, encoding="utf-8"))
    write_whole(out / "results.ipynb", lambda part: part.write_text(nbformat.writes(notebook), encoding="utf-8"))
    return out / "results.ipynb"
