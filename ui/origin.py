"""What is known of where a network's weights come from: the run that trained them, or whoever published them."""

from __future__ import annotations

from pdc_core.errors import PDCError
from pdc_core.models.load import RANDOM, SHIPPED
from pdc_core.runs import Run, read_run, run_name
from pdc_core.train import chance_level
from ui.classroom import run_folder
from ui.drawing import percent
from ui.network import Network


def run_behind(network: Network) -> Run | None:
    """Return the finished run whose result the weights are, None where no run here made them."""
    folder = run_folder(network.choice.weights)
    if folder is None:
        return None
    try:
        run = read_run(folder)
    except PDCError:  # of another version: its network is open all the same
        return None
    return run if run.results is not None else None


def origin_sentence(network: Network) -> str:
    """Return what is known of a network that hardly beats guessing, and what to do; a question where nothing is."""
    if (run := run_behind(network)) is not None:
        spec, epochs = run.spec, run.spec.training.epochs
        length = f"{epochs} epoch{'s' if epochs != 1 else ''}"
        if spec.data == network.data_name:
            return (
                f"The run “{run_name(run)}” made these weights on this very data, in {length}: train longer, or with "
                "another learning rate."
            )
        return f"The run “{run_name(run)}” made these weights on other data, {network.choice.data_label(spec.data)}."
    if network.choice.weights == SHIPPED:
        return f"PDC's weights for {network.model} were trained on {network.data_name}, so something here is wrong."
    if network.choice.weights == RANDOM:
        return "Its weights are random: train it first."
    return (
        "Nothing is known of these weights. Were they trained on this data, with this normalisation and this order of "
        "classes?"
    )


def near_chance(network: Network, accuracy: float | None) -> str | None:
    """Return in a sentence that a network hardly beats guessing on the test images, or None."""
    if accuracy is None or not len(network.data.test):
        return None
    guessing, least = chance_level(network.data.test.labels)
    if accuracy > least:
        return None
    return (
        f"This network classifies {percent(accuracy)} of the test images correctly; guessing gives "
        f"{percent(guessing)}. {origin_sentence(network)}"
    )
