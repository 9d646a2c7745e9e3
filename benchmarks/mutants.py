"""How many small faults the tests notice. Writes benchmarks/results/mutants.csv, a row per mutant, and mutants.md.

    make mutants                                 # or, once requirements-mutants.txt is installed:
    python benchmarks/mutants.py                 # the sample; goes on where the CSV ends
    python benchmarks/mutants.py --again         # only what survived, on the code as it is now
    python benchmarks/mutants.py --table         # only mutants.md

cosmic-ray makes the mutants: an operator or a comparison replaced, a number off by one, a condition turned round, a
loop that never runs, a decorator or an exception's handler removed, and (our own operator) a call that is not made.
The sample is of places in the code, drawn with a seed and one mutant for each place. Annotations are not mutated, nor
are the texts of errors.

Every mutant runs in a fork of a process that has imported torch and the other packages already, on a copy of the tree
in which its file is mutated. It meets the tests of its package that enter its function (`TESTS`; a first run without
mutants notes which those are; a default or a decorator meets all), the fastest first, until one fails. A mutant that
no test notices within the time limit has survived; a test that hangs has noticed it.
"""

from __future__ import annotations

import argparse
import ast
import csv
import datetime
import functools
import hashlib
import importlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Keyword

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COVERED = ROOT / "build" / "mutants"  # which tests enter which functions, by the content of both
SEED, SAMPLE = 0, 400
CHEAP = 45.0  # processor seconds of tests that a mutant meets at most, the fastest first

# What is mutated, and the tests that have to notice. A folder stands for all files in it.
TESTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "losses": (("pdc_core/losses",), ("tests/core/losses",)),
    "train": (("pdc_core/train",), ("tests/core/train",)),
    "costs": (("pdc_core/costs.py",), ("tests/core/test_costs.py", "tests/core/test_costs_by_layer.py")),
    "plan": (("pdc_core/plan",), ("tests/core/plan",)),
    "estimates": (("pdc_core/estimates",), ("tests/core/estimates",)),
    "clustering": (("pdc_core/clustering",), ("tests/core/clustering",)),
    "reconstruct": (
        ("pdc_core/reconstruct",),
        ("tests/core/reconstruct", "tests/core/pruner", "tests/core/train/test_schedules.py"),
    ),
    "folding": (("pdc_core/folding",), ("tests/core/folding", "tests/core/graph/test_functions.py")),
    "export": (("pdc_core/export.py",), ("tests/core/test_export.py", "tests/core/test_files_killed.py")),
    "checkpoint": (
        ("pdc_core/models/checkpoint.py",),
        ("tests/core/models/test_models.py", "tests/core/models/test_saved_by_scripts.py"),
    ),
    "data": (("pdc_core/data",), ("tests/core/data",)),
    "runs": (
        ("pdc_core/runs", "pdc_core/files.py"),
        (
            *(f"tests/core/runs/test_{name}.py" for name in ("folders", "checkpoint", "results", "earlier_format")),
            *("tests/core/test_files.py", "tests/core/test_files_killed.py", "tests/cli/test_run_command.py"),
        ),
    ),
    "ui": (
        ("ui/choice.py", "ui/current_plan.py", "ui/jobs.py", "ui/uploads.py", "ui/plan/tools.py", "ui/plan/files.py"),
        (
            "tests/ui/plan",
            "tests/ui/model",
            "tests/ui/test_page.py",
            "tests/ui/test_current_plan.py",
            "tests/ui/test_jobs.py",
        ),
    ),
}
DEFAULTS = "tests/core/test_documented_defaults.py"  # of every package of pdc_core
LEAST = 20  # mutants of a small package

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
BITS = {"BitAnd", "BitOr", "BitXor"}
PREFERRED = (  # packages that a test process would import anyway
    "torch", "torch.fx", "torch.nn.utils.fusion", "torch.utils.flop_counter", "numpy", "pandas",
    "scipy.cluster.hierarchy", "scipy.optimize", "sklearn.cluster", "pydantic", "yaml", "safetensors.torch",
    "lightning_fabric", "filelock", "hypothesis", "plotly.graph_objects", "PIL.Image", "typer", "rich",
    "streamlit.testing.v1",
)  # fmt: skip


