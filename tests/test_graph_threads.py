"""Tracing beside other threads: torch.fx patches nn.Module for the whole process, and nobody else may notice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

import pdc_core as pdc


def test_networks_run_in_other_threads_while_one_is_traced_again_and_again() -> None:
    model = pdc.load_model("resnet20", data="digits", weights=False)
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    with torch.no_grad():
        expected = model(x)
    stop, wrong = threading.Event(), []

    def run() -> None:
        while not stop.is_set():
            with torch.no_grad():
                y = model(x)  # the very network that is being traced
            if type(y) is not torch.Tensor or not torch.equal(y, expected):
                wrong.append(y)

    runner = threading.Thread(target=run)
    runner.start()
    try:
        with ThreadPoolExecutor(4) as several:
            graphs = list(several.map(lambda _: pdc.trace(model, x), range(24)))
    finally:
        stop.set()
        runner.join()
    assert not wrong
    assert len({repr(graph.groups) for graph in graphs}) == 1
