"""The option `--dry-run`: what a run would do and take."""

from __future__ import annotations

import time
from dataclasses import asdict

from rich.console import Console

from pdc_core.cli.options import FLOPS, print_json, stdout
from pdc_core.data import load_data, subset
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.models import load_model
from pdc_core.models.load import NAMED, RANDOM, SHIPPED
from pdc_core.runs import RunSpec, runs_root
from pdc_core.runs.budget import BUSY, forecast_of, within_budget
from pdc_core.runs.teachers import load_teacher, written_teacher
from pdc_core.train import check_teacher


def print_forecast(spec: RunSpec, as_json: bool) -> None:
    """Print steps, MACs, memory and time of a run, from ten timed steps; nothing is written."""
    began = time.perf_counter()
    data = load_data(spec.data)
    planned = spec.with_plan()
    teacher = None
    if spec.teacher is not None:
        teacher = load_teacher(written_teacher(spec.teacher, runs_root()), spec.model, spec.data)
        check_teacher(teacher, data)
    try:
        downloaded = spec.weights in NAMED and spec.weights != SHIPPED  # which a dry run does not do
        weights = RANDOM if downloaded else spec.weights
        model = load_model(spec.model, data=spec.data, weights=weights, seed=spec.seed)
    except PDCError as error:
        if weights == RANDOM:
            raise
        model = load_model(spec.model, data=spec.data, weights=RANDOM, seed=spec.seed)
        Console(stderr=True, soft_wrap=True).print(f"Timed with random weights: {error}", markup=False)
    chosen = ""
    if planned.budget is not None:
        planned, chosen = within_budget(planned, model, data, teacher, began)
    if planned.images is not None:
        data = subset(data, planned.images, planned.seed)
    found = forecast_of(planned, model, data, teacher)
    if as_json:
        print_json(asdict(found) | {"busy": found.busy})
        return
    cut = f" to {found.macs_after:,} ({1 - found.macs_after / found.macs_before:.1%} cut)" if planned.plan else ""
    smaller = f" to {found.params_after:,}" if planned.plan else ""
    lines = (
        f"{spec.title} {spec.model} on {spec.data}: {found.epochs} epochs of {found.images:,} images, "
        f"{found.steps:,} steps of {spec.training.batch_size}",
        f"MACs of one image: {found.macs_before:,}{cut}; parameters: {found.params_before:,}{smaller}",
        f"time per step: {1000 * found.step_seconds:.0f} ms on {found.device}; run: about {duration(found.seconds)}",
        f"memory: at most {found.memory / 2**20:,.0f} MiB" if found.memory else "memory: not known on this system",
        FLOPS,
    )
    for line in (*([chosen] if chosen else []), *lines, *([BUSY] if found.busy and not chosen else [])):
        stdout().print(line, markup=False, highlight=False)
