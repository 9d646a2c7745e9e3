"""What filters look for, and clusters by responses, on the page Filters: the numbers are those of the library."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.analysis.activations import activation_maps
from pdc_core.data import describe_data
from ui.filters import patches, responses, selection
from ui.jobs import jobs

Open = Callable[..., AppTest]
IMAGES = f":digits:{describe_data('digits').mean}:None"  # the end of a view's key
LAYER = "layer1.0.conv1"
MODEL, DATA = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
PLAN = pdc.Plan.uniform(GRAPH, keep=0.25)
TRAINING = DATA.prepare(DATA.train.images[:512])


def _texts(app: AppTest) -> str:
    return " ".join(each.value for each in (*app.markdown, *app.caption))


def _patches(app: AppTest) -> str:
    return next(html.value for html in app.get("html") if "validation image" in html.value)


def test_one_click_compares_by_responses_and_the_clusters_are_those_of_a_run(opened: Open) -> None:
    app = opened("filters", layer=LAYER)
    app.segmented_control(key="compared_by").set_value("activations").run()
    assert not app.exception
    plan = app.session_state["plan"]
    assert plan.vectors == "activations"
    assert list(app.dataframe[0].value["cluster"]) == list(pdc.assign(MODEL, GRAPH, plan, images=TRAINING)[LAYER])
    assert "PCA of the responses to training images" in _texts(app)
    app.segmented_control(key="compared_by").set_value("raw").run()
    assert list(app.dataframe[0].value["cluster"]) == list(pdc.assign(MODEL, GRAPH, PLAN)[LAYER])


def test_the_page_says_which_of_weights_and_responses_separates_better(opened: Open) -> None:
    app = opened("filters", layer=LAYER)
    scores = []
    for kind in ("raw", "activations"):
        labels = pdc.assign(MODEL, GRAPH, PLAN, vectors=kind, images=TRAINING)[LAYER]
        scores.append(silhouette_score(pdc.filter_vectors(MODEL, GRAPH.group(LAYER), kind, TRAINING), labels))
    said = next(caption.value for caption in app.caption if "Silhouette" in caption.value)
    assert re.findall(r"\*\*(-?\d\.\d\d)\*\*", said) == [f"{score:.2f}" for score in scores]
    better = "responses" if scores[1] > scores[0] else "raw weights"
    assert f"**{better}** separate this layer's filters better" in said


def test_chosen_filters_and_their_cluster_show_their_patches_and_how_alike_they_respond(opened: Open) -> None:
    app = opened("filters", layer=LAYER, view="What it looks for")
    labels = pdc.assign(MODEL, GRAPH, PLAN)[LAYER]
    cluster = np.flatnonzero(labels == np.bincount(labels).argmax())
    one, two = int(cluster[0]), int(cluster[-1])
    app.session_state[selection._CHOSEN] = (
        (next(iter(app.session_state["plan_histories"])) + IMAGES, LAYER),
        [one, two],
    )
    app.run()
    assert not app.exception
    maps = activation_maps(MODEL, GRAPH.group(LAYER), DATA.prepare(DATA.val.images), range(16)).reshape(16, 360, -1)
    alike = np.corrcoef(maps.reshape(16, -1))
    assert f"Similarity of responses of filters {one} and {two}: **{alike[one, two]:.2f}**" in _texts(app).replace(
        "−", "-"
    )
    pairs = alike[np.ix_(cluster, cluster)][np.triu_indices(len(cluster), 1)]
    assert f"**{pairs.mean():.2f}** on average over all pairs of its {len(cluster)} filters" in _texts(app)
    drawn = _patches(app)
    assert [int(i) for i in re.findall(r"filter (\d+)<br>", drawn)[:2]] == [one, two]
    assert sorted(int(i) for i in re.findall(r"filter (\d+)<br>", drawn)) == cluster.tolist()
    first = [int(i) for i in re.findall(r"validation image (\d+)", drawn.partition("</tr>")[0])][::2]
    assert first == np.argsort(-maps[one].max(axis=1), kind="stable")[: patches.PATCHES].tolist()


def test_others_of_a_cluster_come_in_the_order_of_their_similarity() -> None:
    similarity = np.array([[1, 0.1, np.nan, 0.8], [0.1, 1, 0, 0], [np.nan] * 4, [0.8, 0, 0, 1]], dtype=np.float32)
    assert patches.by_similarity(similarity, 0, [0, 1, 2, 3], [0]) == [3, 1, 2]


@pytest.mark.parametrize("k", [1, 16])
def test_no_silhouette_where_none_is_defined(opened: Open, k: int) -> None:
    app = opened("filters", layer=LAYER)
    app.select_slider(key=f"k_{LAYER}").set_value(k).run()
    assert not app.exception
    assert not any("Silhouette" in caption.value for caption in app.caption)


def test_what_takes_long_is_measured_when_it_is_asked_for(
    opened: Open, press: Callable[[AppTest, str], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.clear()
    monkeypatch.setattr(responses, "_UNASKED_MACS", 1.0)
    app = opened("filters", layer=LAYER)
    assert not any("Silhouette" in caption.value for caption in app.caption)
    press(app, "Measure responses")
    assert any("Silhouette" in caption.value for caption in app.caption)
