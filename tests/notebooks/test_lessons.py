"""Every lesson runs from top to bottom in a kernel of its own, and so do the solutions hidden in it."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WIDGETS = "application/vnd.jupyter.widget-view+json"
FIGURE = "application/vnd.plotly.v1+json"
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
HANG = 300  # seconds for one cell: no measure of speed, but an end to waiting


def texts(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def run(path: Path, folder: Path) -> set[str]:
    """Run a lesson in its fast mode, then its solutions in order; return the kinds of output that it showed."""
    notebook = nbformat.read(path, as_version=4)
    for number, solution in enumerate(SOLUTION.findall(texts(notebook))):
        notebook.cells += [
            nbformat.v4.new_code_cell(code, id=f"solution-{number}-{part}")
            for part, code in enumerate(CODE.findall(solution))
        ]
    NotebookClient(notebook, timeout=HANG, resources={"metadata": {"path": str(folder)}}).execute()
    return {kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_the_lesson_and_its_solutions_run(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PDC_FAST", "1")
    shown = run(path, tmp_path)
    assert FIGURE in shown, "a lesson shows at least one figure"
    if "ipywidgets" in path.read_text(encoding="utf-8"):
        assert WIDGETS in shown


def test_without_ipywidgets_a_lesson_shows_static_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("PDC_FAST", "1")
    (tmp_path / "ipywidgets.py").write_text("raise ImportError('as if it were not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    asking = [path for path in LESSONS if "ipywidgets" in path.read_text(encoding="utf-8")]
    assert asking
    for path in asking:
        shown = run(path, tmp_path)
        assert FIGURE in shown
        assert WIDGETS not in shown


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_says_what_it_is_for_has_exercises_and_ends_with_where_to_go_next(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert "After this lesson you can" in first
    assert last.startswith("## Where to go next")
    exercises = re.findall(r"\*\*Exercise (\d)\.\*\*", texts(notebook))
    assert exercises == [str(i + 1) for i in range(len(exercises))]
    assert 3 <= len(exercises) <= 5
    assert len(SOLUTION.findall(texts(notebook))) == len(exercises)


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_links_to_other_lessons_lead_somewhere(path):
    links = re.findall(r"\]\((\w+\.ipynb)\)", texts(nbformat.read(path, as_version=4)))
    assert all((path.parent / link).is_file() for link in links), links


def test_the_tests_have_what_the_widgets_need():
    assert find_spec("ipywidgets"), "requirements-dev.txt names it"
