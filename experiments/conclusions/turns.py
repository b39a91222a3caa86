"""At which recall an oracle begins to pay: numbers, no words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefetch_sim.experiments.conclusions import figures
from prefetch_sim.experiments.conclusions.comparisons import Measured, Swept, time_of, under
from prefetch_sim.experiments.conclusions.evidence import evidence


@dataclass(frozen=True)
class Turn:
    """At which recall an oracle begins to pay.

    ``recall``: where its time is that of no prediction; None where it pays at every recall swept
    (``pays``), or at the highest not.
    """

    point: Measured  # one of the line: all but its recall is the line's
    recall: float | None
    pays: bool
    alike: bool  # whether the highest takes as long as no prediction
    untold: bool  # whether requests, of which there are enough, leave open which is faster
    least: float
    most: float


def turns(swept: Swept) -> list[Turn]:
    """For each line of oracles that differ in recall alone, in the sweep's order."""
    lines: dict[object, dict[float, Measured]] = {}
    bases: dict[object, Measured] = {}
    for point in swept.points:
        recall, base = figures.recall(point.result), swept.without(point)
        if recall is None or base is None:
            continue
        (oracle,) = point.result["config"]["predictor"]
        rest = tuple(sorted((k, str(v)) for k, v in oracle.items() if k != "recall"))
        others = [p for p in swept.policy_axes if not under(p, ("predictor",))]
        key = swept.condition(point), tuple(point.axes[p] for p in others), rest
        lines.setdefault(key, {})[recall] = point
        bases[key] = base
    return [_turn(line, bases[key]) for key, line in lines.items() if len(line) > 1]


def _turn(line: Mapping[float, Measured], base: Measured) -> Turn:
    recalls = sorted(line)
    slower = [time_of(line[recall]) - time_of(base) for recall in recalls]
    best = line[recalls[-1]]
    found = evidence(base.result, best.result)
    alike = abs(slower[-1]) < figures.NOTICED * time_of(base)
    untold = not alike and found is not None and found.enough and not found.pairs.real
    turned = (None, False) if alike or untold else turning(recalls, slower)
    return Turn(best, *turned, alike, untold, recalls[0], recalls[-1])


def turning(recalls: Sequence[float], slower: Sequence[float]) -> tuple[float | None, bool]:
    """(the recall from which on prediction pays at all higher ones, whether it does at the highest)

    ``slower``: how much more time each recall takes than no prediction. Between recalls by a
    straight line; None where the lowest pays already, and where the highest does not.
    """
    last = max((i for i, more in enumerate(slower) if more >= 0), default=-1)
    pays = last < len(recalls) - 1
    if last < 0 or not pays:
        return None, pays
    part = slower[last] / (slower[last] - slower[last + 1])
    return recalls[last] + part * (recalls[last + 1] - recalls[last]), pays
