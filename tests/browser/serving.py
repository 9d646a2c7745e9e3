"""A server of the app on a free port, for tests in a browser."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Server:
    """A running app and the folder where its runs are."""

    address: str
    runs: Path


@contextmanager
def serving(runs: Path, log: Path, **environment: str) -> Iterator[Server]:
    """Serve the app with further environment variables until the block ends; it prints no traceback."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = ["--server.port", str(port), "--server.headless=true"]
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *options],
            cwd=ROOT,
            env={**os.environ, "PDC_RUNS": str(runs), **environment},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://localhost:{port}"
    try:
        _wait_for(address)
        yield Server(address, runs)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    output = log.read_text()
    assert "Traceback" not in output, output


def shows(place: Locator) -> None:
    """Wait until a place is there once and visible; while a page is drawn anew, old parts stay below the new ones."""
    expect(place).to_have_count(1)
    expect(place.first).to_be_visible()


def _wait_for(address: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail("The server did not start within 40 seconds.")
