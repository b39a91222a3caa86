"""The page's tables in Markdown, from the folders of committed validations alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from prefetch_sim.experiments.documents import fill, table
from prefetch_sim.experiments.field_check import report as field_check
from prefetch_sim.experiments.validation.tables import Tables
from prefetch_sim.experiments.validation.targets import TARGETS
from prefetch_sim.sim.results.agreement import CAUSES

FOLDER = Path(__file__).parent
NONE = "none has been committed yet"


class Validation(NamedTuple):
    """A committed folder: DEVICE/MODEL."""

    name: str
    tables: Tables
    machine: dict[str, str]

    def value(self, what: str) -> float:
        """A figure of the summary; not a number where it has none."""
        summary = self.tables.summary
        found = summary.loc[summary["what"] == what, "value"]
        return float(found.iloc[0]) if len(found) else float("nan")


def committed(folder: Path = FOLDER) -> list[Validation]:
    """Every validation below ``folder``, by name."""
    return [read(path.parent, folder) for path in sorted(folder.glob("*/*/summary.csv"))]


def read(folder: Path, above: Path) -> Validation:
    about = pd.read_csv(folder / "machine.csv", dtype=str, keep_default_na=False)
    machine = dict(zip(about["what"], about["is"]))
    return Validation(str(folder.relative_to(above)), Tables.read(folder), machine)


def filled(page: str, tables: dict[str, str], docs: str = "") -> str:
    """``page`` with the tables that it has a place for; ``docs``: their folder, seen from it."""
    here = {
        name: text.replace("](", f"]({docs}")
        for name, text in tables.items()
        if f"<!-- table: {name} -->" in page
    }
    return fill(page, here)


def tables(found: Sequence[Validation]) -> dict[str, str]:
    return {
        "trust": _trust(found),
        "runs": _runs(found),
        "policies": _policies(found),
        "claim": _claim(found),
        "causes": _causes(found),
        "figures": _figures(found),
        "misses": _misses(found),
    }


def _of(found: Iterable[Validation], what: str, unit: str = " %", digits: int = 1) -> str:
    """A figure of every validation: one number, or the least and the most."""
    values = [one.value(what) for one in found]
    values = [value for value in values if value == value]  # noqa: PLR0124 - NaN
    if not values:
        return "–"
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{least}{unit}" if least == most else f"{least}–{most}{unit}"


def _trust(found: Sequence[Validation]) -> str:
    where = ", ".join(one.name for one in found) or NONE
    pairs = sum(int(one.value("pairs of policies that differ")) for one in found)
    lost = sum(int(one.value("differences not traced to a load")) for one in found)
    error, far = "error of mean TPOT, median of points, %", "error of mean TPOT, p95 of points, %"
    spread = "spread of repeats, median of points, %"
    rows = field_check.read(field_check.RESULTS).rows
    judged = field_check.judged(rows, "predicted")
    named = judged[judged["quantity"].isin(["tokens_s", "ms"])]["deviation"].dropna().abs()
    within = int((named <= field_check.WITHIN).sum())
    tau = _of(found, "Kendall tau of the pairs that differ", "", 2)
    lines = [
        (
            "decisions without prefetch: which experts are resident at each layer",
            f"equal in {_of(found, 'without prefetch: equal decisions, % of layer-steps')} of "
            "layer-steps",
            where,
        ),
        (
            "decisions with prefetch",
            f"equal in {_of(found, 'with prefetch: equal decisions, % of layer-steps')}; mean "
            f"Jaccard {_of(found, 'with prefetch: mean Jaccard', '', 4)}; {lost} differences that "
            "no load explains",
            where,
        ),
        (
            "order of policies",
            f"Kendall τ {tau} over {pairs} pairs that differ{_few(pairs)}",
            where,
        ),
        (
            "times on a calibrated device",
            f"mean TPOT off by a median of {_of(found, error)}{_short(found)}, p95 of points "
            f"{_of(found, far)}; "
            f"repeats of one run differ by {_of(found, spread)}",
            where,
        ),
        (
            "times with a named profile",
            f"off by a median of {named.median():.0f} %, {within} of {len(named)} within "
            f"{field_check.WITHIN} %",
            "[the field check](field-check.md)",
        ),
    ]
    return table(["what", "how far to trust it", "from"], lines)


def _few(pairs: int) -> str:
    wanted = TARGETS["pairs of policies that differ"].least
    assert wanted is not None
    return "" if pairs >= wanted else f" ({wanted:.0f} are wanted)"


def _short(found: Sequence[Validation]) -> str:
    """Which way the errors go, where all policies' go one way."""
    errors = [error for one in found for error in one.tables.policies["median_error"]]
    ways = {True: ", simulated too short", False: ", simulated too long"}
    return ways[errors[0] < 0] if errors and len({error < 0 for error in errors}) == 1 else ""


