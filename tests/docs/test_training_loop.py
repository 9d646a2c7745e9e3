"""The pages on training loops do what they say: their code runs as it stands, one block after the other."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import pdc_core as pdc

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def code(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_code_of_the_page_runs_and_folds(capsys):
    blocks = code("training-loop.md")
    assert len(blocks) == 3
    names: dict = {}
    torch.manual_seed(0)
    exec(blocks[0], names)
    assert "tied: fold() gives the small network" in capsys.readouterr().out
    assert pdc.check_equal(names["model"].eval(), names["small"].eval(), names["images"]).equal
    for block in blocks[1:]:
        exec(block, names)
        assert names["callback"].folded is None


def test_timms_loop_folds_the_network_and_its_moving_average():
    (block,) = code("timm.md")
    names: dict = {}
    torch.manual_seed(0)
    exec(block, names)
    before, example = names["model"].eval(), names["images"][:1]
    assert names["pruner"].done == names["updates"] == 32
    assert pdc.check_equal(before, names["small"].eval(), names["images"][:64]).equal
    for folded in (names["small"], names["averaged"]):
        assert pdc.cost(folded, example).macs == names["pruner"].summary().macs_end < pdc.cost(before, example).macs
