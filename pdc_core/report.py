"""A finished run as one HTML page that opens without a network: numbers, charts, plan and command.

Made from the run folder alone. Everything in the folder is written as text, never as markup.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pdc_core import charts
from pdc_core.analysis.trajectories import read_trajectory
from pdc_core.errors import PDCError
from pdc_core.runs import Report, Run, run_command

if TYPE_CHECKING:
    import plotly.graph_objects as go

INK = "#1c2126"
_NETWORKS = (("before", "trained network"), ("reconstructed", "clusters tied"), ("folded", "duplicates removed"))
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2126; background: #fff; max-width: 1080px; margin: 2rem auto;
       padding: 0 1.5rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .35rem .9rem; border-bottom: 1px solid #d9dee3;
       text-align: right } th:first-child, td:first-child { text-align: left } figure { margin: 1.5rem 0 }
pre { background: #f3f5f7; padding: .8rem; overflow: auto } figcaption { color: #555 }
"""


def html_report(run: Run) -> str:
    """Return the page of a run that is done, plotly included: about 5 MB of text.

    Parameters
    ----------
    run : Run
        From `read_run`.

    Raises
    ------
    PDCError
        The run has no report of a folded network yet.
    """
    report = run.results
    if report is None or report.folded is None:
        raise PDCError(f"The run {run.id} has no folded network to report on; it is {run.state}.")
    from plotly.offline import get_plotlyjs

    what = "trained as long, not pruned" if report.macs_cut == 0 else "folded"
    title = f"{run.spec.model} on {run.spec.data}, {what}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_sentence(run.id, report)}</p>",
        _table(report),
        f"<p>{escape(_trained(report))}</p>",
        *([f"<p>{charts.accuracy_caption(report.test_images)}</p>"] if report.test_images else []),
        *(_figure(chart, i) for i, chart in enumerate(_figures(run, report))),
        "<h2>Run it again</h2>",
        "<p>Save the plan below as plan.json. The complete run file is run.yaml in the run folder.</p>",
        f"<pre>{escape(run_command(run.spec))}</pre>",
        f"<details><summary>The plan</summary><pre>{escape(run.spec.plan.to_json() if run.spec.plan else '')}</pre>"
        f"</details><details><summary>All settings</summary><pre>"
        f"{escape(json.dumps(run.spec.model_dump(mode='json', exclude={'plan'}), indent=2))}</pre></details>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>{''.join(body)}</body></html>"
    )


def _sentence(run_id: str, report: Report) -> str:
    if report.macs_cut == 0:
        return (
            f"Run {escape(run_id)}: test accuracy {report.before.test_accuracy:.2%} before and "
            f"<b>{report.result.test_accuracy:.2%}</b> after training. Nothing was pruned: the "
            "change is training's alone."
        )
    same = "every" if report.same_predictions else "NOT every"
    exact = (
        f" Folding changed no logit of {report.compared} by more than {report.max_abs_diff:.1e}; {same} test image "
        "keeps its class."
        if report.was_folded
        else ""
    )
    return (
        f"Run {escape(run_id)}: test accuracy {report.before.test_accuracy:.2%} before and "
        f"<b>{report.result.test_accuracy:.2%}</b> folded, with <b>{report.macs_cut:.1%} of the MACs cut</b> "
        f"(residual sums: {escape(str(report.residual))}).{exact} MACs are multiply-accumulates of conv and linear "
        "layers for one image, what the pruning literature calls FLOPs."
    )


def _trained(report: Report) -> str:
    """Return on how many images a run trained, and who taught."""
    said = f"Trained on {report.train_images:,} images." if report.train_images is not None else ""
    if report.teacher is not None:
        said += f" Teacher: {report.teacher.name}, test accuracy {report.teacher.test_accuracy:.2%}."
    return said.strip()


def _table(report: Report) -> str:
    batches = list(report.before.latency)
    head = ["network", "test accuracy", "MACs", "parameters", *(f"{b} images [ms]" for b in batches)]
    rows = []
    for name, words in _NETWORKS:
        at = report.networks[name]
        times = [f"{1000 * at.latency[b]:.2f}" if b in at.latency else "" for b in batches]
        cells = [f"{name}: {words}", f"{at.test_accuracy:.2%}", f"{at.macs:,}", f"{at.params:,}", *times]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return "<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + f"</tr>{''.join(rows)}</table>"


def _figures(run: Run, report: Report) -> list[go.Figure]:
    epochs = run.spec.training.epochs
    networks = pd.DataFrame(
        [
            {"run": run.id, "stage": stage, "cost": at.macs / 1e6, "accuracy": at.test_accuracy}
            for stage, at in report.networks.items()
        ]
    )
    train = pd.DataFrame([e for e in run.events if e.get("kind") == "train"])
    measured = pd.DataFrame([e for e in run.events if e.get("kind") == "evaluation"])
    found = [
        charts.accuracy_against(networks, "MACs", "of one image [millions]", n_test=report.test_images),
        charts.before_after_bars(pd.DataFrame([width.model_dump() for width in report.widths]), "Filters", ""),
    ]
    if len(train) and len(measured):
        found += [
            charts.loss_curves(train, epochs),
            charts.accuracy_curve(measured, epochs, (report.teacher or report.before).val_accuracy),
        ]
        if report.was_folded:
            found.append(charts.tying_curves(train, epochs))
    moving = _motion(run)
    return [*found, moving] if moving is not None else found


def _motion(run: Run) -> go.Figure | None:
    """Return the animation of the largest group that was recorded, or None."""
    try:
        found = read_trajectory(run.folder / "trajectory.npz")
        with np.load(run.folder / "labels.npz", allow_pickle=False) as file:
            labels = {name: file[name].astype(np.int64) for name in file.files}
    except (PDCError, OSError, ValueError):  # older runs have none; the page does without
        return None
    fitting = [n for n, p in found.points.items() if n in labels and labels[n].shape == p.shape[1:2]]
    if not fitting:
        return None
    name = max(fitting, key=lambda n: len(labels[n]))
    return charts.motion(found.points[name], labels[name], found.steps, name, found.share[name])


def _figure(chart: go.Figure, number: int) -> str:
    chart.update_layout(font={"color": INK}, paper_bgcolor="#fff", plot_bgcolor="#fff", autosize=True)
    config: dict[str, Any] = {
        "displaylogo": False, "responsive": True, "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "svg", "filename": f"chart-{number}"},
    }  # fmt: skip
    inner = chart.to_html(
        full_html=False, include_plotlyjs=False, config=config, div_id=f"chart-{number}", auto_play=False
    )
    alt = escape(str(chart.layout.meta["alt"]), quote=True)
    return f'<figure role="img" aria-label="{alt}">{inner}<figcaption>{alt}</figcaption></figure>'