def _runs(found: Sequence[Validation]) -> str:
    rows = [
        [
            one.name,
            one.machine.get("date", ""),
            one.machine.get("processor", ""),
            str(len(one.tables.points)),
            one.machine.get("repeats", ""),
            _of([one], "error of mean TPOT, median of points, %"),
            _of([one], "error of mean TPOT, p95 of points, %"),
            _of([one], "error of mean stall a decode step, median of points, %"),
            _of([one], "spread of repeats, median of points, %"),
        ]
        for one in found
    ]
    head = ["run", "when", "processor", "points", "repeats", "mean TPOT off by, median"]
    head += ["p95 of points", "mean stall off by, median", "spread"]
    return table(head, rows) if rows else NONE


def _policies(found: Sequence[Validation]) -> str:
    rows = []
    for one in found:
        frame = one.tables.policies
        for row in frame.to_dict("records"):
            name = ", ".join(str(row[column]) for column in frame.columns[:-5])
            rows.append([one.name, name, *(f"{row[key]:+.1f} %" for key in ("median_error",))])
            rows[-1] += [f"{row[key]:.1f} %" for key in ("most_off", "spread")]
    return table(["run", "policy", "median error", "most off", "spread"], rows) if rows else NONE


def _claim(found: Sequence[Validation]) -> str:
    """Mean TPOT of each predictor, with the first eviction: measured / simulated, ms."""
    rows = []
    names: list[str] = []
    for one in found:
        points = one.tables.points
        if "predictor" not in points:
            continue
        names = list(dict.fromkeys([*names, *map(str, points["predictor"])]))
        axes = list(points.columns[: list(points.columns).index("repeats")])
        if "cache.eviction" in axes:
            points = points[points["cache.eviction"] == points["cache.eviction"].iloc[0]]
        place = [name for name in axes if name != "predictor"]
        for labels, some in points.groupby(place, sort=False):
            cells = {
                str(row["predictor"]): f"{row['measured_ms']:.1f} / {row['simulated_ms']:.1f}"
                for row in some.to_dict("records")
            }
            rows.append(([one.name, ", ".join(map(str, labels))], cells))
    shown = [[*head, *(cells.get(name, "–") for name in names)] for head, cells in rows]
    return table(["run", "place", *names], shown) if shown else NONE


def _figures(found: Sequence[Validation]) -> str:
    lines = [
        f"![{text}, {one.name}](../experiments/validation/{one.name}/{figure}.png)"
        for one in found
        for figure, text in (
            ("predicted", "Mean TPOT, measured against simulated"),
            ("token", "One token, measured over simulated"),
        )
    ]
    return "\n\n".join(lines) or NONE


def _causes(found: Sequence[Validation]) -> str:
    rows = []
    for one in found:
        measured = one.tables.measured
        total = int((measured["layer_steps"]).sum())
        counts = [f"{int(measured[cause].sum()):,}" for cause in CAUSES]
        rows.append([one.name, f"{total:,}", *counts])
    return table(["run", "layer-steps", *CAUSES], rows) if rows else NONE


def _misses(found: Sequence[Validation]) -> str:
    rows = [
        [one.name, row["what"], row["target"], f"{row['value']:.4g}"]
        for one in found
        for row in one.tables.summary.to_dict("records")
        if row["holds"] == "no"
    ]
    return table(["run", "what", "target", "found"], rows) if rows else "None."
