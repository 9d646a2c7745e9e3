"""The page on other tasks does what it says: its code runs as it stands, and what it folds computes the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import pdc_core as pdc

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tasks.md"


def test_the_code_of_the_page_trains_folds_and_finds_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(block, names)
    for large, small, x in (("unet", "small_unet", "x"), ("classifier", "small_classifier", "images")):
        one, other, example = names[large].eval(), names[small].eval(), names[x]
        assert pdc.check_equal(one, other, example).relative < 1e-4
        assert pdc.cost(other, example[:1]).macs < 0.5 * pdc.cost(one, example[:1]).macs
    with torch.no_grad():
        masks = names["small_unet"](names["x"]) > 0
    assert float((masks == names["masks"].bool()).float().mean()) > 0.9
    assert names["losses"][-1] < names["losses"][0] / 2
    assert names["small_detector"].backbone[0].conv.out_channels == 8
    assert (tmp_path / "detector.safetensors").is_file()
    with torch.no_grad():
        twice = [net(list(names["shapes"][:2])) for net in (names["small_detector"], names["again"])]
    for a, b in zip(*twice, strict=True):
        assert torch.equal(a["boxes"], b["boxes"])
    assert sum(len(found["boxes"]) for found in names["found"]) > 0
