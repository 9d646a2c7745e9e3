"""An app of its own for a benchmark, on a free port and with an empty folder of runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """Where an app listens, its process, and the folder of its runs."""

    address: str
    pid: int
    runs: Path


@contextmanager
def served(**environment: str) -> Iterator[Served]:
    """Run an app with further environment variables until the block ends; it answers when the block begins."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as runs:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless=true"],
            cwd=ROOT, env={**os.environ, "PDC_RUNS": runs, **environment}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        address = f"http://localhost:{port}"
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
                    break
                except OSError:
                    time.sleep(0.1)
            yield Served(address, process.pid, Path(runs))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
