"""How long a class waits: visitors over all pages of one server, beside one training. Writes results/classroom.md.

    python benchmarks/classroom.py                         # 30 visitors, 3 minutes
    python benchmarks/classroom.py --visitors 4 --seconds 30 --no-training --out -

Visitors speak the protocol of the browser: a websocket with Streamlit's messages, the cookie of a class, and the
repeated runs that pages ask for. A visitor acts every 3 seconds: opens a page, or moves a control of the page that is
open. A time is that from sending an act to the end of the script that answers it; drawing in the browser comes on top.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets
from serving import ROOT, served
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

RESULTS = Path(__file__).parent / "results"
EVERY = 3.0  # seconds between two acts of a visitor
PAGES = ("model", "filters", "plan", "distil", "compare", "learn", "class")
# Controls that a visitor uses on each page, by their labels.
CONTROLS = {
    "model": ("Cost",),
    "filters": ("Layer", "Clusters kept", "Details"),
    "plan": ("Keep ratio of all layers [%]", "Colour and chart"),
    "distil": ("Epochs", "Learning rate"),
    "compare": ("Cost", "Accuracy"),
    "learn": ("Step",),
    "class": (),
}
WANTED = {"median": 0.5, "95 %": 2.0, "memory": 2.0}  # seconds, seconds, GiB


@dataclass
class Measured:
    """What all visitors saw: seconds by page and kind of act, errors, and acts that came too late to be sent."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    late: int = 0

    def of(self, page: str) -> list[float]:
        """Return the seconds of all acts on a page, "" for all pages."""
        return sorted(s for (name, _), values in self.seconds.items() if page in ("", name) for s in values)


