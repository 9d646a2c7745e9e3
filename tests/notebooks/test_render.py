"""Pages of the lessons: formulas and links are changed, code is not, and nothing is asked of a network."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def render():
    return runpy.run_path(str(ROOT / "notebooks" / "render.py"))


def test_formulas_become_mathml_and_code_stays(render):
    text = render["with_mathml"]("$$V' = V M$$ and $n$, but `$x$` and\n```python\na = '$y$'\n```")
    assert text.count("<math") == 2
    assert 'display="block"' in text
    assert "`$x$`" in text
    assert "a = '$y$'" in text


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_lesson_becomes_a_page_that_needs_no_network(render, path):
    page = render["page"](nbformat.read(path, as_version=4), path.stem)
    assert 'src="http' not in page
    assert "<math" in page
    assert ".ipynb)" not in page
    assert not re.search(r"\\(frac|sum|lVert|mathrm|leftarrow|top)\b", page), "a formula is left as TeX"
