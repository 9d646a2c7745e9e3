"""What the site adds to Markdown: MathML formulas, the command-line reference, and pages that live outside docs/.

MkDocs calls the functions named `on_...` (mkdocs.yml, `hooks`). Nothing here needs a network.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import click
import typer
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
RESULTS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "benchmarks" / "results").glob("*.md"))]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", *RESULTS)
COMMANDS = "<!-- commands -->"
NO_PAGE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+(?<!\.md)\)")  # a link to a file that is no page
FORMULA = re.compile(
    r'<span class="arithmatex">\\\((?P<inline>.+?)\\\)</span>'
    r'|<div class="arithmatex">\s*\\\[(?P<block>.+?)\\\]\s*</div>',
    re.DOTALL,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere in the repository, under their paths there."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write the command-line reference, and make links that work in the repository work on the site."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n\n".join(command_sections()))
    up = "../" * (page.file.src_uri.count("/") + 1)
    inside = "../" * page.file.src_uri.count("/")
    if page.file.src_uri in OUTSIDE:  # written to be read in the repository, whose other files the site does not have
        markdown = NO_PAGE.sub(r"\1", markdown.replace("](docs/", "]("))
    for target in OUTSIDE:
        markdown = markdown.replace(f"]({up}{target}", f"]({inside}{target}")
    return markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace formulas in TeX by MathML, which browsers draw by themselves."""

    def formula(found: re.Match[str]) -> str:
        display = "block" if found["block"] else "inline"
        return convert(html.unescape(found["block"] or found["inline"]).strip(), display=display)

    return FORMULA.sub(formula, content)


def command_sections() -> Iterator[str]:
    """Yield one Markdown section per command, made from the command line itself."""
    from pdc_core.cli import app

    group = typer.main.get_group(app)
    yield "## Options before any command\n\n" + "\n".join(option_rows(group))
    for name, command in sorted(group.commands.items()):
        arguments = " ".join(p.name.upper() for p in command.params if p.param_type_name == "argument")
        lines = [
            f"## pdc {name}",
            "",
            command.help or "",
            "",
            f"```text\npdc {name} {arguments}{' ' if arguments else ''}[OPTIONS]\n```",
            "",
            *option_rows(command),
        ]
        if command.epilog:
            lines += ["", f"```bash\n{command.epilog.removeprefix('Example: ')}\n```"]
        yield "\n".join(lines)


def option_rows(command: click.Command) -> Iterator[str]:
    """Yield the table of a command's arguments and options."""
    yield "| option | default | what it does |"
    yield "|---|---|---|"
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        name = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
        nothing = parameter.default is None or parameter.required or callable(parameter.default)
        default = "required" if parameter.required else "" if nothing else f"`{parameter.default}`"
        said = (getattr(parameter, "help", None) or "").replace("|", "\\|")
        yield f"| `{name}` | {default} | {html.escape(said, quote=False)} |"
