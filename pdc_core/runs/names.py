"""What a person calls a run: a name made of its network, plan and accuracy, or one that was given to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pdc_core.baselines import WHOLE
from pdc_core.errors import PDCError
from pdc_core.models.load import RANDOM
from pdc_core.runs.files import write
from pdc_core.runs.read import Run, read_run

LONGEST_NAME = 60  # characters
_MARKUP = "<>[]$*`\\"  # characters that pages and charts would read as markup
_FILE = "name.txt"  # in the run folder, where somebody gave a name


def run_name(run: Run) -> str:
    """Return the name that a run was given, else one made of what it is and how it ended.

    Parameters
    ----------
    run : Run
        From `read_run`.

    Returns
    -------
    str
        Such as "resnet20 · keep 25% · 99.7%": the network, what was done, the seed unless it is 0, and the test
        accuracy; the state of a run that is not done.
    """
    return given_name(run.folder) or " · ".join([run.spec.model, *_done(run), _outcome(run)])


def given_name(folder: str | Path) -> str:
    """Return the name that somebody gave to a run, "" where nobody did.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    """
    try:
        written = (Path(folder) / _FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return _plain("".join(c for c in written if c not in _MARKUP))[:LONGEST_NAME]


def rename_run(folder: str | Path, name: str) -> str:
    """Give a run a name, and return it.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    name : str
        At most 60 characters, none of <>[]$*` and the backslash; empty for the name that is made from its results.

    Raises
    ------
    PDCError
        The name is too long or holds one of these characters, it is no run folder, or it cannot be written.
    """
    run, name = read_run(folder), _plain(name)
    if len(name) > LONGEST_NAME:
        raise PDCError(f"The name has {len(name)} characters; give at most {LONGEST_NAME}.")
    if odd := [c for c in name if c in _MARKUP]:
        raise PDCError(f"The name holds {odd[0]}; give one without any of {' '.join(_MARKUP)}.")
    if name:
        write(run.folder / _FILE, name + "\n")
    else:
        (run.folder / _FILE).unlink(missing_ok=True)
    return name or run_name(run)


def run_names(runs: Iterable[Run]) -> dict[str, str]:
    """Return what a list calls runs, by id: their names, with date and time where several are called the same.

    Parameters
    ----------
    runs : iterable of Run
        The runs of the list.
    """
    named = {run.id: (run_name(run), run) for run in runs}
    for more in (_when, lambda run: run.id.rpartition("-")[2]):
        count = Counter(name for name, _ in named.values())
        named = {key: (f"{name} · {more(run)}" if count[name] > 1 else name, run) for key, (name, run) in named.items()}
    return {key: name for key, (name, _) in named.items()}


def _plain(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _done(run: Run) -> list[str]:
    spec = run.spec
    if spec.kind == "teach":
        words = ["trained from random weights" if spec.weights == RANDOM else "trained on"]
    elif spec.method == WHOLE:
        words = ["not pruned"]
    else:
        method = [] if spec.method == "pdc" else [spec.method]
        plan = spec.plan
        sizes = sum(plan.sizes.get(name, k) for name, k in plan.counts.items()) if plan else 0
        share = sum(plan.counts.values()) / sizes if plan and sizes else spec.keep
        words = [*method, *([] if share is None else [f"keep {share:.0%}"])]
    return [*words, *([f"seed {spec.seed}"] if spec.seed else [])]


def _outcome(run: Run) -> str:
    return run.state if run.results is None else f"{run.results.result.test_accuracy:.1%}"


def _when(run: Run) -> str:
    return (run.spec.created or "no date").replace("T", " ")[5:16]
