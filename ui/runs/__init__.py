"""The pages Distil and Compare, which show runs."""
