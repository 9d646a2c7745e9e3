"""Run the lessons and write each as one HTML file that opens without Jupyter or a network: `make lessons-html`.

    python notebooks/render.py [--out build/lessons] [LESSON.ipynb ...]

Figures include plotly, formulas become MathML, and sliders become the static figures shown without ipywidgets.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode

HERE = Path(__file__).parent
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
NETWORK = re.compile(r'<script[^>]*\ssrc="https?://[^>]*>\s*</script>', re.DOTALL)
NO_WIDGETS = "raise ImportError('a page has no kernel for sliders')\n"


def with_mathml(text: str) -> str:
    """Return Markdown whose formulas are MathML; code stays as it is.

    >>> with_mathml("cost `$x$` and $n$").count("<math")
    1
    """

    def formula(found: re.Match[str]) -> str:
        display = "block" if found[1] else "inline"
        return convert(html.unescape(found[1] or found[2]).strip(), display=display).replace("\n", " ")

    parts = CODE.split(text)
    return "".join(part if i % 2 else FORMULA.sub(formula, part) for i, part in enumerate(parts))


def executed(path: Path, folder: Path) -> NotebookNode:
    """Return a lesson with its outputs, run in its own folder."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def page(notebook: NotebookNode, title: str) -> str:
    """Return a lesson as one HTML page that links to the pages of the other lessons."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.html)", with_mathml(cell.source))
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook, {"metadata": {"name": title}})
    return NETWORK.sub("", body)


def main() -> int:
    """Render the given lessons, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", type=Path, help="notebooks; by default all in this folder")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "lessons", help="folder for the pages")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ipywidgets.py").write_text(NO_WIDGETS)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        os.environ["PLOTLY_RENDERER"] = "notebook"  # plotly itself is written into the page, once
        for path in asked.lessons or sorted(HERE.glob("*.ipynb")):
            began = time.perf_counter()
            notebook = executed(path, Path(folder))
            target = asked.out / f"{path.stem}.html"
            target.write_text(page(notebook, path.stem), encoding="utf-8")
            print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
