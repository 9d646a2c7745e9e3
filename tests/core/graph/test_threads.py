"""Tracing beside other threads: torch.fx patches nn.Module for the whole process, and nobody else may notice."""

from __future__ import annotations

import subprocess
import sys
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


def test_tracing_does_not_load_torchs_compiler() -> None:
    program = (
        "import sys, torch, pdc_core as pdc\n"
        "for net in (torch.nn.AdaptiveAvgPool2d(1), torch.nn.AvgPool2d(6)):\n"
        "    layers = torch.nn.Conv2d(1, 4, 3), net, torch.nn.Flatten(), torch.nn.Linear(4, 2)\n"
        "    pdc.trace(torch.nn.Sequential(*layers).eval(), torch.zeros(1, 1, 8, 8))\n"
        "pdc.trace(pdc.load_model('resnet20', weights=False), torch.zeros(1, 1, 8, 8))\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