class RemoveCall(Operator):
    """Replaces a statement that is a call by `pass`: what it does is not done."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        statement = node.type in ("power", "atom_expr") and node.parent is not None
        if statement and node.parent.type in ("simple_stmt", "suite") and node.children[-1].type == "trailer":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return Keyword("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


@dataclass
class Mutant:
    """A fault: a place in a file, the operator that makes it, and what became of it."""

    package: str
    module: str
    line: int
    operator: str
    occurrence: int
    function: str
    before: str
    after: str
    outcome: str = ""
    noticed_by: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.module, self.function, self.before, self.after


@functools.cache
def operators() -> dict[str, type[Operator]]:
    """Return the operators by name: cosmic-ray's without those that fail at once, and our own."""
    chosen: dict[str, type[Operator]] = {"RemoveCall": RemoveCall}
    for full in plugins.operator_names():
        name = full.removeprefix("core/")
        kind, _, (_, *pair) = name, None, name.split("_")
        if kind.startswith("Variable"):
            continue
        if kind.startswith("ReplaceBinaryOperator") and not (set(pair) <= ARITHMETIC or set(pair) <= BITS):
            continue
        if kind.startswith("ReplaceComparison") and ("Is" in pair) + ("IsNot" in pair) == 1:
            continue
        chosen[name] = plugins.get_operator(full)
    return chosen


def sources(package: str, root: Path = ROOT) -> list[Path]:
    """Return the files of a package that are there."""
    found = []
    for name in TESTS[package][0]:
        path = root / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return [p for p in found if p.name != "__init__.py"]


def _left_alone(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the spans of annotations and of the texts of errors."""
    spans: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            spans.append(node.annotation)
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            spans.append(node.returns)
        if isinstance(node, ast.JoinedStr):
            spans.append(node)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper():
                spans.append(node.value)  # a type under a name, such as Labels = dict[str, IntArray]
    return [((n.lineno, n.col_offset), (n.end_lineno or 0, n.end_col_offset or 0)) for n in spans]  # type: ignore[attr-defined]


def _functions(tree: ast.Module) -> list[tuple[int, int, str]]:
    """Return (first line, last line, name) of every function and method, outer ones before inner ones."""
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                found.append((first, child.end_lineno or 0, prefix + child.name))
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix)

    visit(tree, "")
    return found


def _body(tree: ast.Module, first: int) -> int:
    """Return the line on which the body of a function begins; its defaults and decorators are run by every import."""
    defined = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    begins = {min([node.lineno, *(d.lineno for d in node.decorator_list)]): node.body[0].lineno for node in defined}
    return begins[first]


def mutants_of(package: str, root: Path = ROOT) -> dict[tuple[str, tuple[int, int]], list[Mutant]]:
    """Return every mutant of a package, by file and place."""
    places: dict[tuple[str, tuple[int, int]], list[Mutant]] = {}
    for path in sources(package, root):
        text, module = path.read_text(encoding="utf-8"), str(path.relative_to(root))
        tree, lines = ast.parse(text), text.splitlines()
        functions, alone, nodes = _functions(tree), _left_alone(tree), list(ast_nodes(get_ast(text)))
        for name, operator in operators().items():
            made = operator()
            positions = [start for node in nodes for start, _ in made.mutation_positions(node)]
            for occurrence, start in enumerate(positions):
                if any(first <= start < last for first, last in alone):
                    continue
                inner = [f for f in functions if f[0] <= start[0] <= f[1]]
                function, code = inner[-1][2] if inner else "", lines[start[0] - 1].strip()
                mutant = Mutant(package, module, start[0], name, occurrence, function, code, "")
                places.setdefault((module, start), []).append(mutant)
    return places


def mutated(mutant: Mutant, root: Path) -> str | None:
    """Return the source of a mutant's file with its fault in it, or None where that is the same program."""
    text = (root / mutant.module).read_text(encoding="utf-8")
    try:
        changed = mutate_code(text, operators()[mutant.operator](), mutant.occurrence)
    except AttributeError:  # cosmic-ray cannot replace an exception whose name has a dot
        return None
    try:
        if changed is None or ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text)):
            return None
    except SyntaxError:  # such as `if not name := value`
        return None
    different = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=False) if a != b]
    mutant.before, mutant.after = (" ".join(side.split()) for side in different[0])
    return str(changed)


