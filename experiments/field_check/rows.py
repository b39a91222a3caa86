"""What was published, row by row (``rows.yaml``), what is fitted, and the rules of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefetch_sim.experiments.field_check.states import faster
from prefetch_sim.hardware_profiles import load_profile, load_runtime
from prefetch_sim.sim.config.files import Tree, read_yaml, set_path

FOLDER = Path(__file__).parent
ROWS = FOLDER / "rows.yaml"

Role = Literal["fitted", "predicted", "shape", "excluded"]
# In the order in which a row is judged: the first that was published and is simulated.
Quantity = Literal[
    "tokens_s",
    "ms",
    "wait_ms",
    "rest_ms",
    "us",
    "gb_s",
    "hit",
    "hit_all",
    "mib_token",
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Link(Section):
    """Copies over a machine's host link, one right behind another; no model is run."""

    hardware: str
    bytes: int = Field(gt=0)
    count: int = Field(default=1, gt=0)


class Drive(Section):
    """Reads of one size off a machine's drive, ``lanes`` at once, for ever; no model is run."""

    hardware: str
    bytes: int = Field(gt=0)
    lanes: int = Field(gt=0)


class Row(Section):
    id: str
    what: str
    cls: Literal["A", "B", "C"] = Field(alias="class")
    source: str
    role: Role
    published: dict[Quantity, float]
    assumes: str = ""
    reason: str = Field(default="", description="why it is left out")
    fitted_by: str = Field(
        default="", description="of a fitted row: the figure that was fitted to the same run"
    )
    recording: str = Field(default="", description="its own times by step, of BigMoeOnEdge")
    config: Tree | None = None
    link: Link | None = None
    drive: Drive | None = None

    @model_validator(mode="after")
    def _whole(self) -> Row:
        given = sum(x is not None for x in (self.config, self.link, self.drive))
        if self.role == "excluded":
            if given or not self.reason:
                raise ValueError(f"{self.id}: an excluded row has a reason, and no config")
        elif given != 1 or self.reason:
            raise ValueError(f"{self.id}: give one of config, link and drive, and no reason")
        if not self.published and self.role != "excluded":
            raise ValueError(f"{self.id}: nothing was published")
        return self


class Fit(Section):
    """A figure fitted to rows: of the catalogue, or of the configs of some rows (``bases``)."""

    figure: str = Field(description="hardware.NAME.PATH, runtime.NAME.PATH or bases.NAME.KEY")
    value: float
    rows: tuple[str, ...] = Field(min_length=2)
    how: str
    derived: bool = Field(default=True, description="whether fit.py works it out again")

    def catalogued(self, bases: Mapping[str, Tree]) -> float:
        """Its value in the catalogue, where every other run takes it from, or in ``bases``."""
        kind, rest = self.figure.split(".", 1)
        if kind == "bases":
            name, key = rest.split(".", 1)
            found = bases[name]
            return float(found[key] if key in found else found["predictor"][key])
        load = load_runtime if kind == "runtime" else load_profile
        # Names may hold dots ("llama.cpp"), so the name ends where a figure's path begins.
        parts = rest.split(".")
        for n in range(1, len(parts)):
            name, path = ".".join(parts[:n]), ".".join(parts[n:])
            try:
                return load(name).flat()[path].value
            except Exception:
                continue
        raise ValueError(f"{self.figure} is no figure of the catalogue")


class Check(Section):
    """What must come out, of simulated results alone; ``published`` is the engine's own.

    ``ratio`` and ``difference`` are of the first row to, or less, the second; ``value`` is of one;
    ``order`` wants its rows one above the other.
    """

    id: str
    says: str
    of: Quantity
    published: str
    ratio: tuple[str, str] | None = None
    difference: tuple[str, str] | None = None
    value: str | None = None
    order: tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None

    def rows(self) -> tuple[str, ...]:
        return self.ratio or self.difference or self.order or (str(self.value),)


class Study(Section):
    bases: dict[str, Tree]
    fits: tuple[Fit, ...]
    checks: tuple[Check, ...]
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _rules(self) -> Study:
        names = [row.id for row in self.rows]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two rows are named {', '.join(twice)}")
        by_name = {row.id: row for row in self.rows}
        for fit in self.fits:
            for name in fit.rows:
                if name not in by_name:
                    raise ValueError(f"fits: {fit.figure}: no row {name!r}")
                if by_name[name].role != "fitted":
                    raise ValueError(f"fits: {fit.figure}: {name} is {by_name[name].role}")
        for group, sharing in groups(self.fits):
            if 2 * len(sharing) > len(group):
                raise ValueError(
                    f"fits: {len(sharing)} figures ({', '.join(sharing)}) on {len(group)} rows; "
                    "at most half as many as rows"
                )
        fitted = {name for fit in self.fits for name in fit.rows}
        figures = {
            "trace.hit_rate",
            *(fit.figure for fit in self.fits),
        }  # or: its routing is made so
        for row in self.rows:
            if row.role != "fitted" and row.fitted_by:
                raise ValueError(f"{row.id}: fitted_by is of fitted rows")
            if row.role == "fitted" and row.id not in fitted and row.fitted_by not in figures:
                raise ValueError(f"{row.id}: nothing is fitted to it")
        for check in self.checks:
            for name in check.rows():
                if name not in by_name or by_name[name].role == "excluded":
                    raise ValueError(f"checks: {check.id}: no row {name!r} that runs")
        return self

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.id == name)

    def tree(self, row: Row) -> Tree:
        """A row's config, its base filled in: dotted keys over the base's tree, in order."""
        assert row.config is not None
        given = dict(row.config)
        tree: Tree = {}
        layers = [self.bases[name] for name in _list(given.pop("base", []))]
        for layer in (*layers, given):
            for path, value in layer.items():
                tree = set_path(tree, path, value)
        if "also" in tree:  # a predictor before the base's
            first = tree.pop("also")
            tree["predictor"] = [first, tree["predictor"]]
        return _with_files(faster(tree))


def groups(fits: tuple[Fit, ...]) -> list[tuple[set[str], list[str]]]:
    """Fits that have rows in common, directly or through others: their rows and figures."""
    found: list[tuple[set[str], list[str]]] = []
    for fit in fits:
        rows, figures = set(fit.rows), [fit.figure]
        apart = []
        for group in found:
            if group[0] & rows:
                rows |= group[0]
                figures = group[1] + figures
            else:
                apart.append(group)
        found = [*apart, (rows, figures)]
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _with_files(tree: Tree) -> Tree:
    """Files beside ``rows.yaml`` by their whole path."""
    trace = tree.get("trace")
    if not isinstance(trace, dict) or "loads_per_step" not in trace:
        return tree
    file = FOLDER / "loads" / f"{trace['loads_per_step']}.csv"
    return set_path(tree, "trace.loads_per_step", str(file))


def read_study(path: Path = ROWS) -> Study:
    try:
        return Study.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {error}") from error
