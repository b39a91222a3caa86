"""What a validation found, as tables: measured beside simulated, by run, point, policy and whole.

The spread of a point's repeats is half their range over their median, by mean TPOT. An error is
simulated over measured less one, of the medians of the repeats. Every repeat goes through all
policies, so what drifts with the hour is in all of them: two differ where their differences, repeat
by repeat, are not of one mean of 0, by a paired t-test at 1 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau, ttest_1samp

from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.text import count
from prefetch_sim.experiments.validation.runs import Run
from prefetch_sim.experiments.validation.targets import TARGETS, Target
from prefetch_sim.sim.results.agreement import UNEXPLAINED, agreement
from prefetch_sim.sim.results.metrics import distribution, latencies
from prefetch_sim.sim.workload.step_table import StepTable

Row = dict[str, Any]
STATISTICS = ("mean", "p50", "p95", "p99")
TIMES = tuple(f"{what}_ms.{s}" for what in ("tpot", "stall") for s in STATISTICS)
PLACE = ("hardware", "cache.capacity")  # within a place, policies are put in order
TABLES = ("measured", "simulated", "points", "policies", "order", "summary")


_ALL = "Kendall tau of all policies, least of a place"
_CHANCE = 0.01  # that two policies are said to differ which do not


def axes(point: Point, ways: Mapping[str, str]) -> Row:
    """A point's labels; ``ways``: where experts come from, by the file of the profile."""
    found = dict(point.axes)
    if "hardware.name" in found:
        found["hardware"] = found.pop("hardware.name")
    if "hardware" in found:
        found["hardware"] = ways[found["hardware"]]
    return found


def times(table: StepTable, run: Run) -> Row:
    """TPOT, and the stalls of each decode step, ms; hits of decode steps; loads that landed."""
    between, _ = latencies(table, run.steps)
    decode = run.steps.column("prefill") == 0
    waits = np.zeros(len(decode), dtype=np.int64)
    of_step = run.layers.column("step")
    for name in run.layers.times:
        if name.startswith("stall"):
            np.add.at(waits, of_step, run.layers.column(name))
    columns = {"tpot": distribution(between), "stall": distribution(waits[decode])}
    rows = decode[of_step]
    hits, experts = (int(run.layers.column(name)[rows].sum()) for name in ("hits", "experts"))
    return {
        **{f"{what}_ms.{name}": ms for what, of in columns.items() for name, ms in of.items()},
        "hit_rate": round(hits / experts, 6) if experts else None,
        "loads": int((run.loads.column("landed") >= 0).sum()),
    }


def compared(simulated: Run, measured: Run) -> Row:
    """How far a replay decided as its simulation, and whether it computed what it had to."""
    found = agreement(simulated.watched, measured.watched)
    return {
        "layer_steps": found.layer_steps,
        "equal_sets": round(found.equal_sets, 6),
        "equal_hits": round(found.equal_hits, 6),
        "jaccard": round(found.jaccard, 6),
        "least_jaccard": round(found.least_jaccard, 6),
        "outputs": measured.outputs,
        "date": measured.about.get("date", ""),
        **found.causes,
    }


class Tables(NamedTuple):
    measured: pd.DataFrame  # a row a point and repeat
    simulated: pd.DataFrame  # a row a point
    points: pd.DataFrame
    policies: pd.DataFrame
    order: pd.DataFrame
    summary: pd.DataFrame

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        measured: list[Row],
        simulated: list[Row],
        targets: Mapping[str, Target] = TARGETS,
    ) -> Tables:
        """``labels``: the columns that say which point a row is of."""
        real, ours = pd.DataFrame(measured), pd.DataFrame(simulated)
        points = _points(labels, real, ours)
        policy = [name for name in labels if name not in PLACE]
        order = _order(labels, points, real)
        summary = _summary(real, points, order, targets)
        return cls(real, ours, points, _policies(policy, points), order, summary)

    def write(self, folder: Path) -> None:
        for name, frame in self._asdict().items():
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")

    @classmethod
    def read(cls, folder: Path) -> Tables:
        """Of a folder that ``write`` filled."""
        return cls(*(_read(folder / f"{name}.csv") for name in TABLES))


