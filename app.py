"""The router of the PDC app: `streamlit run app.py`.

Pages start with `ui.session.begin`, since a deep link may run a page without this file.
"""

import streamlit as st

st.navigation(
    [
        st.Page("pages/model.py", title="Model", default=True),
        st.Page("pages/filters.py", title="Filters"),
        st.Page("pages/plan.py", title="Plan"),
        st.Page("pages/distil.py", title="Distil"),
        st.Page("pages/compare.py", title="Compare"),
    ]
).run()
