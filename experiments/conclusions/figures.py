"""The figures of one run that conclusions speak of: numbers, no words.

A result is the object that ``run --json`` prints. Times are in ms, shares from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

Result = Mapping[str, Any]

NOTICED = 0.005  # a share of the time below which a difference is none
FULL = 0.9  # of a link's rate: overheads and pauses of compute take the rest
MOSTLY = 0.5
WASTED = 0.3  # of what was loaded early


class Reason(Enum):
    """Why loading ahead gains little, or costs more than it gains."""

    COST = "its own cost"
    WRONG = "wrong predictions"
    LINK = "the link is full"
    WINDOW = "the window is too short"


class Early(NamedTuple):
    """Experts loaded ahead of need, by how that ended."""

    timely: int
    late: int
    useless: int

    @property
    def total(self) -> int:
        return sum(self)


def time_of(result: Result) -> float | None:
    """A run's mean time per output token; of the whole run where it has no output token."""
    mean = result["tpot_ms"]["mean"]
    return result["total_ms"] or None if mean is None else mean or None


def change(of: Result, against: Result) -> float | None:
    """How much more time ``of`` takes, as a share; negative where it takes less."""
    more, base = time_of(of), time_of(against)
    return None if more is None or base is None else more / base - 1


def stalls(result: Result) -> dict[str, float]:
    """Shares of the run's time spent waiting, by cause."""
    total = result["total_ms"]
    return {cause: ms / total for cause, ms in result["stall_ms"].items()}


def busiest(result: Result) -> tuple[str, float]:
    """The part of the load path that worked most, and the share of its full rate."""
    rates = {stage: busy or 0.0 for stage, busy in result["link_busy"].items()}
    return max(rates.items(), key=lambda item: item[1], default=("link", 0.0))


def ended(result: Result) -> Mapping[str, int]:
    """How prefetches ended: of decode, whose time is judged, or of a run without, all of them.

    A sweep of before these were counted apart has all alone.
    """
    every: Mapping[str, int] = result["prefetch"]
    return every if result["tpot_ms"]["mean"] is None else result.get("decode_prefetch", every)


def whose(result: Result) -> str:
    """Of which prefetches ``ended`` is, in words; "" where these are all."""
    return " for decode" if ended(result) != result["prefetch"] else ""


def early(result: Result) -> Early:
    ends = ended(result)
    return Early(ends["timely"], ends["late"], ends["useless"])


def unused(result: Result) -> str:
    """Why prediction changed nothing: nothing came of it; "" where something did."""
    if not ended(result)["proposed"]:
        return "nothing was proposed"
    return "" if early(result).total else "nothing was loaded ahead"


def reasons(result: Result, without: Result | None = None) -> list[Reason]:
    """What keeps prefetches from helping, the gravest first.

    ``without``: the same run without prediction, which alone shows what predicting costs.
    """
    found, ahead = [], early(result)
    full = busiest(result)[1] >= FULL
    if without is not None:
        slower = result["total_ms"] - without["total_ms"]
        if slower > 0 and own_cost(result, without) >= MOSTLY * slower:
            found.append(Reason.COST)
    if ahead.total and ahead.useless >= WASTED * ahead.total:
        found.append(Reason.WRONG)
    if full:
        found.append(Reason.LINK)
    elif ahead.late > ahead.timely:  # with a full link they are late because they wait for it
        found.append(Reason.WINDOW)
    return found


def own_cost(result: Result, without: Result) -> float:
    """Compute and runtime, in ms, that the run has beyond those of the one ``without``."""

    def busy(of: Result) -> float:
        return float(of["compute_ms"] + of["runtime_ms"])

    return busy(result) - busy(without)


def left(result: Result) -> tuple[float, float | None] | None:
    """Shares of the time that could be saved at most: by any policy, and with no expert missing.

    The second is None where the CPU computes what is missing; both, of a real device.
    """
    bounds, total = result["bounds_ms"], result["total_ms"]
    if not bounds or not total:
        return None
    resident = None if result["cpu_rate"] else 1 - bounds["compute"] / total
    return result["regret_ms"] / total, resident


def predicts(result: Result) -> bool:
    return bool(result["config"]["predictor"])


def recall(result: Result) -> float | None:
    """The recall of a single oracle; None of all else."""
    predictors = result["config"]["predictor"]
    if len(predictors) == 1 and predictors[0]["name"] == "oracle":
        return float(predictors[0].get("recall", 1.0))
    return None


def foresees(result: Result) -> bool:
    """Whether one of the run's policies knows what is still to come: no engine can have it."""
    return bool(foreseeing(result))


def foreseeing(result: Result) -> list[str]:
    """What in the run's config does."""
    config = result["config"]
    static = config["cache"]["static"] or {}
    found = {
        "eviction belady": config["cache"]["eviction"]["name"] == "belady",
        "cache.warm popular in the trace itself": config["cache"]["warm"] == "popular",
        "an oracle": any(predictor["name"] == "oracle" for predictor in config["predictor"]),
        "static experts by the trace's own counts": not static.get("counts")
        and any(static.get(by) for by in ("popular", "uniform")),
    }
    return [cause for cause, there in found.items() if there]
