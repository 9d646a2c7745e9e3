"""The lesson's numbers, each against a formula written out: scipy's correlation, batch norm by hand, algebra."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

import pdc_core as pdc
from pdc_core import lesson
from pdc_core.lesson.removing import _add_channels


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    data = pdc.load_data("digits")
    return data.test.images[3:4] / 255.0


def _by_hand(model: lesson.SmallNetwork, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """relu(gamma (W * x - mu) / sqrt(var + eps) + beta) and its sum over the reader's kernels, in numpy and scipy."""
    x, norm = image[0, 0].double().numpy(), model.norm
    channels = []
    for i in range(3):
        y = correlate2d(x, model.filters.weight[i, 0].numpy(), mode="same")
        y = (y - float(norm.running_mean[i])) / np.sqrt(float(norm.running_var[i]) + norm.eps)
        channels.append(np.maximum(0, float(norm.weight[i]) * y + float(norm.bias[i])))
    stacked = np.stack(channels)
    return stacked, np.tensordot(model.reader.weight.flatten().numpy(), stacked, axes=1)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_network_computes_what_stands_on_the_page(image: torch.Tensor, strength: float) -> None:
    model = lesson.pull(lesson.small_network(), strength)
    seen, (channels, output) = lesson.look(model, image), _by_hand(model, image)
    np.testing.assert_allclose(seen.channels, channels, atol=1e-12)
    np.testing.assert_allclose(seen.output, output, atol=1e-12)


def test_pulling_moves_both_filters_towards_their_mean_and_leaves_the_third_alone() -> None:
    model = lesson.small_network()
    w, half = model.filters.weight, lesson.pull(model, 0.5).filters.weight
    mean = (w[0] + w[1]) / 2
    torch.testing.assert_close(half[0], (w[0] + mean) / 2)
    torch.testing.assert_close(half[1], (w[1] + mean) / 2)
    assert torch.equal(half[2], w[2])
    assert torch.equal(w, lesson.small_network().filters.weight)  # the network itself stays


def test_the_distance_of_two_filters_falls_to_nothing_as_the_strength_rises(image: torch.Tensor) -> None:
    model = lesson.small_network()
    distances = [lesson.distance(lesson.pull(model, s / 4), image) for s in range(5)]
    assert all(a > b for a, b in pairwise(distances))
    assert distances[-1] == 0.0


def test_errors_of_delete_zero_and_merge_are_those_written_out(image: torch.Tensor) -> None:
    model = lesson.small_network()
    channels, _ = _by_hand(model, image)
    v, norm = model.reader.weight.flatten().numpy(), model.norm
    errors = lesson.removal_errors(model, image)
    assert errors["delete"] == pytest.approx(np.abs(v[1] * channels[1]).max())
    root = np.sqrt(float(norm.running_var[1]) + norm.eps)
    constant = max(0.0, float(norm.bias[1]) - float(norm.weight[1]) * float(norm.running_mean[1]) / root)
    assert constant > 0  # a filter of zeros still speaks, through its norm
    assert errors["zero"] == pytest.approx(np.abs(v[1] * (channels[1] - constant)).max())
    _, tied = _by_hand(lesson.pull(model, 1.0), image)
    assert errors["merge"] == pytest.approx(np.abs(tied - _by_hand(model, image)[1]).max())


def test_only_merging_is_exact_once_the_filters_are_equal(image: torch.Tensor) -> None:
    errors = lesson.removal_errors(lesson.pull(lesson.small_network(), 1.0), image)
    assert errors["merge"] < 1e-12 < 0.1 < min(errors["delete"], errors["zero"])


def test_the_nearest_pair_changes_with_the_gap() -> None:
    assert lesson.nearest(lesson.small_network(0.3)) == (0, 1)
    assert lesson.nearest(lesson.small_network(5.0)) != (0, 1)


def test_channel_addition_adds_the_readers_kernels_and_keeps_the_sum(image: torch.Tensor) -> None:
    tied = lesson.pull(lesson.small_network(), 1.0)
    found = lesson.addition(tied, image, 3, 3)
    assert found.v == (0.8, 0.5, -0.6)
    assert found.merged_v == pytest.approx((1.3, -0.6))
    assert found.a[0] == found.a[1] == found.merged_a[0]
    assert found.before == pytest.approx(found.after, abs=1e-12)
    assert found.before == pytest.approx(lesson.look(tied, image).output[3, 3])


def test_addition_refuses_untied_filters_and_pixels_outside(image: torch.Tensor) -> None:
    with pytest.raises(pdc.PDCError, match="not identical"):
        lesson.addition(lesson.small_network(), image, 3, 3)
    with pytest.raises(pdc.PDCError, match="rows are 0 to 7"):
        lesson.addition(lesson.pull(lesson.small_network(), 1.0), image, 8, 0)


def test_every_tensor_left_untied_makes_an_error_and_none_makes_none(image: torch.Tensor) -> None:
    errors = lesson.untied_errors(lesson.small_network(), image)
    assert set(errors) == {"nothing", *lesson.TIED}
    assert errors.pop("nothing") < 1e-12
    assert min(errors.values()) > 0.01
    # beta alone moves channel 1 by half the difference of the two, times the reader's 0.5, wherever ReLU lets it pass
    assert errors["beta"] <= 0.5 * 0.1 + 1e-9


def test_the_hand_made_fold_is_the_real_one_where_both_are_allowed(image: torch.Tensor) -> None:
    tied = lesson.pull(lesson.small_network(), 1.0)
    graph = pdc.trace(tied, image.double())
    real, by_hand = pdc.fold(tied, graph, {"filters": lesson.LABELS}), _add_channels(tied)
    torch.testing.assert_close(real(image.double()), by_hand(image.double()), atol=1e-12, rtol=0)


def test_around_a_sum_three_treatments_are_exact_and_pruning_one_producer_is_not(image: torch.Tensor) -> None:
    found = lesson.treatments(image)
    whole = pdc.cost(lesson.small_sum(), image.double()).macs
    assert whole == (9 * 3 + 9 + 9 + 3) * 64
    assert found["one producer"].error > 0.5
    for name in ("internal", "shared", "gather"):
        assert found[name].error < 1e-12
        assert found[name].macs < whole
    assert found["one producer"].macs == (9 * 2 + 2 * 3 + 3 * 2 + 2) * 64
    assert found["shared"].macs < found["internal"].macs


def test_an_image_of_another_kind_is_refused() -> None:
    with pytest.raises(pdc.PDCError, match="one grey image"):
        lesson.look(lesson.small_network(), torch.zeros(1, 3, 8, 8))