def sample(root: Path, size: int, seed: int) -> list[Mutant]:
    """Draw places in every package in proportion to how many it has, at least `LEAST`, and a mutant for each."""
    drawn, every = random.Random(seed), {package: mutants_of(package, root) for package in TESTS}
    places = sum(map(len, every.values()))
    chosen = []
    for found in every.values():
        wanted = min(len(found), max(LEAST, round(size * len(found) / max(1, places))))
        for place in drawn.sample(sorted(found), wanted):
            options = found[place]
            kinds = sorted({m.operator.split("_")[0] for m in options})
            kind = drawn.choice(kinds)
            chosen.append(drawn.choice([m for m in options if m.operator.split("_")[0] == kind]))
    return chosen


# -- tests, in a fork -----------------------------------------------------------------------------------


class Noting:
    """A pytest plugin that notes which functions of which files every test enters, and how long it takes."""

    def __init__(self, root: Path) -> None:
        self.root, self.entered = f"{root}/", set[tuple[str, int]]()
        self.collected: set[tuple[str, int]] = set()
        self.fixtures: dict[str, set[tuple[str, int]]] = {}
        self.tests: dict[str, dict[str, Any]] = {}

    def trace(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self.root):
            self.entered.add((code.co_filename.removeprefix(self.root), code.co_firstlineno))

    def _take(self) -> set[tuple[str, int]]:
        taken, self.entered = self.entered, set()
        return taken

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: Any) -> Iterator[None]:
        report = yield
        self.collected |= self._take()
        return report  # type: ignore[return-value]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before = self._take()
        try:
            return (yield)  # type: ignore[return-value]
        finally:
            own = self._take()
            self.fixtures.setdefault(f"{fixturedef.baseid}::{fixturedef.argname}", set()).update(own)
            self.entered = before | own

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.entered, began = set(), time.process_time()
        result = yield
        own = self._take()
        for name in getattr(item, "fixturenames", ()):
            for fixture in item._fixtureinfo.name2fixturedefs.get(name, ()):
                own |= self.fixtures.get(f"{fixture.baseid}::{name}", set())
        self.tests[item.nodeid] = {"seconds": time.process_time() - began, "entered": sorted(own)}
        return result  # type: ignore[return-value]


class Chosen:
    """A pytest plugin that keeps and orders the chosen tests, and names the first that fails."""

    def __init__(self, nodes: list[str], report: Path) -> None:
        self.order, self.report = {node: i for i, node in enumerate(nodes)}, report

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.order:
            items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.report.exists():
            self.report.write_text(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.report.exists():
            self.report.write_text(f"import of {report.nodeid}")


def forked(root: Path, arguments: list[str], plugin: Any, limit: float, traced: Noting | None = None) -> int | None:
    """Run pytest in a fork of this process, in a tree; return its exit code, or None where it took too long."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            os.chdir(root)
            os.environ.update(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1", HOME=tempfile.mkdtemp(dir=root.parent))
            sys.dont_write_bytecode = True
            ours = (ROOT, ROOT / "benchmarks")
            sys.path[:] = [str(root), *(p for p in sys.path if Path(p or ".").resolve() not in ours)]
            nothing = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            importlib.invalidate_caches()
            if traced is not None:
                threading.settrace(traced.trace)
                sys.settrace(traced.trace)
            options = ("-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
            code = int(pytest.main([*arguments, *options], [plugin]))
            if traced is not None:
                sys.settrace(None)
                (root.parent / "noted.json").write_text(
                    json.dumps({"tests": traced.tests, "collected": sorted(traced.collected)})
                )
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return None


def _end_group(leader: int) -> None:
    """End a fork and what its tests have started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _test_files(package: str, root: Path) -> list[str]:
    files = TESTS[package][1] if package == "ui" else (*TESTS[package][1], DEFAULTS)
    return [name for name in files if (root / name).exists()]


def notes(package: str, root: Path) -> dict[str, Any]:
    """Return which functions the tests of a package enter; from a file where neither code nor tests have changed.

    Raises
    ------
    SystemExit
        A test fails without any mutant.
    """
    digest = hashlib.sha256()
    for name in (*_test_files(package, root), *TESTS[package][0]):
        for path in sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / name]:
            if path.exists():
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    file = COVERED / f"{package}-{digest.hexdigest()[:16]}.json"
    if not file.exists():
        plugin = Noting(root)
        doctests = [str(p.relative_to(root)) for p in sources(package, root)]
        began = time.perf_counter()
        code = forked(root, [*_test_files(package, root), *doctests], plugin, 1800, plugin)
        print(f"{package}: tests took {time.perf_counter() - began:.0f} s without a mutant", flush=True)
        if code != 0:
            raise SystemExit(f"The tests of {package} fail without any mutant (exit code {code}).")
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root.parent / "noted.json", file)
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def chosen_tests(mutant: Mutant, noted: dict[str, Any], root: Path) -> list[str]:
    """Return the tests that enter a mutant's function, file by file, the fastest file first; all where none does."""
    tree = ast.parse((root / mutant.module).read_text(encoding="utf-8"))
    around = [f for f in _functions(tree) if f[0] <= mutant.line <= f[1]]
    place = [mutant.module, around[-1][0]] if around and mutant.line >= _body(tree, around[-1][0]) else None
    found = [node for node, test in noted["tests"].items() if place in test["entered"]]
    if place is None or place in noted["collected"] or not found:
        found = list(noted["tests"])
    seconds = {node: noted["tests"][node]["seconds"] for node in found}
    files: dict[str, float] = {}
    for node in found:
        file = node.split("::")[0]
        files[file] = files.get(file, 0.0) + seconds[node]
    ordered, spent = [], 0.0
    for node in sorted(found, key=lambda node: (files[node.split("::")[0]], node.split("::")[0], seconds[node])):
        spent += seconds[node]
        if spent > CHEAP and ordered:
            break
        ordered.append(node)
    return ordered


