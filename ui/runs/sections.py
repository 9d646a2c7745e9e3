"""Details of one run on the page Compare; only the selected part is computed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st
import torch

from pdc_core import charts
from pdc_core.baselines import WHOLE
from pdc_core.errors import PDCError
from pdc_core.folding.check import TOLERANCE
from pdc_core.runs import Report, Run
from ui.choice import lecture
from ui.drawing import figure
from ui.job_view import draw_job
from ui.runs.classes import TRY, draw_classes
from ui.runs.compare import measured_here, results_of
from ui.runs.settings import METHODS
from ui.runs.shipping import draw_shipping
from ui.runs.try_it import draw_try_it

_LABELS = {
    "before": "trained network",
    "reconstructed": "reconstructed: clusters tied",
    "folded": "folded: duplicates removed",
}


def draw_equality(run: Run) -> None:
    """Show that folding changed nothing: the check on the whole test split, and all three stages in numbers."""
    report, labels = results_of(run)[0], _LABELS
    if run.spec.method == "pdc":
        _say_equal(report)
    else:
        labels = {"before": _LABELS["before"], "folded": METHODS[run.spec.method]}
        st.markdown(
            "Nothing was pruned: this is the network before, trained as long as the pruned ones."
            if run.spec.method == WHOLE
            else "This baseline removes filters **before** it trains, so the small network is another function."
        )
    rows = [
        {
            "network": label,
            "test": 100 * at.test_accuracy,
            "validation": 100 * at.val_accuracy,
            "macs": at.macs,
            "params": at.params,
            **{f"ms{b}": 1000 * s for b, s in at.latency.items()},
        }
        for stage, at in report.networks.items()
        if (label := labels.get(stage))
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_order=["network", "test", "macs", "params"] if lecture() else None,
        column_config={
            "test": st.column_config.NumberColumn("test accuracy", format="%.2f %%"),
            "validation": st.column_config.NumberColumn("validation accuracy", format="%.2f %%"),
            "macs": st.column_config.NumberColumn("MACs of one image", format="localized"),
            "params": st.column_config.NumberColumn("parameters", format="localized"),
            "ms1": st.column_config.NumberColumn("1 image [ms]", format="%.2f"),
            "ms64": st.column_config.NumberColumn("64 images [ms]", format="%.2f"),
        },
    )
    st.caption("Latencies are medians on the machine that trained.")


def _say_equal(report: Report) -> None:
    verdict = "all test predictions are the same" if report.same_predictions else "but some predictions differ"
    st.markdown(
        f"Folding removed the duplicates and changed no logit of {report.compared} by more than "
        f"**{report.max_abs_diff:.1e}** ({report.relative_diff:.1e} of the largest logit; limit "
        f"{TOLERANCE[torch.float32]:.0e}): {verdict}. "
        "Any difference in accuracy comes from training, none from folding."
    )


def draw_speed(run: Run) -> None:
    """Time both networks on this machine, and compare with the MACs that were cut."""
    report, folded = results_of(run)
    ratio = report.before.macs / folded.macs
    try:
        job = measured_here(run)
    except (PDCError, OSError) as error:
        st.info(f"The two networks cannot be timed on this machine. {error}")
        return

    def draw(times: dict[int, tuple[float, float]]) -> None:
        figure(charts.speed_up(times, ratio), key="speed_up")
        st.caption(
            "Medians on this machine, measured one network after the other. Time usually falls less than MACs do: "
            "small layers are limited by overhead and memory, not by arithmetic."
        )

    draw_job(job, "Timing both networks at several batch sizes", draw, "speed")


SECTIONS: dict[str, Callable[[Run], None]] = {
    "Equality check": draw_equality,
    "Classes": draw_classes,
    TRY: draw_try_it,
    "Speed": draw_speed,
    "What ships": draw_shipping,
}
