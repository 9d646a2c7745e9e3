"""Fixtures that several folders of tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

from pdc_core import cli

# No test is timed: machines are slower when they are shared. A change is judged by the same examples everywhere; with
# --hypothesis-profile=search new ones are drawn.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("same")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pdc_command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process, as `pdc ARGUMENTS` would; return (exit code, stdout, stderr)."""

    def run(*args: object) -> tuple[int, str, str]:
        argv, sys.argv = sys.argv, ["pdc", *map(str, args)]
        try:
            cli.main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        finally:
            sys.argv = argv
        out, err = capsys.readouterr()
        return code, out, err

    return run
