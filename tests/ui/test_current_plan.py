"""The plan of a session and its address: links restore it, and broken ones are refused in a sentence."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

Open = Callable[..., AppTest]


def test_a_link_restores_its_plan_and_a_broken_one_is_refused_in_a_sentence(
    opened: Open,
) -> None:
    app = opened("plan", plan="1-2-3-4-5-6-7-8-9")
    assert list(app.session_state["plan"].counts.values()) == list(range(1, 10))
    for broken in (
        "1-2",
        "0-4-4-8-8-8-16-16-16",
        "99-4-4-8-8-8-16-16-16",
        "a",
        "-1",
        "1;2",
        "²-4-4-8-8-8-16-16-16",
    ):
        app = opened("plan", plan=broken)
        assert not app.exception
        assert app.error[0].value.startswith("The plan in this link was not used.")
        assert app.session_state["plan"].counts["layer1.0.conv1"] == 4


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


@pytest.mark.parametrize(
    "edits", ["x", "eJw", "!!!!", "A" * 9000, _packed('{"counts": {}}'), _packed("[1]"), _packed("{")]
)
def test_edits_of_a_broken_link_are_refused_in_a_sentence(opened: Open, edits: str) -> None:
    app = opened("plan", plan="4-4-4-8-8-8-16-16-16", edits=edits)
    assert not app.exception
    assert app.error[0].value.startswith("The plan in this link was not used.")


def test_a_link_with_edits_alone_changes_them_and_leaves_the_counts_of_the_start(opened: Open) -> None:
    app = opened("plan", edits=_packed('{"round_to": 4}').rstrip("="))
    assert not app.error
    plan = app.session_state["plan"]
    assert (plan.round_to, list(plan.counts.values())) == (4, [4, 4, 4, 8, 8, 8, 16, 16, 16])


def test_a_refusal_outlives_an_interrupted_run_and_ends_with_time_or_another_plan(
    opened: Open,
) -> None:
    app = opened("plan", plan="1-2-3")
    assert len(app.run().error) == 1, "a run that another interrupts has shown nothing yet"
    app.slider(key="plan_share").set_value(50).run()
    assert not app.error
    app = opened("plan", plan="1-2-3")
    for seconds, shown in ((1, True), (3, False)):  # it stays for two
        app.session_state["plan_refused_shown"] -= seconds
        assert bool(app.run().error) is shown


def test_the_plan_returns_to_an_address_that_has_lost_it_and_what_it_does_not_need_stays_out(opened: Open) -> None:
    app = opened("plan")
    app.slider(key="plan_share").set_value(50).run()
    written = app.query_params["plan"]
    app.query_params.clear()
    app.run()
    assert app.query_params["plan"] == written
    assert "edits" not in app.query_params


def test_what_was_typed_into_the_table_is_cleared_by_every_change_made_elsewhere(
    opened: Open, press: Callable[[AppTest, str], AppTest]
) -> None:
    app = opened("plan")
    versions = [app.session_state["plan_version"]]  # the table of another version is a new one
    app.slider(key="plan_share").set_value(50).run()
    versions.append(app.session_state["plan_version"])
    for label in ("Undo", "Redo"):
        versions.append(press(app, label).session_state["plan_version"])
    assert versions == sorted(set(versions))
    assert app.run().session_state["plan_version"] == versions[-1]