def meet(mutant: Mutant, root: Path, noted: dict[str, Any]) -> None:
    """Plant a mutant in a tree, run its tests, and take it out again."""
    source, path = mutated(mutant, root), root / mutant.module
    if source is None:
        mutant.outcome = "no change"
        return
    nodes = chosen_tests(mutant, noted, root)
    report = root.parent / "noticed"
    report.unlink(missing_ok=True)
    usual = sum(noted["tests"][node]["seconds"] for node in nodes)
    original, began = path.read_text(encoding="utf-8"), time.perf_counter()
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
    path.write_text(source, encoding="utf-8")
    try:
        files = list(dict.fromkeys(node.split("::")[0] for node in nodes))
        code = forked(root, [*files, "-x"], Chosen(nodes, report), 120 + 20 * usual)
    finally:
        path.write_text(original, encoding="utf-8")
    mutant.seconds = round(time.perf_counter() - began, 1)
    mutant.outcome = "survived" if code == 0 else "timeout" if code is None else "noticed"
    mutant.noticed_by = report.read_text() if report.exists() else "" if code in (0, None) else f"exit code {code}"


def copy_of_tree(to: Path) -> Path:
    """Copy what git has of this tree, as it stands in the working copy, and compile it."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "pdc_core", "ui"], cwd=to, check=False)
    return to


# -- the table ------------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[Mutant]:
    """Return the rows of a CSV, or none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        kinds = {f.name: f.type for f in fields(Mutant)}
        convert = {"int": int, "float": float, "str": str}
        return [Mutant(**{k: convert[str(kinds[k])](v) for k, v in row.items()}) for row in csv.DictReader(file)]


def write_rows(path: Path, rows: list[Mutant]) -> None:
    """Write all rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Mutant)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def explained(path: Path) -> dict[tuple[str, str, str, str], str]:
    """Return why survivors cannot matter, by mutant: the file equivalent.csv beside the results."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(r["module"], r["function"], r["before"], r["after"]): r["reason"] for r in csv.DictReader(file)}


