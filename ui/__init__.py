"""Streamlit glue shared by the pages: what a session holds, cached computations, and how things are drawn."""
