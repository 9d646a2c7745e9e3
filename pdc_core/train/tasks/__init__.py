"""What a run trains and by which rule: one class per task, all with the hooks of `base`."""
