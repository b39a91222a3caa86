"""Holds policies that are not of this package to their contracts, at each call.

The package's own are held to theirs by their tests, and are called as they are. ``prefetch-sim
check`` tries more than an answer can show, such as memory that outlives a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.config.errors import did_you_mean
from prefetch_sim.sim.config.foreign import BrokenContractError
from prefetch_sim.sim.config.registry import is_of_this_package
from prefetch_sim.sim.predictors.base import Cost, Predictor, Table, Trigger
from prefetch_sim.sim.prefetch.base import Untimed
from prefetch_sim.sim.setup.arguments import hold_arguments
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import shown

Hook = Callable[..., Any]

_WHOLE = int, np.integer, np.bool_
_SCORING = ("inserted", "used", "not_routed", "predicted", "spared")


def held(kind: str, module: ModuleType) -> ModuleType:
    """``module``, or, where it is not of this package, one whose functions check their answers.

    Raises BrokenContractError where they cannot be called as they will be.
    """
    if is_of_this_package(module.__name__):
        return module
    hold_arguments(kind, module)
    found = ModuleType(module.__name__)
    vars(found).update(vars(module))
    for name, wrap in _HELD[kind].items():
        if (hook := getattr(module, name, None)) is not None:
            setattr(found, name, wrap(name, hook))
    if kind == "prefetch" and not getattr(module, "TIMED", False):
        vars(found)["propose"] = _untimed(vars(found)["propose"])
    return found


def _whole(kind: str, what: str, value: Any) -> int:
    if isinstance(value, _WHOLE):
        return int(value)  # NumPy's, which overflow
    raise BrokenContractError(kind, what.format(shown(value)))


def hold_score(name: str, value: Any) -> int:
    """What the function ``name`` of an eviction returned, as a plain integer."""
    if type(value) is int:
        return value
    return _whole(
        "eviction", f"{name} returned {{}} where a score, a whole number, is expected", value
    )


def _scoring(name: str, hook: Hook) -> Hook:
    def score(*told: Any) -> int:
        return hold_score(name, hook(*told))

    return score


def _beginning(name: str, hook: Hook) -> Hook:
    def begin(state: Any, rooms: Sequence[int]) -> Any:
        begun = hook(state, rooms)
        if begun is None:
            raise BrokenContractError("eviction", "begin returned None, and is to return the State")
        return begun

    return begin


def _proposing(name: str, hook: Hook) -> Hook:
    def propose(
        ids: Sequence[int],
        scores: Sequence[float],
        tokens: int,
        limits: Any,
        resident: Sequence[bool],
        seen: list[int],
        stamp: int,
        out: list[Any],
        priority: list[Any],
    ) -> int:
        # None, so that what is not written shows. All are copies: the lists are of further calls
        # too, and who is resident is the cache's.
        named: list[Any] = [None] * len(out)
        served: list[Any] = [None] * len(out)
        known = list(ids), list(scores), tokens, limits, list(resident)
        count = hook(*known, seen, stamp, named, served)
        count = hold_count(count, min(len(ids), len(named), len(served)))
        out[:count] = written("out", named[:count])
        priority[:count] = written("priority", served[:count])
        hold_choice(out[:count], ids)
        hold_priorities(priority[:count])
        return count

    return propose


def _untimed(propose: Hook) -> Hook:
    def untold(*told: Any) -> int:
        ids, scores, tokens, limits, *rest = told
        count: int = propose(ids, scores, tokens, Untimed(*limits), *rest)
        return count

    return untold


def hold_count(value: Any, room: int) -> int:
    """What ``propose`` returned where there are ``room`` candidates, as a plain integer."""
    count = _whole("prefetch", "propose returned {} where a count is expected", value)
    if not 0 <= count <= room:
        raise BrokenContractError(
            "prefetch", f"propose returned {count} where there are {room} candidates"
        )
    return count


def written(where: str, values: list[Any]) -> list[int]:
    """What ``propose`` wrote, as plain integers."""
    if {*map(type, values)} <= {int}:
        return values
    for i, value in enumerate(values):
        if value is None:
            raise BrokenContractError(
                "prefetch", f"propose returned more than it wrote: {where}[{i}] is not written"
            )
    said = f"propose wrote {{}} to {where} where a whole number is expected"
    return [_whole("prefetch", said, value) for value in values]


def hold_choice(named: list[int], ids: Sequence[int]) -> None:
    """Raises BrokenContractError unless ``named`` are some of the candidates, each once."""
    once = set(named)
    if not once.issubset(ids) or min(named, default=0) < 0:
        x = next(x for x in named if x < 0 or x not in ids)
        raise BrokenContractError("prefetch", f"propose proposed {x}, which is no candidate")
    if len(once) < len(named):
        x = next(x for i, x in enumerate(named) if x in named[:i])
        raise BrokenContractError("prefetch", f"propose proposed expert {x} twice")


def hold_priorities(served: list[int]) -> None:
    """Raises BrokenContractError where priorities fall, or begin below 0."""
    if served != sorted(served) or min(served, default=0) < 0:
        at = next(i for i, (before, p) in enumerate(zip([0, *served], served)) if p < before)
        least = f"behind {shown(served[at - 1])}, and priorities do not fall" if at else "below 0"
        raise BrokenContractError(
            "prefetch", f"propose wrote {shown(served[at])} to priority[{at}], {least}"
        )


def _planning(name: str, hook: Hook) -> Hook:
    def plan(
        count: int, cpu_ns: Sequence[int], state: Sequence[int], layer: Any, chosen: list[int]
    ) -> None:
        mine: list[Any] = [None] * count
        hook(count, cpu_ns, state, layer, mine)
        chosen[:count] = hold_plan(mine, count)

    return plan


def hold_plan(written: list[Any], count: int) -> list[int]:
    """What ``plan`` wrote for each of ``count``, as 0 and 1; None stands where it did not."""
    if len(written) < count:
        raise BrokenContractError(
            "misses", f"plan left {len(written)} of the {count} answers in chosen"
        )
    for i, value in enumerate(written[:count]):
        if value is None:
            raise BrokenContractError("misses", f"plan did not write chosen[{i}]: 0 or 1")
        if not isinstance(value, (*_WHOLE, float, np.floating)) or value not in (0, 1):
            raise BrokenContractError(
                "misses", f"plan wrote {shown(value)} to chosen[{i}] where 0 or 1 is expected"
            )
    return list(map(int, written[:count]))


_HELD: dict[str, dict[str, Callable[[str, Hook], Hook]]] = {
    "eviction": {"begin": _beginning, **dict.fromkeys(_SCORING, _scoring)},
    "prefetch": {"propose": _proposing},
    "misses": {"plan": _planning},
}


def hold_predictor(predictor: Predictor) -> None:
    """Raises BrokenContractError where it says wrongly when it fires, how far ahead, at what cost.

    One of this package says it rightly.
    """
    triggers, given = get_args(Trigger), predictor.trigger
    if given not in triggers:
        raise _wrong(f"trigger is {shown(given)}{did_you_mean(str(given), triggers)}")
    least, distance = int(given == "routed"), predictor.distance
    if not isinstance(distance, int | np.integer) or distance < least:
        raise _wrong(f"distance is {shown(distance)}, and is a whole number from {least} on")
    cost = predictor.cost
    pair = isinstance(cost, tuple) and len(cost) == len(Cost._fields)
    if not pair or not all(_is_cost(one) for one in cost):
        raise _wrong(f"cost is {shown(cost)}, and is Cost(flops, nbytes), neither below 0")


def _is_cost(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and bool(np.isfinite(value)) and value >= 0


def hold_arrays(table: Any, workload: Workload) -> None:
    """Raises BrokenContractError unless ``table`` has two arrays of the shape of ``workload``."""
    parts = isinstance(table, tuple) and len(table) == len(Table._fields)
    if not parts or not all(isinstance(part, np.ndarray) for part in table):
        raise _wrong(f"table returned {shown(table)} where a Table of two arrays is expected")
    ids, scores = table
    first = workload.flat.shape[:2]
    if ids.ndim != 3 or ids.shape[:2] != first or ids.shape != scores.shape or not ids.shape[2]:
        raise _wrong(
            f"table has ids {list(ids.shape)} and scores {list(scores.shape)}, both of which are "
            f"[{first[0]} tokens, {first[1]} layers, candidates]"
        )
    if ids.dtype.kind not in "iu" or scores.dtype.kind not in "iuf":
        raise _wrong(f"table has ids of {ids.dtype} and scores of {scores.dtype}")


def hold_table(table: Any, workload: Workload) -> None:
    """Raises BrokenContractError unless ``table`` is one of the experts of ``workload``."""
    hold_arrays(table, workload)
    ids, scores = table
    named, width = ids >= 0, workload.experts
    rising = named[..., 1:] & named[..., :-1] & (scores[..., 1:] > scores[..., :-1])
    behind_none = named[..., 1:] & ~named[..., :-1]
    low = (np.arange(workload.layers) * width)[None, :, None]
    for odd, said in (
        (
            (ids < -1) | (named & ((ids < low) | (ids >= low + width))),
            "of layer {layer} it names {expert}, and the flat ids of that layer are {low} to {high}"
            " (layer × {width} + expert), -1 for none",
        ),
        (
            named & ~((scores >= 0) & (scores <= 1)),  # NaN, too
            "the score of expert {expert} is {score}, and not from 0 to 1",
        ),
        (
            np.pad(behind_none, ((0, 0), (0, 0), (1, 0))),
            "of layer {layer} it names {expert} behind a -1, which says that there are no more",
        ),
        (
            np.pad(rising, ((0, 0), (0, 0), (1, 0))),
            "of layer {layer} it names {expert} behind one with a lower score: best first",
        ),
        (_again(ids, named), "of layer {layer} it names {expert} twice"),
    ):
        if odd.any():
            at = tuple(np.argwhere(odd)[0])
            layer = int(at[1])
            start = layer * width
            words = {"layer": layer, "low": start, "high": start + width - 1, "width": width}
            raise _wrong(said.format(expert=int(ids[at]), score=float(scores[at]), **words))


def _again(ids: npt.NDArray[Any], named: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Candidates that were named before, of the same token and layer."""
    again = np.zeros_like(named)
    for i in range(1, ids.shape[2]):  # no [tokens, layers, m, m] array
        again[..., i] = named[..., i] & (ids[..., :i] == ids[..., i : i + 1]).any(axis=-1)
    return again


def _wrong(said: str) -> BrokenContractError:
    return BrokenContractError("predictors", said)
