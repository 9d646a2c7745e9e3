"""Runs: the pages Distil and Compare, and training on the page Model."""
