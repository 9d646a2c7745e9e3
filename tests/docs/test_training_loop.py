"""The page on training loops does what it says: its code runs as it stands, one block after the other."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import pdc_core as pdc

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "training-loop.md"


def test_the_code_of_the_page_runs_and_folds(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    torch.manual_seed(0)
    exec(blocks[0], names)
    assert "tied: fold() gives the small network" in capsys.readouterr().out
    assert pdc.check_equal(names["model"].eval(), names["small"].eval(), names["images"]).equal
    exec(blocks[1], names)
    before, example = names["model"].eval(), names["images"][:1]
    assert pdc.check_equal(before, names["small"].eval(), names["images"][:64]).equal
    for folded in (names["small"], names["averaged"]):
        assert pdc.cost(folded, example).macs == names["pruner"].summary().macs_end < pdc.cost(before, example).macs
    for block in blocks[2:]:
        exec(block, names)
        assert names["callback"].folded is None
