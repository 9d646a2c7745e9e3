"""The program that waits for a run's turn: it imports nothing of PDC, leaves when asked, then becomes the worker."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from pdc_core.runs import waiting
from pdc_core.runs.waiting import LOOK_EVERY, REQUESTS

WORKER = (sys.executable, "-c", "import os; print(os.getpid(), 'works')")
LIMIT = 30.0  # seconds; against hanging


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was launched a moment ago."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(json.dumps({"state": "queued", "queued_at": 1.0, "step": 7}))
    return tmp_path / "run"


def waiter(folder: Path) -> subprocess.Popen[str]:
    """Start the program as `launch` does."""
    command = [sys.executable, "-P", waiting.__file__, str(folder), *WORKER]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def status(folder: Path) -> dict[str, object]:
    return json.loads((folder / "status.json").read_text())


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_waits_in_little_memory_since_it_imports_nothing_of_pdc() -> None:
    looking = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", looking, waiting.__file__], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "json" in loaded
    assert not loaded & {"pdc_core", "torch", "numpy", "pydantic"}


def test_where_nothing_trains_the_worker_begins_at_once(folder: Path) -> None:
    program = waiter(folder)
    text, _ = program.communicate(timeout=LIMIT)
    assert text.endswith("works\n")
    if os.name != "nt":
        assert int(text.split()[0]) == program.pid, "stopping the process that was launched stops the worker"


def test_it_waits_while_another_run_trains_and_says_so(folder: Path) -> None:
    with FileLock(waiting.queue_lock(folder)):
        program = waiter(folder)
        until(lambda: status(folder).get("message") == "1 before this one")
        assert waiting.is_locked(folder / "worker.lock")
        assert status(folder) | {"heartbeat": 0, "host": ""} == {
            "state": "queued", "queued_at": 1.0, "step": 7, "message": "1 before this one", "heartbeat": 0,
            "pid": program.pid, "host": "",
        }  # fmt: skip
    assert program.communicate(timeout=LIMIT)[0].endswith("works\n")
    assert not waiting.is_locked(folder / "worker.lock")


def test_of_two_that_wait_the_one_that_was_queued_first_goes_first_while_it_starts_too(folder: Path) -> None:
    early = folder.with_name("a later name")
    early.mkdir()
    (early / "worker.lock").touch()
    (early / "status.json").write_text(json.dumps({"state": "queued", "queued_at": 0.5, "heartbeat": time.time()}))
    assert waiting.waiting_before(folder) == 1, "nobody holds its lock: it is on its way"
    long_ago = {"state": "queued", "queued_at": 0.5, "heartbeat": time.time() - 2 * waiting.STARTING}
    (early / "status.json").write_text(json.dumps({**long_ago, "pid": os.getpid(), "host": platform.node()}))
    assert waiting.waiting_before(folder) == 0, "it was killed, and its number is another process's now"
    (early / "status.json").write_text(json.dumps({"state": "running", "queued_at": 0.5}))
    assert waiting.waiting_before(folder) == 0


@pytest.mark.parametrize(("request_", "state"), REQUESTS.items())
def test_a_run_that_is_asked_to_end_while_it_waits_never_begins(folder: Path, request_: str, state: str) -> None:
    with FileLock(waiting.queue_lock(folder)):
        program = waiter(folder)
        until(lambda: status(folder).get("message") == "1 before this one")
        (folder / "request").write_text(request_)
        text, _ = program.communicate(timeout=LIMIT + LOOK_EVERY)
    assert (text, program.returncode) == ("", 0)
    assert status(folder)["state"] == state
    assert str(status(folder)["message"]).lower().startswith(f"{state} while it waited")
    assert not (folder / "request").exists()


def test_those_who_ask_for_a_lock_at_once_do_not_find_each_others(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(lambda _: waiting.is_locked(tmp_path / "lock"), range(2000)))
    with FileLock(tmp_path / "lock"):
        assert waiting.is_locked(tmp_path / "lock")
    assert not waiting.is_locked(tmp_path / "none")


@pytest.mark.parametrize("pid", ["12 monkeys", 10**30, [7], {}])
def test_a_damaged_process_number_is_nobodys(pid: object) -> None:
    assert not waiting.is_starting({"state": "queued", "pid": pid, "host": platform.node()})
