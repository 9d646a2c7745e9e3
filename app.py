"""The router of the PDC app, and nothing else: `streamlit run app.py`."""

from ui.navigation import navigation

navigation().run()
