"""The description of a sweep: sweep.yaml, made by `create_sweep` and read by `read_sweep_spec`."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pdc_core.baselines import METHOD_HELP, WHOLE
from pdc_core.errors import PDCError, first_reason
from pdc_core.estimates import RULES
from pdc_core.plan import Plan
from pdc_core.registry import choices, name_in
from pdc_core.runs.files import SWEEP_FILE, make_folder, write
from pdc_core.runs.spec import RunSpec, runs_root
from pdc_core.seeds import MOST

FORMAT = 1  # of sweep folders; a reader refuses those of a later one
SWEEP_RULES = {name: RULES[name] for name in ("uniform", *(name for name in RULES if name != "uniform"))}
_HEAD = "# A sweep of PDC: what was asked. `pdc run FOLDER` does it.\n"
_END = "# end\n"  # a file that begins with our first line and does not end with this one was cut off
# What a sweep says itself, and what `create_run` writes into each run.
_NOT_OF_BASE = {"kind", "method", "keep", "plan", "seed", "created", "versions", "format"}


@dataclass(frozen=True)
class Member:
    """One planned run of a sweep.

    Attributes
    ----------
    method : str
        Its method.
    keep : float or None
        Its keep ratio; None for the method that keeps everything.
    seed : int
        Its seed.

    Examples
    --------
    >>> Member("pdc", 0.4, 0).name, Member("l1", 0.125, 2).name, Member("whole", None, 1).name
    ('pdc-keep0.40-seed0', 'l1-keep0.125-seed2', 'whole-seed1')
    """

    method: str
    keep: float | None
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        if self.keep is None:
            return f"{self.method}-seed{self.seed}"
        ratio = f"{self.keep:.2f}"
        return f"{self.method}-keep{ratio if float(ratio) == self.keep else self.keep}-seed{self.seed}"


class SweepSpec(BaseModel):
    """The description of a sweep: the content of sweep.yaml and of recipes. It may be written by hand.

    Attributes
    ----------
    base : RunSpec
        What all runs share: network, data, weights, settings. Its own method, keep ratio, plan and seed do not count.
        It names images and epochs, not a time budget, so that all runs are equally long.
    keeps : tuple of float
        Keep ratios, each above 0 to 1; may be empty where `methods` is "whole" alone.
    methods : tuple of str, default ("pdc", "l1")
        Names of methods, as in a run. "whole" has no keep ratio and is trained once per seed.
    seeds : tuple of int, default (0,)
        Seeds, each 0 or more.
    rule : str, default "uniform"
        How a keep ratio becomes a plan. "uniform" keeps that ratio of every group. With any other rule of a budget
        (`pdc_core.estimates.RULES`) the plan saves as many MACs as the uniform one, shared out by the rule: curves of
        different rules are then compared at equal costs.
    created : str, optional
        Written by `create_sweep`: date and time in ISO 8601.
    format : int
        Version of the sweep folder.

    Examples
    --------
    >>> spec = SweepSpec(base={"data": "digits"}, keeps=(0.5, 0.25), methods=("pdc", "whole"))
    >>> [member.name for member in spec.members]
    ['pdc-keep0.50-seed0', 'pdc-keep0.25-seed0', 'whole-seed0']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: RunSpec
    keeps: tuple[float, ...] = ()
    methods: tuple[Annotated[str, name_in(METHOD_HELP)], ...] = ("pdc", "l1")
    seeds: tuple[Annotated[int, Field(ge=0, le=MOST)], ...] = (0,)
    rule: Annotated[str, name_in(RULES)] = "uniform"
    created: str | None = None
    format: int = FORMAT

    @model_validator(mode="before")
    @classmethod
    def _base_is_of_no_single_run(cls, given: Any) -> Any:
        """Leave out of the base what the sweep decides, so that equal sweeps have equal descriptions."""
        if not isinstance(given, dict) or "base" not in given:
            return given
        base = given["base"]
        if isinstance(base, RunSpec):
            base = base.model_dump(mode="json")
        if not isinstance(base, dict):
            return given
        if base.get("kind", "distil") != "distil":
            raise ValueError("base: a sweep is made of distil runs; teach the network first")
        shared = {name: value for name, value in base.items() if name not in _NOT_OF_BASE}
        plan = base.get("plan") or {}
        known = ("residual", "inside") if isinstance(plan, dict) else ()
        shared |= {name: plan[name] for name in known if name in plan} if known else {"plan": plan}
        return {**given, "base": {**shared, "keep": 1.0}}

    @field_validator("keeps", "methods", "seeds")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := sorted({str(value) for value in given if given.count(value) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice; give each once")
        return given

    @model_validator(mode="after")
    def _has_runs(self) -> SweepSpec:
        for keep in self.keeps:
            if not 0 < keep <= 1:
                raise ValueError(f"keeps: {keep:g} is not a keep ratio; give numbers above 0 and at most 1")
        if self.base.budget is not None:
            raise ValueError("base: the runs of a sweep have to be equally long; give images and epochs, not a budget")
        if not self.methods:
            raise ValueError(f"methods: give at least one of {choices(METHOD_HELP)}")
        if not self.seeds:
            raise ValueError("seeds: give at least one number, such as 0")
        if not self.keeps and self.methods != (WHOLE,):
            raise ValueError("keeps: give at least one keep ratio, such as 0.5")
        return self

    @property
    def members(self) -> tuple[Member, ...]:
        """The planned runs in the order in which they are done: one seed after the other, most filters first."""
        pruning = [method for method in self.methods if method != WHOLE]
        found: list[Member] = []
        for seed in self.seeds:
            found += [Member(method, keep, seed) for keep in sorted(self.keeps, reverse=True) for method in pruning]
            found += [Member(WHOLE, None, seed)] * (WHOLE in self.methods)
        return tuple(found)

    @property
    def title(self) -> str:
        """What a list calls it: its methods, keep ratios and seeds."""
        keeps = ", ".join(f"{keep:g}" for keep in sorted(self.keeps, reverse=True)) or "full width"
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return f"{', '.join(self.methods)} at {keeps}; {seeds}"

    def run_of(self, member: Member, plan: Plan) -> RunSpec:
        """Return the description of one run.

        Parameters
        ----------
        member : Member
            One of `members`.
        plan : Plan
            Its plan (`sweep_plans`).
        """
        own = {"method": member.method, "seed": member.seed, "keep": None, "plan": plan}
        return self.base.model_copy(update=own)


def create_sweep(spec: SweepSpec, root: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Write a new sweep folder that a worker can take up, and return it.

    Parameters
    ----------
    spec : SweepSpec
        What is asked.
    root : str or Path, optional
        Folder of all runs (see `runs_root`); the sweep gets a name of its own in it.
    folder : str or Path, optional
        The sweep folder itself, in place of `root`: a new or an empty one.

    Returns
    -------
    Path
        The sweep folder.

    Raises
    ------
    PDCError
        The network is unknown or nothing can be merged in it, the folder holds a run or a sweep already, or it cannot
        be written.
    """
    spec.base.with_plan()
    created = datetime.now(UTC)
    path = (
        Path(folder)
        if folder is not None
        else runs_root(root) / f"{created:%Y%m%d-%H%M%S}-sweep-{secrets.token_hex(2)}"
    )
    make_folder(path, "sweep")
    spec = spec.model_copy(update={"created": created.isoformat(timespec="seconds")})
    waiting = {"state": "queued", "heartbeat": time.time(), "message": "waiting for a worker"}
    write(path / "status.json", json.dumps(waiting))
    content = spec.model_dump(mode="json", exclude={"base": _NOT_OF_BASE})
    write(path / SWEEP_FILE, f"{_HEAD}{yaml.safe_dump(content, sort_keys=False)}{_END}", durable=True)
    return path


def read_sweep_spec(path: str | Path) -> SweepSpec:
    """Read the sweep.yaml of a folder, or a recipe of a sweep.

    Parameters
    ----------
    path : str or Path
        A sweep folder, or a file that ends in .yaml or .yml.

    Raises
    ------
    PDCError
        There is none, it is cut off or no description of a sweep, or a newer version of PDC wrote it; the message
        names the entry.
    """
    path = Path(path)
    file = path if path.suffix in (".yaml", ".yml") and not path.is_dir() else path / SWEEP_FILE
    try:
        text = file.read_text(encoding="utf-8")
        whole = text.endswith(_END) or not text.startswith(_HEAD)
        raw = yaml.safe_load(text) if whole else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PDCError(f"{file} cannot be read as a sweep ({str(error).splitlines()[0]}).") from error
    if not whole:
        raise PDCError(f"{file} is cut off, so the sweep is not known; write the file again, or start a new sweep.")
    if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
        raise PDCError(
            f"{file} was written by a newer version of PDC (format {raw['format']}, this one reads {FORMAT}); upgrade "
            "PDC to go on with it."
        )
    return validated_sweep(raw, f"{file} is not a valid sweep file")


def parse_numbers(what: str, text: str, kind: type[float] | type[int]) -> list[float]:
    """Return the numbers in a text, as they are typed for the keep ratios or the seeds of a sweep.

    Parameters
    ----------
    what : str
        What the text is for, in the message if it cannot be read.
    text : str
        Numbers separated by commas.
    kind : type
        float, or int for whole numbers.

    Raises
    ------
    PDCError
        A word is no such number.

    Examples
    --------
    >>> parse_numbers("--keeps", "0.8, 0.4", float)
    [0.8, 0.4]
    """
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            found.append(kind(word))
        except ValueError as error:
            example = "whole numbers such as 0, 1, 2" if kind is int else "ratios such as 0.8, 0.4"
            raise PDCError(f"{what} {text!r}: {word!r} is no such number; give {example}.") from error
    return found


def validated_sweep(raw: Any, otherwise: str) -> SweepSpec:
    """Return a sweep from plain data.

    Parameters
    ----------
    raw : dict
        Its entries.
    otherwise : str
        How the sentence begins that says what is wrong.

    Raises
    ------
    PDCError
        An entry is wrong; the message names it.

    Examples
    --------
    >>> validated_sweep({"base": {"data": "digits"}, "keeps": [0.5, 2]}, "This sweep cannot be")
    Traceback (most recent call last):
    pdc_core.errors.PDCError: This sweep cannot be: keeps: 2 is not a keep ratio; give numbers above 0 and at most 1.
    """
    try:
        return SweepSpec.model_validate(raw)
    except ValidationError as error:
        where, message = first_reason(error)
        raise PDCError(f"{otherwise}: {f'{where}: ' if where else ''}{message}.") from error
