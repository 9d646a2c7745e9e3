"""Maps of filters, what filters respond to, how they moved in a run, and the metrics of a comparison."""
