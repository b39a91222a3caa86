"""The answer to a question: what fits, how fast it decodes, what limits it and what would help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from prefetch_sim.experiments.advising import band as bands
from prefetch_sim.experiments.advising import machine as machines
from prefetch_sim.experiments.advising import near, options, points
from prefetch_sim.experiments.advising.answer import Advice, Memory, Speed, Split, Trust
from prefetch_sim.experiments.advising.choices import able, fastest, point
from prefetch_sim.experiments.advising.machine import GIB, Taken
from prefetch_sim.experiments.advising.placements import CACHED, Placement, at_best, ways
from prefetch_sim.experiments.advising.points import Point
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.experiments.advising.situation import Situation, as_written, settle
from prefetch_sim.experiments.advising.targets import LARGEST_CARD, Target, Way, judged
from prefetch_sim.experiments.text import percent
from prefetch_sim.hardware_profiles import Chip

_COUNTS = 0.02  # an elasticity from which on a figure counts
_NAMED = 3  # figures that make most of the band


def advise(
    question: Question,
    progress: options.Told | None = None,
    *,
    look: Callable[[], machines.Here] = machines.here,
    without: Collection[str] = (),
) -> Advice:
    """Answer ``question``. Raises ConfigError or ProfileError where it names what is not known.

    ``progress`` is told what is under way; ``look`` says what this machine is; ``without`` are rows
    of the field check that are neither in the band's deviation nor shown beside the answer.
    """
    tell = progress or (lambda what: None)
    tell("reading")
    found = settle(question, look)
    if not (tries := able(found)):
        return Advice(
            **_asked(found),
            fits="nowhere",
            memory=_memory(found, None),
            longest_context=_longest_context(found),
        )
    tell("placing experts")
    tried = [point(found, way, asked=True) for way in tries]
    placement, best = min(tried, key=lambda one: one[1].ms)
    felt = points.elasticities(best, lambda figure: tell(f"what {figure} counts for"))
    assumed = {one.what for one in found.taken if one.how == "assumed"}
    chip = found.place.profile.chip
    on_gpu = placement.way == "whole" and chip != "cpu"
    doubt = bands.band(best, felt, without, cpu_assumed="cpu" in assumed, whole=on_gpu)
    speed = _speed(best, doubt, question.context, at_best(found.place, placement))
    more = options.more(found, placement, best, tell)
    engines = options.engines(found, placement, best, tell)
    prefetch = _prefetch(found, placement, best, tell)
    target = None
    if question.target is not None:
        tell("what would reach the target")
        others = [Way(one.what, one.tokens_s, one.at_best) for one in (*engines, *more)]
        target = _target(found, placement, question.target, speed, others)
    return Advice(
        **_asked(found, placement),
        **prefetch,
        fits="drive" if placement.on_drive else "whole" if placement.way == "whole" else "split",
        memory=_memory(found, placement),
        speed=speed,
        split=_split(found, placement, best),
        limits=limits(felt, chip),
        more=tuple(more),
        safer=options.safer(found, placement, best),
        best=options.best(found, best, tell),
        engines=tuple(engines),
        target=target,
        trust=_trust(found, best, felt, doubt, without, whole=on_gpu),
        config=best.tree,
    )


def _prefetch(
    found: Situation, placement: Placement, best: Point, tell: options.Told
) -> dict[str, Any]:
    """What an answer has of prefetching; nothing where there is nothing to judge."""
    base, gains = options.prefetch(found, placement, best, tell)
    if base is None:
        return {}
    engine = base.inputs.runtime
    return {
        "prefetch": tuple(gains),
        "prefetches": engine.name,
        "prefetch_over": base.tokens_s,
        "prefetch_sets": points.filling(base.tree, base.inputs) if base is best else None,
        "may_prefetch": "prefetch" not in engine.lacks,
        "prefetches_here": engine.known_to_run_on(found.machine.profile.chip),
    }


def _asked(found: Situation, placement: Placement | None = None) -> dict[str, Any]:
    """What was asked about, and what is taken for granted; of a ``placement`` more than of none."""
    taken = found.taken
    if placement is not None:
        taken += _hits(placement)
        taken += _known(found) if placement.way != "whole" else ()
    return {
        "model": found.place.model.name,
        "precision": as_written(found.precision) or "as published",
        "machine": found.machine.profile.name,
        "chip": found.machine.profile.chip,
        "runtime": found.place.runtime.name,
        "context": found.question.context,
        "taken": taken,
    }


def _known(found: Situation) -> tuple[Taken, ...]:
    return tuple(
        Taken(f"runtime.{path}", f"{figure['value']:g}", "assumed", figure["source"])
        for path, figure in found.known.items()
    )


def _hits(placement: Placement) -> tuple[Taken, ...]:
    """How often experts are found, where routing is made to that."""
    rate = placement.changes["trace"].get("hit_rate")
    if rate is None:
        return ()
    why = "as LRU caches of such a share were measured to"
    if placement.way in CACHED:
        return (Taken("hits", percent(rate), "assumed", why),)
    why = f"of routed experts that are not on the GPU, {why}"
    return (Taken("found in host memory", percent(rate), "assumed", why),)


def _speed(best: Point, doubt: bands.Band, context: int, at_best: bool) -> Speed:
    expected = best.tokens_s
    return Speed(
        tokens_s=expected,
        low=0.0 if at_best else expected * (1 - doubt.half),
        high=expected * (1 + doubt.half),
        ms=best.ms,
        half_width=doubt.half,
        from_figures=doubt.figures,
        from_field=doubt.field,
        cut=doubt.uncut > doubt.half,
        uncut=doubt.uncut,
        uncut_low=0.0 if at_best else max(0.0, expected * (1 - doubt.uncut)),
        uncut_high=expected * (1 + doubt.uncut),
        at_best=at_best,
        tokens_s_at_context=1e3 / points.at_context(best, context),
    )


def _memory(found: Situation, placement: Placement | None) -> Memory:
    place = found.place
    on_gpu, on_drive = (placement.on_gpu, placement.on_drive) if placement else (0, 0)
    in_host = place.everything - on_gpu - on_drive if placement else 0
    return Memory(
        unified=place.profile.unified_memory,
        accelerator=place.profile.compute.memory_gib.value,
        other_weights=place.beside.weights / GIB,
        kv_cache=place.beside.kv_cache / GIB,
        runtime=place.beside.runtime / GIB,
        left=place.room / GIB,
        experts=place.everything / GIB,
        on_gpu=on_gpu / GIB,
        in_host=in_host / GIB,
        on_drive=on_drive / GIB,
    )


def _split(found: Situation, placement: Placement, best: Point) -> Split:
    place = found.place
    share = placement.on_gpu / place.everything
    flags = options.flags(found, placement)
    return Split(placement.way, placement.layers, placement.each, share, best.hit_rate, flags)


_GROUPS = (  # of figures, by the beginnings of their paths; the first that fits
    ("link", ("hardware.host_link", "hardware.contention.host_link", "runtime.load.issue_us")),
    ("cpu", ("hardware.cpu", "hardware.contention")),
    ("drive", ("hardware.storage", "runtime.load.read_us")),
    ("gpu", ("hardware.compute",)),
    ("engine", ("runtime",)),
)


# Shares of a rate: the time that goes with them goes with the rate, too.
_OF_RATES = ("expert_efficiency", "beside_loads", "contention.cpu", "contention.host_link")


def limits(felt: Mapping[str, float], chip: Chip | None = None) -> dict[str, float]:
    """The shares of a token's time that go with each, the largest first.

    Beside one another they add up to less or more than 1: what ends together is in none or in both.
    A machine whose ``chip`` is its CPU has no GPU.
    """
    sums = dict.fromkeys((name for name, _ in _GROUPS), 0.0)
    for path, e in felt.items():
        name = next((name for name, begins in _GROUPS if path.startswith(begins)), None)
        if name is not None and not path.endswith(_OF_RATES):
            sums["cpu" if name == "gpu" and chip == "cpu" else name] += points.share(e)
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _target(
    found: Situation,
    placement: Placement,
    wanted: float,
    speed: Speed,
    others: list[Way],
) -> Target:
    def larger(more_gib: float) -> float:
        best = fastest(found.with_memory(more_gib).chosen_anew())
        return best[1].tokens_s if best else 0.0

    lacking, profile = (found.place.everything - found.place.room) / GIB, found.place.profile
    if not profile.unified_memory:
        lacking = min(lacking, LARGEST_CARD - profile.compute.memory_gib.value)
    band = speed.low, speed.tokens_s, speed.high
    if placement.way == "whole" or speed.at_best:
        lacking = 0.0
    return judged(wanted, band, others, lacking, larger, speed.at_best)


def _trust(
    found: Situation,
    best: Point,
    felt: Mapping[str, float],
    doubt: bands.Band,
    without: Collection[str],
    *,
    whole: bool,
) -> Trust:
    """What it rests on. ``whole``: whether all experts are on a GPU."""
    stated = bands.figures(best)
    kinds = {"measured": 0, "datasheet": 0, "estimate": 0}
    for path, e in felt.items():
        if e >= _COUNTS and path in stated:
            kinds[stated[path].kind] += 1
    largest = [(path, part) for path, part in doubt.parts.items() if part >= 0.005]
    place = found.place
    names = place.runtime.name, place.model.name, place.profile.name
    return Trust(
        kinds,
        dict(largest[:_NAMED]),
        near.rows(*names, whole=whole, on_cpu=place.profile.chip == "cpu", without=without),
        bands.whole_deviations(without) if whole else None,
    )


def _longest_context(found: Situation) -> int | None:
    """The longest with which there is room, in steps of 256 tokens; None where there is none."""
    low, high = 0, found.question.context // 256
    while low < high:
        middle = (low + high + 1) // 2
        if ways(found.with_context(256 * middle).place):
            low = middle
        else:
            high = middle - 1
    return 256 * low or None
