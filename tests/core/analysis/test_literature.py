"""Published results: every row has a source, numbers fit together, and what papers do not give is missing."""

from __future__ import annotations

import re

import pytest

from pdc_core.analysis.literature import literature_networks, literature_results


@pytest.mark.parametrize(("network", "data"), literature_networks())
def test_every_published_result_has_a_source_and_plausible_numbers(network: str, data: str) -> None:
    table = literature_results(network, data)
    assert len(table) >= 10
    for row in table.itertuples():
        assert re.fullmatch(r"arXiv:\d{4}\.\d{5}|doi:10\.\S+", row.source), row.method
        assert 2016 <= row.year <= 2026
        assert 0 < row.macs_cut < 1
        assert -0.1 < row.change < 0.02
        assert row.distilled in ("yes", "no", "")
        assert row.fine_tuned in ("yes", "no", "")
        assert row.repeats in ("one", "several", "")
    known = table.dropna(subset=["base_accuracy", "pruned_accuracy"])
    assert (known["change"] - (known["pruned_accuracy"] - known["base_accuracy"])).abs().max() < 1e-9
    assert known["base_accuracy"].between(0.92, 0.95).all()
    assert not table.duplicated(["method", "macs_cut"]).any()


def test_what_was_checked_against_abstracts_is_there() -> None:
    # PDC's abstract: «61.5% FLOPs reduction with even 0.14% top-1 accuracy increase»; CHIP's: 0.94% at 52.1%;
    # HRank's: 58.2% with a loss of 0.14%. All of ResNet-110 on CIFAR-10.
    deep = literature_results("resnet110", "cifar10").set_index(["method", "macs_cut"])["change"]
    assert deep[("PDC", 0.615)] == pytest.approx(0.0014)
    assert deep[("CHIP", 0.521)] == pytest.approx(0.0094)
    assert deep[("HRank", 0.582)] == pytest.approx(-0.0014)
