"""What a sweep says: the best point and policy, where prefetching hurts, and where it turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from prefetch_sim.experiments.conclusions import comparisons, figures
from prefetch_sim.experiments.conclusions.comparisons import (
    Difference,
    Labels,
    Measured,
    Ranking,
    Swept,
    under,
)
from prefetch_sim.experiments.conclusions.evidence import of_many, of_one
from prefetch_sim.experiments.conclusions.figures import NOTICED
from prefetch_sim.experiments.conclusions.one_run import because, per_token
from prefetch_sim.experiments.conclusions.paying import little, not_counted, who
from prefetch_sim.experiments.conclusions.turns import Turn, turns
from prefetch_sim.experiments.conclusions.unchecked import unchecked
from prefetch_sim.experiments.text import count, last_parts, number, percent
from prefetch_sim.traces.samples import samples

_GIVEN = ("hardware", "hardware.name", "model", "model.name")  # each has a best point of its own
_MOST = 12  # lines of one kind
_WORST = 5
_PLACES = 4  # of one policy, in a sentence


def of_sweep(points: Iterable[Measured]) -> list[str]:
    """The conclusion of the points that have run, a line an entry; empty where none has a time."""
    swept = Swept(points)
    nothing = _idle(swept)
    if len(swept.points) < 2:
        return nothing
    said = [*_undecoded(swept), *_best(swept), *_policies(swept)]
    said += [*_unchecked(swept), *_foresight(swept)]
    return [*nothing, *said, *_hurts(swept), *_turns(swept), *_routing(swept)]


def named(paths: Sequence[str], labels: Labels) -> str:
    """``hardware rtx-4090, capacity 20%``. A condition that is not given goes unsaid."""
    given = zip(paths, last_parts(paths), labels)
    return ", ".join(
        f"{name} {label}"
        for path, name, label in given
        if label and (label != "none" or under(path, comparisons.POLICIES))
    )


def _idle(swept: Swept) -> list[str]:
    """Which axes might as well not have been swept."""
    if not swept.idle:
        return []
    change = "changes" if len(swept.idle) == 1 else "change"
    return [f"{' and '.join(swept.idle)} {change} nothing here: all values give the same figures."]


def _undecoded(swept: Swept) -> list[str]:
    """That there is no time per output token, and whose time stands in its place."""
    none = sum(point.result["tpot_ms"]["mean"] is None for point in swept.points)
    if not none:
        return []
    where = "" if none == len(swept.points) else f" at {none} of {len(swept.points)} points"
    return [f"No decode token was run{where}: times are those of the whole run."]


def _best(swept: Swept) -> list[str]:
    said = [f"Fastest: {_point(swept, comparisons.fastest(swept.feasible))}."]
    if swept.bounds_alone:
        causes = dict.fromkeys(c for p in swept.points for c in figures.foreseeing(p.result))
        said.insert(
            0,
            f"Every point sees the future ({', '.join(causes)}): these are bounds, which no engine "
            "can have.",
        )
    axes = [path for path in swept.condition_axes if path in _GIVEN]
    by_value = comparisons.best_by(swept, axes) if axes else {}
    lines = [
        f"- {named(axes, labels)}: {_speed(point)}{_with(_rest(swept, point, axes))}"
        for labels, point in by_value.items()
    ]
    if len(lines) < 2:
        return said
    return [*said, "Fastest on each:", *_cut(lines)]


def _point(swept: Swept, point: Measured) -> str:
    return ": ".join(part for part in (_rest(swept, point, ()), _speed(point)) if part)


def _rest(swept: Swept, point: Measured, but: Sequence[str]) -> str:
    paths = [path for path in (*swept.condition_axes, *swept.policy_axes) if path not in but]
    return named(paths, tuple(swept.label(point, path) for path in paths))


def _with(rest: str) -> str:
    return f" with {rest}" if rest else ""


def _speed(point: Measured) -> str:
    rate = point.result.get("decode_tokens_per_s")
    told = per_token(point.result)
    return told if rate is None else f"{number(rate)} tokens/s, {told}"


def _policies(swept: Swept) -> list[str]:
    found = comparisons.ranking(swept)
    if found is None:
        return []
    best, second = (named(swept.policy_axes, labels) for labels in found.order[:2])
    if found.split:
        return _split(swept, found)
    if found.tied:
        return _no_policy(swept, found)
    several = f", fastest in {found.wins} of {count(found.contested, 'condition')}"
    said = [f"Best policy: {best}{several if found.contested > 1 else ''}."]
    if found.over_none:
        said.append(f"Against no prediction it takes {_differences(found.over_none)}.")
    if found.over_next:
        said.append(f"Against the next best, {second}, it takes {_differences(found.over_next)}.")
    return said


def _no_policy(swept: Swept, found: Ranking) -> list[str]:
    """Several are the best alike: the first of them is so by chance."""
    alike = [named(swept.policy_axes, labels) for labels in (found.order[0], *found.tied)]
    listed = " and ".join(alike[:2]) + (f" and {len(alike) - 2} more" if len(alike) > 2 else "")
    average = " on average" if found.contested > 1 else ""
    said = [f"No policy stands out: {listed} take as long{average}."]
    if found.over_none:
        said.append(f"Against no prediction the first takes {_differences(found.over_none)}.")
    return said


def _split(swept: Swept, found: Ranking) -> list[str]:
    """Requests bear out that one is faster here and the other there: none is the best."""
    wins: dict[bool | None, list[str]] = {}
    for one in found.over_next:
        where = named(swept.condition_axes, swept.condition(one.point))
        wins.setdefault(one.faster, []).append(where)
    best, second = (named(swept.policy_axes, labels) for labels in found.order[:2])
    of_two = "" if len(found.order) == 2 else "of the two that are best on average, "
    said = f"No policy is best throughout: {of_two}{best} is faster at {_places(wins[True])}, "
    said += f"{second} at {_places(wins[False])} (borne out by the requests)"
    if None in wins:
        said += f"; open at {_places(wins[None])}"
    lines = [f"{said}."]
    if found.over_none:
        lines.append(f"Against no prediction the first takes {_differences(found.over_none)}.")
    return lines


def _places(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - _PLACES} more" if len(listed) > _PLACES else ""
    return "; ".join(listed[:_PLACES]) + more


def _differences(found: Sequence[Difference]) -> str:
    """``12.3 % less (median of 4 conditions, 1.0 % to 20.1 %) (borne out by ...)``."""
    if len(found) == 1:
        return _share(found[0].share) + of_one(found[0].evidence)
    shares = sorted(one.share for one in found)
    ends = f"{_share(shares[0])} to {_share(shares[-1])}"
    middle = median(shares)
    said = f"{_share(middle)} (median of {count(len(found), 'condition')}: {ends})"
    return said + of_many([one.evidence for one in found], middle)


def _share(share: float) -> str:
    if abs(share) < 0.0005:
        return "as long"
    return f"{percent(abs(share))} {'less' if share < 0 else 'more'}"


def _unchecked(swept: Swept) -> list[str]:
    predictors = (point.result["config"]["predictor"] for point in swept.points)
    return unchecked(one["name"] for given in predictors for one in given)


def _foresight(swept: Swept) -> list[str]:
    real = [point for point in swept.points if not figures.foresees(point.result)]
    best = {c: comparisons.fastest(group) for c, group in swept.by_condition(real).items()}
    ahead = [point for point in swept.points if figures.foresees(point.result)]
    shares = [
        comparisons.difference(comparisons.fastest(group), best[c]).share
        for c, group in swept.by_condition(ahead).items()
        if c in best
    ]
    if not shares:
        return []
    where = f" (median of {count(len(shares), 'condition')})" if len(shares) > 1 else ""
    return [
        "Policies that see the future, which no engine can have, are bounds: against the best of "
        f"the others, the best of them takes {_share(median(shares))}{where}."
    ]


def _hurts(swept: Swept) -> list[str]:
    found, left_out = comparisons.prefetching(swept)
    if not found:
        predicting = [point for point in swept.points if figures.predicts(point.result)]
        if predicting and not any(map(swept.without, predicting)):
            return ["Whether prediction pays cannot be told: no point predicts nothing (none)."]
        return not_counted(left_out, found)
    hurting = sorted((d for d in found if d.share >= NOTICED), key=lambda d: -d.share)
    helping = [d for d in found if d.share <= -NOTICED]
    said = (
        f"{who(found)} helps in {len(helping)} of {count(len(found), 'comparison')} with none"
        + (f" (median {percent(-median(d.share for d in helping))} less)" if helping else "")
        + little(found)
        + f", hurts in {len(hurting)}"
    )
    why = Counter(reason for d in hurting for reason in _why(d))
    causes = ", ".join(f"{reason.value} ({n})" for reason, n in why.most_common())
    lines = [f"{said}{f': {causes}' if causes else ''}.", *not_counted(left_out, found)]
    if not hurting:
        return lines
    return [*lines, "It hurts most:", *_cut([_hurting(swept, d) for d in hurting], _WORST)]


def _why(found: Difference) -> list[figures.Reason]:
    return figures.reasons(found.point.result, found.base.result)


def _hurting(swept: Swept, found: Difference) -> str:
    results = found.point.result, found.base.result
    why = "; ".join(because(reason, *results) for reason in _why(found))
    return f"- {_rest(swept, found.point, ())}: {_share(found.share)}{of_one(found.evidence)}" + (
        f": {why}" if why else ""
    )


def _turns(swept: Swept) -> list[str]:
    found = turns(swept)
    pay = [turn for turn in found if turn.pays]
    at = [f"- {turn.recall:.2f}: {_line(swept, turn)}" for turn in pay if turn.recall is not None]
    always = [f"- {turn.least:g}: {_line(swept, turn)}" for turn in pay if turn.recall is None]
    as_fast: list[str] = []
    untold: list[str] = []
    never: list[str] = []
    for turn in found:
        if not turn.pays:
            idle = figures.unused(turn.point.result) if turn.alike else ""
            line = f"- {turn.most:g}: {_line(swept, turn)}{f': {idle}' if idle else ''}"
            (as_fast if turn.alike else untold if turn.untold else never).append(line)
    said = []
    for words, lines in (
        ("An oracle begins to pay at a recall of:", at),
        ("It pays from the lowest recall swept on:", always),
        ("At the highest recall swept it is as fast as without prediction:", as_fast),
        ("At the highest recall swept the requests do not tell it from no prediction:", untold),
        ("At the highest recall swept it does not pay:", never),
    ):
        said += [words, *_cut(lines)] if lines else []
    return said


def _routing(swept: Swept) -> list[str]:
    """Whose routing it is, where policies are compared on a bundled trace."""
    bundled = samples()
    if not swept.policy_axes or all(
        point.result["config"].get("trace") not in bundled for point in swept.points
    ):
        return []
    return [
        "The routing is that of a small stand-in model (traces mini-*): what a policy gains here "
        "need not be what it gains elsewhere."
    ]


def _line(swept: Swept, turn: Turn) -> str:
    """All that is the line's own: the oracle's other parameters too."""
    (oracle,) = turn.point.result["config"]["predictor"]
    own = [f"{k} {v}" for k, v in oracle.items() if k not in ("name", "recall")]
    paths = [*swept.condition_axes, *(p for p in swept.policy_axes if not under(p, ("predictor",)))]
    others = named(paths, tuple(turn.point.axes[path] for path in paths))
    return ", ".join([part for part in (others, *own) if part]) or "all else being the same"


def _cut(lines: list[str], most: int = _MOST) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"- and {len(lines) - most + 1} more"]