def table(rows: list[Mutant], reasons: dict[tuple[str, str, str, str], str]) -> str:
    """Return mutants.md."""
    made = [row for row in rows if row.outcome not in ("", "no change")]
    same = [row for row in made if row.outcome == "survived" and row.key in reasons]
    left = [row for row in made if row.outcome == "survived" and row.key not in reasons]

    def line(name: str, some: list[Mutant]) -> str:
        count = Counter(row.outcome for row in some)
        equivalent = sum(row.key in reasons for row in some if row.outcome == "survived")
        caught, counted = count["noticed"] + count["timeout"], len(some) - equivalent
        share = f"{caught / counted:.0%}" if counted else "-"
        return f"| {name} | {len(some)} | {caught} | {equivalent} | {counted - caught} | {share} |"

    def entry(row: Mutant, reason: str = "") -> str:
        before, after = (text.replace("|", "\\|").replace("`", "'") for text in (row.before, row.after))
        return f"| {row.module} `{row.function}` | `{before}` | `{after}` | {reason}".rstrip(" |") + " |"

    today = datetime.date.today()
    return "\n".join(
        [
            "# Mutants: how many small faults the tests notice",
            "",
            f"`python benchmarks/mutants.py`, seed {SEED}, {today}, Python {platform.python_version()}. Every"
            " mutant: [mutants.csv](mutants.csv).",
            "The head of [mutants.py](../mutants.py) says what a mutant is and which tests it meets. Equivalent: no"
            " test could notice it, for the reason given below. Share: noticed, of all that are not equivalent.",
            *([f"Not finished: fewer than {SAMPLE} have run; `make mutants` goes on."] if len(made) < SAMPLE else []),
            "",
            "| package | mutants | noticed | equivalent | missed | share |",
            "|---|--:|--:|--:|--:|--:|",
            *(line(name, [row for row in made if row.package == name]) for name in TESTS),
            line("**all**", made),
            "",
            "## Missed",
            "",
            "| where | code | mutant |",
            "|---|---|---|",
            *(entry(row) for row in sorted(left, key=lambda row: (row.module, row.line))),
            "",
            "## Equivalent",
            "",
            "| where | code | mutant | why it cannot be noticed |",
            "|---|---|---|---|",
            *(entry(row, reasons[row.key]) for row in sorted(same, key=lambda row: (row.module, row.line))),
            "",
        ]
    )


def present(row: Mutant, root: Path) -> Mutant | None:
    """Return a mutant of an earlier run as the code has it now, or None where its line has gone."""
    for found in mutants_of(row.package, root).values():
        for option in found:
            if (option.module, option.function, option.operator) != (row.module, row.function, row.operator):
                continue
            if mutated(option, root) is not None and option.key == row.key:
                return option
    return None


def main() -> None:
    """Run the sample, or the survivors again, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=SAMPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this many minutes")
    parser.add_argument("--again", action="store_true", help="run only what survived, on the code as it is now")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--only", nargs="*", default=list(TESTS), help="packages")
    given = parser.parse_args()
    csv_file = RESULTS / "mutants.csv"
    rows, end = read_rows(csv_file), time.monotonic() + 60 * given.minutes
    if not given.table:
        os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
        for name in PREFERRED:
            with suppress(ImportError):
                importlib.import_module(name)
        with tempfile.TemporaryDirectory() as folder:
            root = copy_of_tree(Path(folder).resolve() / "tree")
            if given.again:
                wanted = [row for row in rows if row.outcome == "survived" and row.package in given.only]
                wanted.sort(key=lambda row: row.package)
            else:
                known = {(row.module, row.line, row.operator, row.occurrence) for row in rows}
                wanted = [m for m in sample(root, given.size, given.seed) if m.package in given.only]
                wanted = [m for m in wanted if (m.module, m.line, m.operator, m.occurrence) not in known]
            noted: dict[str, dict[str, Any]] = {}
            for i, mutant in enumerate(wanted):
                if time.monotonic() > end:
                    break
                now = present(mutant, root) if given.again else mutant
                if now is None:
                    mutant.outcome = "no change"
                    continue
                if now.package not in noted:
                    noted[now.package] = notes(now.package, root)
                meet(now, root, noted[now.package])
                if given.again:
                    rows[rows.index(mutant)] = now
                else:
                    rows.append(now)
                write_rows(csv_file, rows)
                done = f"{i + 1}/{len(wanted)} {now.outcome} {now.seconds} s"
                print(f"{done} {now.module}:{now.line} {now.after}", flush=True)
    write_rows(csv_file, rows)
    (RESULTS / "mutants.md").write_text(table(rows, explained(RESULTS / "equivalent.csv")), encoding="utf-8")


if __name__ == "__main__":
    main()
