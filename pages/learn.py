"""Learn: why does it work? Three filters, two of them nearly equal, taken through each step of the method by hand."""

from __future__ import annotations

import streamlit as st

from ui.choice import lecture
from ui.learn.questions import answered
from ui.learn.steps import STEPS
from ui.page import MACS, open_page

open_page("Learn", "Why does it work? The smallest possible network: three filters, two of them nearly equal.")
st.caption(f"Three filters on a handwritten digit · {MACS}")
names = list(STEPS)
choice, score = st.columns([5, 2], vertical_alignment="center")
step = choice.segmented_control(
    "Step", names, default=names[0], required=True, key="step", bind="query-params", label_visibility="collapsed"
)
done = score.empty()  # written last: the answer on this page may be the one that counts
title, show = STEPS[step]
st.subheader(f"{names.index(step) + 1}. {title}")
show()
if not lecture():
    with st.expander("Links for slides"):
        st.markdown(
            "Each link opens a step in lecture mode, with larger type and fewer controls. Put this server's address "
            "in front."
        )
        st.code("\n".join(f"/learn?step={name}&lecture=1" for name in names), language=None)
done.caption(f"{len(answered())} of {len(names)} questions answered")
