"""The documentation: the site builds without a warning and is complete; whatever a page names exists."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

import pdc_core as pdc
from pdc_core.baselines import methods
from pdc_core.cli import app
from pdc_core.losses import formulas
from pdc_core.reconstruct import SCHEDULES, TyingInput, tying
from pdc_core.train import Training

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMANDS = typer.main.get_group(app).commands
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
FILE = re.compile(r"(?<![\w/.:-])[\w.-]+(?:/[\w.-]+)+\.(?:py|md|yaml|ipynb|css|js|txt|toml)\b")
FOLDER = re.compile(r"`((?:pdc_core|ui|pages|tests|benchmarks|docs|notebooks|recipes)(?:/[\w.-]+)*/?)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
COMMAND = re.compile(r"(?:^|[`\s])(?:pdc|python -m pdc_core|-m pdc_core) ([a-z_]+)(.*)", re.MULTILINE)
MODULE = re.compile(r"\bpdc_core(?:\.\w+)+")
SHORT = re.compile(r"(?<![\w/])pdc\.(\w+)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(path: Path) -> str:
    return "\n".join(found.strip("`") for found in CODE.findall(path.read_text(encoding="utf-8")))


def commands_of(path: Path) -> str:
    return re.sub(r"(?:^|\s)#.*", "", code_of(path), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, as one text per page."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}


def test_site_documents_every_public_name(site):
    page = site["reference/python.html"]
    aliases = set(re.findall(r"<tr>\s*<td><code>(\w+)</code></td>", page))
    missing = [name for name in pdc.__all__ if f'id="pdc_core.{name}"' not in page and name not in aliases]
    assert not missing


def test_site_documents_every_command_and_option(site):
    page = site["reference/command-line.html"]
    for name, command in COMMANDS.items():
        start = page.index(f'id="pdc-{name}"')
        section = page[start : page.find("<h2", start)]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.opts[0] in section, (name, parameter.opts)


def test_site_documents_every_setting(site):
    assert all(name in site["reference/python.html"] for name in Training.model_fields)


def test_formulas_are_drawn_without_a_network(site):
    assert site["method.html"].count("<math") > 10
    for name, page in site.items():
        assert not re.search(r"""<(?:script|img)[^>]*\ssrc=["']?https?:""", page), name
        assert not re.search(r"""<link[^>]*\srel=["']?(?:stylesheet|preconnect)[^>]*https?:""", page), name
        assert 'class="arithmatex"' not in page, name


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_and_folders_that_a_page_names_exist(path):
    text = path.read_text(encoding="utf-8")
    named = {found for found in FILE.findall(code_of(path)) if not re.match(r"runs/|build/|site-packages/", found)}
    named |= set(FOLDER.findall(text))
    assert not [found for found in sorted(named) if not (ROOT / found).exists()]
    assert not [found for found in LINK.findall(CODE.sub("", text)) if not (path.parent / found).exists()]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_and_options_that_a_page_names_exist(path):
    code = commands_of(path)
    for name, rest in COMMAND.findall(code):
        assert name in COMMANDS, f"pdc {name}"
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        known |= {"--build", "--build-data", "--help"}
        given = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest))
        assert given <= known, f"pdc {name}: {given - known}"
    for setting in re.findall(r"--setting ([a-z_]+)=", code):
        assert setting in Training.model_fields
    for target in re.findall(r"(?:^|\n)make ([a-z-]+)", code):
        assert target in TARGETS, f"make {target}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_modules_and_names_that_a_page_names_exist(path):
    text = path.read_text(encoding="utf-8")
    for dotted in set(MODULE.findall(text)):
        assert resolves(dotted), dotted
    assert not [name for name in SHORT.findall(code_of(path)) if not hasattr(pdc, name)]


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        parent, _, name = dotted.rpartition(".")
        return "." in dotted and resolves(parent) and hasattr(importlib.import_module(parent), name)
    return True


def added_by(diff: str, module: ModuleType) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the names of a module after the added lines of a diff, and the entries that these add to its registry."""
    lines = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    entries = [line for line in lines if line.startswith('    "') and "Variant(" in line]
    names = dict(vars(module))
    exec("\n".join(line for line in lines if line not in entries), names)
    return names, eval("{" + "".join(entries) + "}", names)


def test_variants_that_the_guide_adds_work(monkeypatch):
    text = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
    baseline, schedule, loss = re.findall(r"```diff\n(.*?)```", text, re.DOTALL)
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    graph = pdc.trace(model, torch.zeros(1, *data.shape))
    plan = pdc.Plan.uniform(graph, keep=0.5)

    _, entries = added_by(baseline, methods)
    small = entries["largest_scale"](methods.PruningInput(model, graph, plan, data))
    assert pdc.cost(small, torch.zeros(1, *data.shape)).macs == pdc.plan_cost(graph, plan).macs

    monkeypatch.setitem(SCHEDULES, "linear", None)  # so that it is gone after the test
    added_by(schedule, tying)
    settings = Training(schedule="linear", tied_after=0.5)
    linear = SCHEDULES["linear"](TyingInput(model, graph, settings, lambda network: pdc.assign(network, graph, plan)))
    assert [linear.strength_at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]

    _, entries = added_by(loss, formulas)
    f = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(entries["cosine"](f, f)) == pytest.approx(0, abs=1e-12)
    assert float(entries["cosine"](f, -f)) == pytest.approx(2)


def test_a_name_that_is_not_there_is_found_out():
    assert not resolves("pdc_core.folding.no_such_name")
    assert resolves("pdc_core.folding.addition")
    assert FILE.findall("python benchmarks/none.py") == ["benchmarks/none.py"]
    assert COMMAND.findall("pdc bake --keep 1")[0][0] not in COMMANDS
