"""Class: who trains, who waits and how long; what a visitor keeps here; and the lecturer's tools."""

from __future__ import annotations

import streamlit as st

from pdc_core.classroom import SHORTEST_PIN
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.runs import request_stop
from ui.choice import link_parameters
from ui.class_queue import Place, class_queue
from ui.classroom import LIMITS, in_class, own_root, size_of
from ui.current_plan import plan_parameters
from ui.housekeeping import remove_uploads
from ui.job_view import in_words
from ui.learn.steps import STEPS
from ui.lecturer import give_pin, has_pin, is_lecturer, leave
from ui.navigation import PAGES
from ui.page import open_page
from ui.preset import make_preset, read_preset, write_preset
from ui.visitors import visitor

open_page("Class", "Whose turn is it? One run trains at a time, and each visitor has one in the queue.")
if not in_class():
    st.info("This server does not serve a class. Whoever starts it can: pdc app --class")
    st.stop()


@st.fragment(run_every=2.0)
def draw_queue() -> None:
    """Draw the queue, and for a lecturer a button beside each run that stops it."""
    queue = class_queue()
    if not queue:
        st.markdown("No run trains or waits.")
    for i, place in enumerate(queue):
        wait = sum(before.seconds for before in queue[:i])
        row = st.container(horizontal=True, vertical_alignment="center")
        row.markdown(f"**{i + 1}.** {_owner(place)}: {_doing(place, wait)}")
        if is_lecturer() and row.button("Stop", key=f"stop_{place.visitor}_{place.folder.name}"):
            request_stop(place.folder)
            st.toast("The run stops after its current step.")


def _owner(place: Place) -> str:
    return "your run" if place.visitor == visitor() else f"visitor {place.visitor[:4]}"


def _doing(place: Place, wait: float) -> str:
    if place.state == "running":
        return f"training, about {duration(place.seconds)} left"
    return f"waiting, about {duration(wait)}" if wait else "next"


st.subheader("Queue")
draw_queue()

st.subheader("Your files")
used = size_of(own_root())
st.markdown(
    f"Your uploads and runs take up **{used / 2**20:.0f} of {LIMITS.disk >> 20} MiB**. A file may have "
    f"{LIMITS.upload >> 20} MiB, a run may take {LIMITS.seconds / 60:.0f} minutes. Nobody else sees them. They are "
    f"removed when you have not been here for {LIMITS.hours:.0f} hours: download what you want to keep."
)
if st.button("Remove my uploads", help="Runs that were trained on them can then no longer be continued."):
    freed = remove_uploads()
    st.toast(f"{freed / 2**20:.1f} MiB removed.")

st.subheader("Lecturer")
if not has_pin():
    st.markdown(
        "This server was started without a PIN, so nobody can stop the runs of others. Whoever starts it sets one: "
        f"`pdc app --class`, or `PDC_CLASS_PIN` with {SHORTEST_PIN} characters or more; a shorter one is not taken."
    )
elif not is_lecturer():
    with st.form("pin", border=False):
        place, button = st.columns([2, 5], vertical_alignment="bottom")
        pin = place.text_input("PIN", type="password", max_chars=64, help="It is shown in the terminal of the server.")
        if button.form_submit_button("Sign in"):
            try:
                give_pin(pin)
            except PDCError as error:
                st.error(str(error))
            else:
                st.rerun()
else:
    st.markdown(
        "Open a network on the page Model, make a plan on the page Plan, then choose here where everyone starts. "
        "Those who have a page open are asked first; everybody else starts there."
    )
    choices = st.columns(2, gap="medium")
    page = choices[0].selectbox("Page", PAGES, index=PAGES.index("Plan"), key="preset_page")
    query = {**link_parameters(), **plan_parameters()}
    if page == "Learn":
        query["step"] = choices[1].selectbox("Step", list(STEPS), key="preset_step")
    if choices[1].toggle("Lecture mode", key="preset_lecture", help="Larger type and fewer controls."):
        query["lecture"] = "1"
    with st.container(horizontal=True):
        if st.button("Set for all", type="primary"):
            try:
                write_preset(make_preset(page, query))
            except (PDCError, OSError) as error:
                st.error(in_words(error))
        st.button("Clear", on_click=write_preset, args=(None,), disabled=read_preset() is None)
        st.button("Sign out", on_click=leave)
    preset = read_preset()
    if preset is not None:
        st.markdown("Everyone starts here. As a link:")
        st.code((st.context.url or "").removesuffix("/class") + preset.link, language=None, wrap_lines=True)