def _read(path: Path) -> pd.DataFrame:
    """``none`` is a predictor."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _points(labels: Sequence[str], measured: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for ours in simulated.to_dict("records"):
        real = _of_point(labels, measured, ours)
        row: Row = {name: ours[name] for name in labels}
        mean = real["tpot_ms.mean"]
        row["repeats"] = len(real)
        row["measured_ms"], row["simulated_ms"] = mean.median(), ours["tpot_ms.mean"]
        row["least_ms"], row["most_ms"] = mean.min(), mean.max()
        alone = len(real) < 2  # one run says nothing of how far others would be off
        row["spread"] = np.nan if alone else (mean.max() - mean.min()) / 2 / mean.median()
        for name in TIMES:
            middle = real[name].median()
            row[f"error.{name}"] = ours[name] / middle - 1 if middle else np.nan
        row["measured_stall_ms"] = real["stall_ms.mean"].median()
        row["simulated_stall_ms"] = ours["stall_ms.mean"]
        row["equal_sets"] = real["equal_sets"].min()
        row["jaccard"] = real["jaccard"].min()
        rows.append(row)
    return pd.DataFrame(rows).round(6)


def _of_point(
    labels: Sequence[str], measured: pd.DataFrame, point: Mapping[Any, Any]
) -> pd.DataFrame:
    """The rows of one point, by its labels."""
    chosen = np.logical_and.reduce([measured[name] == point[name] for name in labels])
    return measured[chosen]


def _policies(policy: Sequence[str], points: pd.DataFrame) -> pd.DataFrame:
    """The errors of mean TPOT by policy, over places, %."""
    if not policy:
        policy, points = ["policy"], points.assign(policy="all")
    rows = []
    for names, some in points.groupby(list(policy), sort=False):
        errors = 100 * some["error.tpot_ms.mean"]
        rows.append(
            {
                **dict(zip(policy, names)),
                "points": len(some),
                "median_error": errors.median(),
                "median_off": errors.abs().median(),
                "most_off": errors.abs().max(),
                "spread": 100 * some["spread"].median(),
            }
        )
    return pd.DataFrame(rows).round(3)


def _order(labels: Sequence[str], points: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """In each place, the order of its policies by mean TPOT, measured and simulated."""
    place = [name for name in labels if name in PLACE]
    groups = points.groupby(place, sort=False) if place else [((), points)]
    rows = []
    for names, some in groups:
        ours, real = some["simulated_ms"].to_numpy(), some["measured_ms"].to_numpy()
        each = [
            _of_point(labels, measured, row).set_index("repeat")["tpot_ms.mean"]
            for row in some.to_dict("records")
        ]
        alike = [
            float(np.sign(ours[i] - ours[j]) * np.sign(real[i] - real[j]))
            for i, j in combinations(range(len(some)), 2)
            if _differ((each[i] - each[j]).dropna().to_numpy())
        ]
        tau = kendalltau(ours, real).statistic if len(some) > 1 else np.nan
        rows.append(
            {
                **dict(zip(place, names if isinstance(names, tuple) else (names,))),
                "policies": len(some),
                "pairs": len(some) * (len(some) - 1) // 2,
                "pairs_that_differ": len(alike),
                "in_order": alike.count(1.0),
                "in_reverse": alike.count(-1.0),
                "tau_of_all": tau,
            }
        )
    return pd.DataFrame(rows).round(6)


def _differ(differences: npt.NDArray[np.float64]) -> bool:
    """Whether two policies do; ``differences``: of their mean TPOT, by repeat."""
    if len(differences) < 2:
        return False
    if np.ptp(differences) == 0:
        return bool(differences[0] != 0)
    return bool(ttest_1samp(differences, 0).pvalue < _CHANCE)


def _summary(
    measured: pd.DataFrame,
    points: pd.DataFrame,
    order: pd.DataFrame,
    targets: Mapping[str, Target],
) -> pd.DataFrame:
    values: dict[str, float] = {}
    for name, what in (("tpot_ms", "TPOT"), ("stall_ms", "stall a decode step")):
        for statistic in STATISTICS:
            off = 100 * points[f"error.{name}.{statistic}"].abs().dropna()
            for word, share in (("median", 50), ("p95", 95)):
                label = f"error of {statistic} {what}, {word} of points, %"
                values[label] = float(np.percentile(off, share)) if len(off) else np.nan
    spread = 100 * points["spread"]
    values["spread of repeats, median of points, %"] = float(spread.median())
    values["spread of repeats, most of a point, %"] = float(spread.max())
    pairs = int(order["pairs_that_differ"].sum())
    values["pairs of policies that differ"] = pairs
    ahead = int(order["in_order"].sum() - order["in_reverse"].sum())
    values["Kendall tau of the pairs that differ"] = ahead / pairs if pairs else np.nan
    values[_ALL] = float(order["tau_of_all"].min())
    values |= _decisions(measured)
    same = measured["outputs"] == "equal"
    values["replays whose outputs are the reference's, %"] = 100 * float(same.mean())
    empty = _unreachable(points, order, targets)
    rows = []
    for what, value in values.items():
        target = targets.get(what, Target())
        wanted, holds = "", ""
        if target.most is not None:
            wanted, holds = f"<= {target.most:g}", "yes" if value <= target.most else "no"
        elif target.least is not None:
            wanted, holds = f">= {target.least:g}", "yes" if value >= target.least else "no"
        holds = f"not applicable ({empty[what]})" if wanted and what in empty else holds
        holds = _weight(order) if what == _ALL else holds
        rows.append({"what": what, "value": round(value, 4), "target": wanted, "holds": holds})
    return pd.DataFrame(rows)


def _weight(order: pd.DataFrame) -> str:
    """How many pairs of policies differ, of those that the least tau of all is of."""
    places = order.dropna(subset=["tau_of_all"]).sort_values("tau_of_all", kind="stable")
    if places.empty:
        return ""
    least = places.to_dict("records")[0]
    return f"{least['pairs_that_differ']} of {count(least['pairs'], 'pair')} differ"


def _unreachable(
    points: pd.DataFrame, order: pd.DataFrame, targets: Mapping[str, Target]
) -> dict[str, str]:
    """Why a target cannot be met by a validation of this size, by what it is of."""
    found, pairs, differ = {}, int(order["pairs"].sum()), int(order["pairs_that_differ"].sum())
    least = targets["pairs of policies that differ"].least
    if least is not None and pairs < least:
        found["pairs of policies that differ"] = count(pairs, "pair")
    if not differ:
        found["Kendall tau of the pairs that differ"] = "0 pairs differ"
    if points["spread"].isna().all():
        found["spread of repeats, median of points, %"] = "1 repeat"
    return found


def _decisions(measured: pd.DataFrame) -> dict[str, float]:
    named: npt.NDArray[np.bool_] = measured["prefetches"].to_numpy(dtype=bool)
    found = {}
    for word, some in (("without", measured[~named]), ("with", measured[named])):
        if not len(some):
            continue
        steps = some["layer_steps"]
        for what, column in (("decisions", "equal_sets"), ("hits", "equal_hits")):
            share = 100 * float((some[column] * steps).sum() / steps.sum())
            found[f"{word} prefetch: equal {what}, % of layer-steps"] = share
        found[f"{word} prefetch: mean Jaccard"] = float(some["jaccard"].mean())
        found[f"{word} prefetch: least mean Jaccard of a run"] = float(some["jaccard"].min())
    found["differences not traced to a load"] = int(measured[UNEXPLAINED].sum())
    return found
