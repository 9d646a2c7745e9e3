"""`pdc app` serves the app, hands options on, and says what is missing where the app's files are not there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

import pdc_core as pdc
from pdc_core.cli.app_command import app_command

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def test_the_app_answers_and_ends_with_its_command(tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", "pdc_core", "app", "--port", str(port), "--server.headless", "true"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PDC_RUNS": str(tmp_path)}
    server = subprocess.Popen(words, cwd=tmp_path, env=environment, start_new_session=True)
    try:
        answer, deadline = "", time.monotonic() + 60
        while answer != "ok" and time.monotonic() < deadline:
            assert server.poll() is None
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5) as page,
            ):
                answer = page.read().decode()
            time.sleep(0.2)
        assert answer == "ok"
    finally:
        os.killpg(server.pid, signal.SIGINT)  # as Ctrl+C does: to the command and to the server that it started
        server.wait(timeout=30)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5)


def test_port_address_and_further_options_are_handed_on() -> None:
    words = app_command(8600, "0.0.0.0", ["--server.headless", "true"])
    assert words[1:4] == ["-m", "streamlit", "run"]
    assert Path(words[4]) == ROOT / "app.py"
    assert words[5:] == ["--server.port", "8600", "--server.address", "0.0.0.0", "--server.headless", "true"]


def test_an_installed_package_without_the_app_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(pdc.PDCError, match=r"The app is not installed: there is no app\.py.*`pip install -e"):
        app_command(8501, "localhost", [], path=tmp_path / "app.py")


def test_a_port_out_of_range_is_a_mistyped_command(pdc_command) -> None:
    assert pdc_command("app", "--port", 70000)[0] == 2
