"""What one run says: where its time goes, whether prefetching pays, what could still be gained."""

from __future__ import annotations

from prefetch_sim.experiments.conclusions import figures
from prefetch_sim.experiments.conclusions.evidence import evidence, of_one
from prefetch_sim.experiments.conclusions.figures import NOTICED, Reason, Result
from prefetch_sim.experiments.conclusions.unchecked import unchecked
from prefetch_sim.experiments.text import number, percent

WAITING_FOR = {
    "demand_miss": "experts that nothing had loaded ahead",
    "late_prefetch": "prefetches that are still on their way",
    "queueing": "loads that wait behind other loads",
    "storage": "reads from storage",
    "cpu": "experts that the CPU computes",
}
_CLOSE = 0.01  # of a bound: what is nearer is said to be there


def of_run(result: Result, without: Result | None = None) -> list[str]:
    """The conclusion of a run, a sentence or two an entry.

    ``result`` is what ``run --json`` prints, ``without`` that of the same run with no predictor.
    """
    if not result["total_ms"]:
        return []
    said = [_time(result)]
    if figures.predicts(result):
        said += _prefetch(result, without)
        said += unchecked(predictor["name"] for predictor in result["config"]["predictor"])
    return said + _link(result) + _left(result)


def because(reason: Reason, result: Result, without: Result | None = None) -> str:
    """A reason with the figures that it stands on."""
    ahead, (stage, busy) = figures.early(result), figures.busiest(result)
    if reason is Reason.COST and without is not None:
        cost = figures.own_cost(result, without)
        return f"it adds {number(cost)} ms of work and computing to the run"
    if reason is Reason.WRONG:
        return f"{percent(ahead.useless / ahead.total)} of its prefetches are never used"
    if reason is Reason.LINK:
        full = f"the {_words(stage)} is full ({percent(busy)} busy)"
        return f"{full}, so what is loaded early delays what is needed now"
    share = ahead.late / (ahead.late + ahead.timely)
    return (
        f"of its prefetches that are used {percent(share)} come late: the window between "
        "prediction and use is shorter than a load"
    )


def per_token(result: Result) -> str:
    """The run's time with its unit."""
    unit = "ms" if result["tpot_ms"]["mean"] is None else "ms a token"
    return f"{number(figures.time_of(result))} {unit}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _time(result: Result) -> str:
    total, waits = result["total_ms"], figures.stalls(result)
    parts = {
        "compute": result["compute_ms"] / total,
        "the runtime's own work": result["runtime_ms"] / total,
        "waiting for experts": sum(waits.values()),
    }
    most = max(parts, key=lambda part: parts[part])
    waiting = parts["waiting for experts"]
    said = f"The largest part of the time, {percent(parts[most])}, is {most}"
    if waiting < NOTICED:
        return f"{said}; hardly any is waiting for experts."
    cause = max(waits, key=lambda cause: waits[cause])
    above_all = f"above all for {WAITING_FOR[cause]} ({percent(waits[cause])})"
    if most == "waiting for experts":
        return f"{said}, {above_all}."
    return f"{said}; waiting for experts takes {percent(waiting)}, {above_all}."


def _prefetch(result: Result, without: Result | None) -> list[str]:
    said, hurts = [], False
    slower = None if without is None else figures.change(result, without)
    if without is not None and slower is not None:
        both = f"{per_token(result)} against {per_token(without)} without prediction"
        hurts = slower >= NOTICED
        if abs(slower) < NOTICED:
            said.append(f"Prefetch changes little: {both}.")
        else:
            does, way = ("hurts", "more") if hurts else ("helps", "less")
            borne = of_one(evidence(without, result))
            said.append(f"Prefetch {does}: {both}, {percent(abs(slower))} {way}{borne}.")
    ahead, ends = figures.early(result), figures.ended(result)
    whose = figures.whose(result)
    if ahead.total:
        timely, late, useless = (percent(part / ahead.total) for part in ahead)
        said.append(
            f"Of {ahead.total:,} prefetches{whose} {timely} were there in time, {late} came "
            f"late and {useless} were not used."
        )
    elif ends["proposed"]:
        said.append(
            f"Nothing was prefetched{whose}: of {ends['proposed']:,} proposals "
            f"{ends['redundant']:,} were there or on their way, {ends['cancelled']:,} were "
            f"cancelled and {ends['dropped']:,} found no room."
        )
    else:
        said.append("Nothing was proposed to be prefetched.")
    found = figures.reasons(result, without)
    if found and ahead.total:
        why = "; ".join(because(reason, result, without) for reason in found)
        said.append(f"{'Why it hurts' if hurts else 'What holds it back'}: {why}.")
    return said


def _link(result: Result) -> list[str]:
    stage, busy = figures.busiest(result)
    waiting = sum(figures.stalls(result).values())
    if busy >= figures.FULL:
        return [
            f"The {_words(stage)} is busy {percent(busy)} of the time: what helps is to load less "
            "(a larger cache, another eviction, smaller experts), or a faster link."
        ]
    if not figures.predicts(result) and waiting >= _CLOSE and busy > 0:
        return [
            f"The {_words(stage)} is busy only {percent(busy)} of the time: loading ahead could "
            "use the rest."
        ]
    return []


def _left(result: Result) -> list[str]:
    found = figures.left(result)
    if found is None:
        return []
    policy, resident = found
    if resident is not None and resident < _CLOSE:
        return ["It is as fast as with every expert resident, within 1 %."]
    whole = f"with every expert resident it takes {percent(resident)} less"
    loads = result["config"]["misses"]["policy"] == "load"  # of the CPU the bound knows nothing
    none = "No eviction and no prefetch" if loads else "No policy"
    given = " while every missing expert is loaded" if loads else ""
    if policy < _CLOSE:
        said = f"{none} can do better{given}: this is the clairvoyant bound, within 1 %"
    else:
        most = f"{percent(policy)} of the time{given}"
        said = f"{none} can save more than {most} (the clairvoyant bound)"
    return [f"{said}; {whole}." if resident is not None else f"{said}."]
