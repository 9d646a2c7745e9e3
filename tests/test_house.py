"""The rules of the house, checked: style, types, what the library may import, documented modules."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "pdc_core").rglob("*.py"))
APP = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py")), *sorted((ROOT / "ui").rglob("*.py"))]
ONLY_INSIDE_FUNCTIONS = {"umap", "onnx", "onnxruntime", "plotly", "torchvision"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_style_and_types(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def imports(tree: ast.AST, *, inside_functions: bool) -> Iterator[str]:
    """Yield the packages that a module imports: when it is imported, or also those of its functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, inside_functions=inside_functions)


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_library_imports_no_screen_and_heavy_packages_only_inside_functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "streamlit" not in set(imports(tree, inside_functions=True))
    assert not ONLY_INSIDE_FUNCTIONS & set(imports(tree, inside_functions=False))


def test_importing_the_library_loads_no_screen_and_no_heavy_package():
    program = "import sys, pdc_core; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in done.stdout.split()}
    assert not loaded & (ONLY_INSIDE_FUNCTIONS | {"streamlit"})


@pytest.mark.parametrize("path", [*LIBRARY, *APP], ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_public_names_of_the_library_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_notebooks_are_committed_without_outputs():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


def test_shipped_weights_are_part_of_the_package():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"] == {"pdc_core": ["weights/*.safetensors"]}
    packages = settings["tool"]["setuptools"]["packages"]
    assert set(packages) == {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY}
