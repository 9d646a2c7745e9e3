"""The rules of the house, checked: style, types, what the library may import, documented modules."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "pdc_core").rglob("*.py"))
APP = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py")), *sorted((ROOT / "ui").rglob("*.py"))]
ONLY_INSIDE_FUNCTIONS = {"umap", "onnx", "onnxruntime", "plotly", "torchvision"}
# Modules and packages of pdc_core, from the ground up: each imports only from those before it.
LAYERS = (
    "errors", "classroom", "copies", "files", "seeds", "durations", "handwritten", "registry", "batch_sizes",
    "torchvision_adapter", "targets", "graph", "data", "plan", "models", "costs", "norms", "clustering", "reconstruct",
    "folding", "losses", "export", "train", "pruner", "integrations", "baselines", "estimates", "analysis", "runs",
    "deployment", "charts", "report", "lesson", "cli",
)  # fmt: skip
# Parts of pdc_core in which the parameters of every function without a leading underscore are documented as «name :
# type»; elsewhere those of all that a package exports. Options of a command are documented by their help.
NUMPYDOC_DONE = (
    "errors", "copies", "files", "seeds", "durations", "handwritten", "registry", "batch_sizes", "torchvision_adapter",
    "targets", "data", "plan", "models", "norms", "clustering", "reconstruct", "losses", "export", "deployment",
    "pruner", "integrations", "analysis", "charts", "lesson",
)  # fmt: skip


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


def module_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in [*LIBRARY, *APP]}


def imported_modules(path: Path) -> set[str]:
    """The modules of this repository that a module imports, in functions and for type checks too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found & set(MODULES)


def test_layers_import_downwards():
    parts = {module_of(path).split(".")[1] for path in LIBRARY if path.parent != ROOT / "pdc_core"}
    parts |= {path.stem for path in (ROOT / "pdc_core").glob("*.py") if not path.stem.startswith("__")}
    assert sorted(LAYERS) == sorted(parts)
    upwards = []
    for path in LIBRARY:
        own = module_of(path).split(".")[1:2]
        for name in imported_modules(path) if own and own[0] in LAYERS else ():
            other = name.split(".")[1:2]
            if not other or (other != own and LAYERS.index(other[0]) > LAYERS.index(own[0])):
                upwards.append(f"{name_of(path)} imports {name}")
    assert not upwards


def test_no_module_imports_itself_through_others():
    graph = {name: imported_modules(path) for name, path in MODULES.items()}
    for name in graph:  # a package is imported before its modules; it may import from them
        graph[name] = {other for other in graph[name] if not name.startswith(f"{other}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_package_exports_the_name_of_one_of_its_own_modules():
    for path in [*LIBRARY, *APP]:
        if path.name != "__init__.py":
            continue
        inside = {p.stem for p in path.parent.glob("*.py")} | {p.parent.name for p in path.parent.glob("*/__init__.py")}
        bound = {
            alias.asname or alias.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom) and node.module != module_of(path)  # else it is the module itself
            for alias in node.names
        }
        assert not bound & inside, name_of(path)


def test_page_folders_do_not_import_each_other():
    folders = {path.parent.name for path in (ROOT / "ui").glob("*/__init__.py")} - {"components"}
    assert len(folders) >= 5
    for folder in folders:
        for path in (ROOT / "ui" / folder).glob("*.py"):
            others = {name.split(".")[1] for name in imported_modules(path) if name.count(".") > 1 or "ui." in name}
            assert not others & (folders - {folder}), name_of(path)


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


def documented(node: ast.AST) -> set[str]:
    """The names that a docstring lists as «name : type» under Parameters or Attributes, «a, b : type» included."""
    names: set[str] = set()
    section = ""
    lines = (ast.get_docstring(node) or "").splitlines()  # type: ignore[arg-type]
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        if re.fullmatch("-{3,}", following):
            section = line
        elif section in ("Parameters", "Attributes") and (found := re.fullmatch(r"([\w*]+(?:, [\w*]+)*) : \S.*", line)):
            names |= {name.lstrip("*") for name in found[1].split(", ")}
    return names


def parameters(function: ast.FunctionDef) -> set[str]:
    a = function.args
    every = (*a.posonlyargs, *a.args, *a.kwonlyargs, *(each for each in (a.vararg, a.kwarg) if each is not None))
    return {each.arg for each in every if each.arg not in ("self", "cls") and not each.arg.startswith("_")}


def undocumented(path: Path) -> list[str]:
    """The public parameters and fields of a module that no docstring lists."""
    missing: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            missing += [f"{node.name}({name})" for name in sorted(parameters(node) - documented(node))]
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            own: set[str] = set()
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    own |= {part.target.id} if not part.target.id.startswith("_") else set()
                elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    own |= parameters(part)
                elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and part.name != "forward":
                    if node.bases and not ast.get_docstring(part):
                        continue  # documented in the class that it overrides a method of; forward(x) is torch's own
                    lacking = sorted(parameters(part) - documented(part))
                    missing += [f"{node.name}.{part.name}({name})" for name in lacking]
            missing += [f"{node.name}({name})" for name in sorted(own - documented(node))]
    return missing


def exported_names() -> set[str]:
    """What the packages of pdc_core list in `__all__`."""
    lists = [
        ast.literal_eval(node.value)
        for path in LIBRARY
        if path.name == "__init__.py"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return {name for names in lists for name in names}


@pytest.mark.parametrize("path", [p for p in LIBRARY if not module_of(p).startswith("pdc_core.cli")], ids=name_of)
def test_every_public_parameter_is_documented_with_its_type(path):
    missing = undocumented(path)
    if module_of(path).split(".")[1:2] and module_of(path).split(".")[1] in NUMPYDOC_DONE:
        assert not missing
    exported = exported_names()
    assert not [each for each in missing if each.split("(")[0].split(".")[0] in exported]


def test_a_parameter_that_is_not_documented_with_its_type_is_noticed(tmp_path: Path):
    file = tmp_path / "sample.py"
    file.write_text(
        'def f(a, *b, c=0):\n    """F.\n\n    Parameters\n    ----------\n'
        '    a, *b : int\n        Some.\n    c of it\n    """\n'
        "class C:\n    x: int\n    def m(self, y): pass\n    def forward(self, z): pass\n    def _n(self, z): pass\n"
    )
    assert undocumented(file) == ["f(c)", "C.m(y)", "C(x)"]


def test_notebooks_are_committed_without_outputs():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


def test_shipped_weights_are_part_of_the_package():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = ["weights/*.safetensors", "data/clothing.*", "analysis/literature.csv", "runs/measured.csv"]
    assert settings["tool"]["setuptools"]["package-data"] == {"pdc_core": shipped}
    packages = settings["tool"]["setuptools"]["packages"]
    assert set(packages) == {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY}
