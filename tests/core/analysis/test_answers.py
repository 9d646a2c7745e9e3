"""Answers of two networks: classes and probabilities against `evaluate` and torch, distances by their definition."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.analysis.answers import compare_answers, probabilities, total_variation

MODEL, DATA = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")


def _other() -> nn.Module:
    other = copy.deepcopy(MODEL)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.9)
    return other


def test_answers_are_those_of_each_network_alone() -> None:
    other, told = _other(), []
    found = compare_answers(MODEL, other, DATA, DATA.test.images, lambda done, total: told.append((done, total)))
    for network, said in ((MODEL, found.first), (other, found.second)):
        assert np.array_equal(said, pdc.evaluate(network, DATA, DATA.test).predictions.numpy())
    p, q = (probabilities(network, DATA, DATA.test.images) for network in (MODEL, other))
    assert np.allclose(found.distance, total_variation(p, q), atol=1e-6)
    assert np.allclose(p.sum(axis=1), 1)
    assert told[-1] == (360, 360)
    assert 0 < found.distance.max() <= 1


def test_total_variation_is_the_largest_difference_in_the_probability_of_a_set_of_classes() -> None:
    p, q = np.random.default_rng(0).dirichlet(np.ones(5), (2, 20))
    sets = [list(s) for size in range(6) for s in combinations(range(5), size)]
    largest = np.max([np.abs(p[:, s].sum(axis=1) - q[:, s].sum(axis=1)) for s in sets], axis=0)
    assert np.allclose(total_variation(p, q), largest)


def test_networks_that_cannot_be_compared_are_refused() -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 12)).eval()
    with pytest.raises(pdc.PDCError, match="10 and 12 outputs"):
        compare_answers(MODEL, wide, DATA, DATA.test.images[:3])
    with pytest.raises(pdc.PDCError, match="no logits"):
        probabilities(nn.Identity().eval(), DATA, DATA.test.images[:1])
    with pytest.raises(pdc.PDCError, match="no image"):
        compare_answers(MODEL, MODEL, DATA, DATA.test.images[:0])