class Visitor:
    """One browser: a session with its cookie, the controls of the open page, and the repeated runs of its fragments."""

    def __init__(self, address: str, number: int, measured: Measured) -> None:
        self.address, self.measured = address, measured
        self.random = random.Random(number)
        self.pages: dict[str, str] = {}
        self.page, self.query = "model", ""
        self.controls: dict[str, tuple[str, Any]] = {}  # by label: the kind and the last message
        self.states: dict[str, WidgetState] = {}
        self.timers: dict[str, asyncio.Task[None]] = {}
        self.ended = asyncio.Event()

    async def visit(self, began: float, until: float, warm: tuple[str, ...] = ("model",)) -> None:
        """Open some pages, which is not measured, and from a time on act until another."""
        url = self.address.replace("http", "ws") + "/_stcore/stream"
        async with websockets.connect(
            url, subprotocols=["streamlit"], max_size=None, ping_interval=None
        ) as self.socket:
            self.listening = asyncio.create_task(self._listen())
            try:
                for page in warm:
                    await self._act("open", page, measure=False)
                await asyncio.sleep(max(0.0, began - time.monotonic()))
                acts = self._acts()
                due = began + self.random.uniform(0, EVERY)
                while due < until:
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await next(acts)
                    due += EVERY
                    while due < time.monotonic():  # the answer took longer than a person waits to act again
                        due += EVERY
                        self.measured.late += 1
            finally:
                for timer in (self.listening, *self.timers.values()):
                    timer.cancel()

    def _acts(self) -> Iterator[Any]:
        while True:
            pages = list(PAGES)
            self.random.shuffle(pages)
            for page in pages:
                yield self._act("open", page)
                for label in self.random.sample(CONTROLS[page], min(2, len(CONTROLS[page]))):
                    yield self._act("control", page, label)

    async def _act(self, kind: str, page: str, label: str = "", measure: bool = True) -> None:
        if kind == "open":
            self.page, self.query = page, ""
            self.controls = {}
            self.states = {}
            self._stop_timers()
        elif not self._move(label):
            self.measured.errors.append(f"{page}: there is no control «{label}»")
            return
        self.ended.clear()
        began = time.monotonic()
        await self._send(named=kind == "open")
        answered = asyncio.create_task(self.ended.wait())
        await asyncio.wait({answered, self.listening}, timeout=120, return_when=asyncio.FIRST_COMPLETED)
        if self.listening.done():
            self.listening.result()
        if not self.ended.is_set():
            answered.cancel()
            raise TimeoutError(f"{page} gave no answer in 120 s")
        if measure:
            self.measured.seconds[page, kind].append(time.monotonic() - began)

    def _move(self, label: str) -> bool:
        """Give a control another value, as its part of the browser would."""
        kind, proto = self.controls.get(label, ("", None))
        if proto is None:
            return False
        state = WidgetState(id=proto.id)
        if kind == "selectbox":
            state.string_value = self.random.choice(list(proto.options))
        elif kind == "button_group":
            state.string_array_value.data.append(self.random.choice([o.content for o in proto.options]))
        elif kind == "slider":
            if proto.options:
                state.string_array_value.data.append(self.random.choice(list(proto.options)))
            else:
                state.double_array_value.data.append(float(self.random.randint(int(proto.min), int(proto.max))))
        elif kind == "number_input":
            state.double_value = (
                self.random.choice([0.02, 0.03]) if proto.max <= 1 else float(self.random.randint(1, 20))
            )
        else:
            return False
        self.states[proto.id] = state
        return True

    async def _send(self, named: bool = False, fragment: str = "") -> None:
        message = BackMsg()
        run = message.rerun_script
        run.query_string = self.query
        run.context_info.url = f"{self.address}/{self.page}"
        run.context_info.timezone = "UTC"
        if fragment:
            run.fragment_id, run.is_auto_rerun = fragment, True
        if named and self.page not in self.pages:
            run.page_name = "" if self.page == "model" else self.page
        else:
            run.page_script_hash = self.pages.get(self.page, "")
        run.widget_states.widgets.extend(self.states.values())
        await self.socket.send(message.SerializeToString())

    async def _listen(self) -> None:
        async for raw in self.socket:
            message = ForwardMsg()
            message.ParseFromString(raw if isinstance(raw, bytes) else raw.encode())
            self._take(message)

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.pages.update({page.url_pathname: page.page_script_hash for page in message.navigation.app_pages})
        elif kind == "new_session" and not message.metadata.run.fragment_ids:
            self._stop_timers()
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            again = message.auto_rerun
            self._stop_timer(again.fragment_id)
            self.timers[again.fragment_id] = asyncio.create_task(self._repeat(again.fragment_id, again.interval))
        elif kind == "stop_auto_rerun":
            self._stop_timer(message.stop_auto_rerun.fragment_id)
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._note(message.delta.new_element)
        elif kind == "script_finished":
            finished = message.script_finished
            if finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                self.ended.set()
            elif finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.measured.errors.append(f"{self.page}: the page does not compile")
                self.ended.set()

    def _note(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        proto = getattr(element, kind)
        if kind == "exception":
            self.measured.errors.append(f"{self.page}: {proto.type} {proto.message[:200]}")
        elif kind in ("selectbox", "button_group", "slider", "number_input"):
            known = self.controls.get(proto.label)
            if known is None or known[1].id == proto.id:  # of two with one label, the first
                self.controls[proto.label] = kind, proto

    async def _repeat(self, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            with suppress(websockets.ConnectionClosed):
                await self._send(fragment=fragment)

    def _stop_timers(self) -> None:
        for fragment in list(self.timers):
            self._stop_timer(fragment)

    def _stop_timer(self, fragment: str) -> None:
        if fragment in self.timers:
            self.timers.pop(fragment).cancel()


@contextmanager
def training(runs: Path) -> Iterator[None]:
    """Train beside the visitors, as a run of one of them that is longer than the measurement."""
    folder = runs / "class" / ("0" * 16) / "20260101-000000-distil-0000"
    worker = subprocess.Popen(
        [sys.executable, "-m", "pdc_core", "distil", "--data", "clothing", "--keep", "0.25", "--epochs", "1000",
         "--out", str(folder)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
        if worker.poll() is not None:
            raise SystemExit("The training ended before the measurement did.")
    finally:
        worker.terminate()
        worker.wait(timeout=60)


def peak_memory(process: int) -> float:
    """Return the most memory that a process has used, in GiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 2**20


async def crowd(address: str, visitors: int, seconds: float, measured: Measured) -> None:
    """Let visitors come one after another, then act all at once for some time."""
    # A lecturer who looked at all pages before: modules are imported, and caches filled.
    await Visitor(address, -1, measured).visit(0.0, 0.0, PAGES)
    began = time.monotonic() + 2 + 0.5 * visitors
    people = [Visitor(address, number, measured) for number in range(visitors)]
    tasks = []
    for person in people:
        tasks.append(asyncio.create_task(person.visit(began, began + seconds)))
        await asyncio.sleep(0.5)
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, BaseException):
            measured.errors.append(f"a visitor left: {type(done).__name__} {done}")


def table(measured: Measured) -> list[str]:
    """Return the rows of the result."""
    rows = ["| page | acts | median | 95 % within | longest |", "|---|--:|--:|--:|--:|"]
    for page in (*PAGES, ""):
        times = measured.of(page)
        if times:
            at = times[min(len(times) - 1, int(0.95 * len(times)))]
            name = page.capitalize() or "**all**"
            rows.append(
                f"| {name} | {len(times)} | {statistics.median(times):.2f} s | {at:.2f} s | {times[-1]:.2f} s |"
            )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--training", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", default=str(RESULTS / "classroom.md"), help="a file, or - for none")
    asked = parser.parse_args()
    measured = Measured()
    with served(PDC_CLASS="1") as app:
        address, process, runs = app.address, app.pid, app.runs
        if asked.training:
            with training(runs):
                asyncio.run(crowd(address, asked.visitors, asked.seconds, measured))
        else:
            asyncio.run(crowd(address, asked.visitors, asked.seconds, measured))
        memory = peak_memory(process)
    rows = table(measured)
    median, most, gibibytes = WANTED.values()
    wanted = f"Wanted: median {median} s, 95 % within {most:.0f} s, no error, {gibibytes:.0f} GiB."
    found = f"Memory of the server: {memory:.2f} GiB at most. Errors: {len(measured.errors)}. Acts left out because "
    found += f"the answer before took longer than {EVERY:.0f} s: {measured.late}. {wanted}"
    print("\n".join([*rows, "", found, *dict.fromkeys(measured.errors)]))
    if asked.out != "-":
        import streamlit

        beside = "one training beside them" if asked.training else "nothing beside them"
        head = (
            f"Written by `python benchmarks/classroom.py` on {datetime.date.today()}: {asked.visitors} visitors for "
            f"{asked.seconds:.0f} s, each acting every {EVERY:.0f} s, {beside}, on {os.cpu_count()} cores (load at the "
            f"end: {os.getloadavg()[0]:.1f}), streamlit {streamlit.__version__}, Python {platform.python_version()}."
        )
        Path(asked.out).write_text("\n".join(["# A class on one server", "", head, "", *rows, "", found]) + "\n")


if __name__ == "__main__":
    main()
