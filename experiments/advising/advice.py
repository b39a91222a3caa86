"""The answer to a question: what fits, how fast it decodes, what limits it and what would help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from prefetch_sim.experiments.advising import band as bands
from prefetch_sim.experiments.advising import machine as machines
from prefetch_sim.experiments.advising import near, points
from prefetch_sim.experiments.advising.machine import Taken
from prefetch_sim.experiments.advising.near import Measured
from prefetch_sim.experiments.advising.placements import (
    GIB,
    Placement,
    Way,
    first_layers,
    placed,
    ways,
)
from prefetch_sim.experiments.advising.points import Point
from prefetch_sim.experiments.advising.question import Question
from prefetch_sim.experiments.advising.situation import Situation, as_written, settle
from prefetch_sim.experiments.advising.targets import Target, judged
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, set_path
from prefetch_sim.sim.setup.capacities import per_expert

Told = Callable[[str], None]
Fits = Literal["whole", "split", "drive", "nowhere"]
ENGINES = ("llama.cpp", "ktransformers", "imp")  # that place experts in three ways
RECALLS = (0.6, 0.8, 1.0)  # of the experts of the next layer
PREFETCHING = "imp"  # whose loads stand for those of an engine that prefetches
_COUNTS = 0.02  # an elasticity from which on a figure counts


@dataclass(frozen=True)
class Memory:
    """GiB; what is left of the accelerator's is negative where nothing fits."""

    accelerator: float
    other_weights: float
    kv_cache: float
    runtime: float
    left: float
    experts: float
    on_gpu: float
    in_host: float
    on_drive: float


@dataclass(frozen=True)
class Speed:
    """Of decode, one request: expected, and within which band. Half-widths are shares."""

    tokens_s: float
    low: float
    high: float
    ms: float
    half_width: float
    from_figures: float
    from_field: float
    cut: bool  # what is known would make it wider
    tokens_s_at_context: float


@dataclass(frozen=True)
class Split:
    """How experts are placed: ``layers`` whole ones, or ``each`` of every layer, or a cache."""

    way: Way
    layers: int
    each: int
    share: float  # of all experts' bytes
    hit_rate: float | None
    flags: str | None  # of the engine, where it has some


@dataclass(frozen=True)
class Option:
    """Something else, and what it would bring: ``gain`` is a share of what it is compared to."""

    what: str
    tokens_s: float
    gain: float


@dataclass(frozen=True)
class Trust:
    """What the answer rests on."""

    figures: dict[str, int]  # that count, by kind: measured, datasheet, estimate
    doubts: dict[str, float]  # the largest parts of the band, by figure
    measured: tuple[Measured, ...]  # the nearest rows of the field check


@dataclass(frozen=True)
class Advice:
    """All that there is to say; times of decode, one request at a time."""

    model: str
    precision: Any
    machine: str
    runtime: str
    context: int
    taken: tuple[Taken, ...]
    fits: Fits
    memory: Memory
    longest_context: int | None  # where nothing fits: the most with which it would
    speed: Speed | None
    split: Split | None
    limits: dict[str, float]  # shares of a token's time that go with each
    more: tuple[Option, ...]  # memory, link, drive, CPU
    engines: tuple[Option, ...]
    prefetch: tuple[Option, ...]
    prefetches: str | None  # the engine that these are of
    target: Target | None
    trust: Trust | None
    config: Tree | None


def advise(
    question: Question,
    progress: Told | None = None,
    *,
    look: Callable[[], machines.Here] = machines.here,
    without: Collection[str] = (),
) -> Advice:
    """Answer ``question``. Raises ConfigError or ProfileError where it names what is not known.

    ``progress`` is told what is under way; ``look`` says what this machine is; ``without`` are rows
    of the field check that the band is to know nothing of.
    """
    tell = progress or (lambda what: None)
    tell("reading")
    found = settle(question, look)
    able = _ways(found)
    if not able:
        return _nowhere(found)
    tell("placing experts")
    tried = [_point(found, way, asked=True) for way in able]
    placement, best = max(tried, key=lambda one: one[1].tokens_s)
    felt = points.elasticities(best, lambda figure: tell(f"what {figure} counts for"))
    doubt = bands.band(best, felt, without)
    speed = _speed(best, doubt, question.context)
    more = _more(found, placement, best, tell)
    engines = _engines(found, placement, best, tell)
    prefetches, prefetch = _prefetch(found, placement, best, tell)
    target = None
    if question.target is not None:
        tell("what would reach the target")
        larger = partial(_larger, found)
        needed = (found.place.everything - placement.on_gpu) / GIB
        others = [(one.what, one.tokens_s) for one in (*engines, *more)]
        target = judged(question.target, (speed.low, speed.tokens_s, speed.high), others, needed, larger)
    return Advice(
        **_asked(found),
        fits="drive" if placement.on_drive else "whole" if placement.way == "whole" else "split",
        memory=_memory(found, placement),
        longest_context=None,
        speed=speed,
        split=_split(found, placement, best),
        limits=limits(felt),
        more=tuple(more),
        engines=tuple(engines),
        prefetch=tuple(prefetch),
        prefetches=prefetches,
        target=target,
        trust=_trust(found, best, felt, doubt, without),
        config=best.tree,
    )


def _asked(found: Situation) -> dict[str, Any]:
    return {
        "model": found.place.name,
        "precision": as_written(found.precision) or "as published",
        "machine": found.machine.profile.name,
        "runtime": found.place.runtime.name,
        "context": found.question.context,
        "taken": found.taken,
    }


def _ways(found: Situation) -> tuple[Way, ...]:
    """A split that was asked for is answered even where all would fit."""
    question, place = found.question, found.place
    able = ways(place, whole=question.n_cpu_moe is None and question.cache is None)
    if question.n_cpu_moe is None or not able:
        return able
    if "layers" not in able:
        raise ConfigError(
            f"n-cpu-moe: {place.runtime.name} on {place.profile.name} keeps no layers on a CPU"
        )
    return ("layers",)


def _point(found: Situation, way: Way, *, asked: bool = False) -> tuple[Placement, Point]:
    """``asked``: in the split of the question, if it has one; else as much as fits."""
    place, question = found.place, found.question
    cache = None
    if asked and question.cache is not None:
        cache = question.cache.resolve(per_expert(place.model, list(place.sizes)), place.room)
    layers = question.n_cpu_moe if asked else None
    placement = placed(place, way, n_cpu_moe=layers, cache=cache)
    return placement, points.run({**found.tree, **placement.changes})


def _fastest(found: Situation) -> Point | None:
    """Of all that the engine can do there."""
    tried = [_point(found, way)[1] for way in ways(found.place)]
    return min(tried, key=lambda point: point.ms, default=None)


def _larger(found: Situation, more_gib: float) -> float:
    """Tokens/s with so much more memory on the accelerator."""
    point = _fastest(found.with_memory(more_gib))
    return point.tokens_s if point else 0.0


def _speed(point: Point, doubt: bands.Band, context: int) -> Speed:
    expected = point.tokens_s
    return Speed(
        tokens_s=expected,
        low=expected * (1 - doubt.half),
        high=expected * (1 + doubt.half),
        ms=point.ms,
        half_width=doubt.half,
        from_figures=doubt.figures,
        from_field=doubt.field,
        cut=doubt.cut,
        tokens_s_at_context=1e3 / points.at_context(point, context),
    )


def _memory(found: Situation, placement: Placement | None) -> Memory:
    place = found.place
    on_gpu, on_drive = (placement.on_gpu, placement.on_drive) if placement else (0, 0)
    nbytes = (
        place.profile.compute.memory_gib.value * GIB, *place.beside, place.room, place.everything,
        on_gpu, place.everything - on_gpu - on_drive if placement else 0, on_drive,
    )  # fmt: skip
    return Memory(*(n / GIB for n in nbytes))


def _split(found: Situation, placement: Placement, best: Point) -> Split:
    place = found.place
    flags = None
    if place.runtime.name == "llama.cpp" and not place.profile.unified_memory:
        first = first_layers(place.model, placement.layers)
        moe = f" --n-cpu-moe {first}" if placement.way == "layers" and first else ""
        flags = f"-ngl 99{moe} -c {found.question.context}"
    elif place.runtime.name == "ktransformers" and placement.way == "each":
        flags = f"--kt-num-gpu-experts {placement.each}"
    return Split(
        placement.way,
        placement.layers,
        placement.each,
        placement.on_gpu / place.everything,
        best.hit_rate,
        flags,
    )


_GROUPS = (  # of figures, by the beginning of their paths; the first that fits
    ("link", ("hardware.host_link", "hardware.contention.host_link", "runtime.load.issue_us")),
    ("cpu", ("hardware.cpu", "hardware.contention")),
    ("drive", ("hardware.storage", "runtime.load.read_us")),
    ("gpu", ("hardware.compute",)),
    ("engine", ("runtime",)),
)


def limits(felt: Mapping[str, float]) -> dict[str, float]:
    """What a token's time goes with, as shares of all that was found, the largest first."""
    sums = dict.fromkeys((name for name, _ in _GROUPS), 0.0)
    for path, e in felt.items():
        for name, begins in _GROUPS:
            if path.startswith(begins):
                sums[name] += e
                break
    whole = sum(sums.values()) or 1.0
    return dict(sorted(((k, v / whole) for k, v in sums.items()), key=lambda item: -item[1]))


def _option(what: str, point: Point, against: Point) -> Option:
    return Option(what, point.tokens_s, point.tokens_s / against.tokens_s - 1)


def _more(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """A GiB more of the accelerator's memory, and twice the rate of what may limit."""
    if placement.way == "whole":
        return []
    options = []
    profile, inputs = found.machine.profile, best.inputs
    split = found.question.n_cpu_moe is not None or found.question.cache is not None
    if not split:
        tell("another GiB of memory")
        more = found.with_memory(1.0)
        way: Way = placement.way if placement.way in ways(more.place) else "whole"
        options.append(_option("memory_gib+1", _point(more, way)[1], best))
    rates = {"link": profile.host_link and "hardware.host_link.gb_s"}
    rates["drive"] = "hardware.storage.gb_s" if placement.on_drive else None
    flat = profile.flat()
    for what, path in rates.items():
        if path is None:
            continue
        tell(f"a faster {what}")
        changes = {path: 2 * flat[path.removeprefix("hardware.")].value}
        if what == "drive":
            changes["hardware.storage.stream_gb_s"] = 2 * profile.storage.stream_gb_s.value
        options.append(_option(f"{what}*2", points.run(_set(best.tree, changes)), best))
    if inputs.cpu_computes:
        tell("faster memory for the CPU")
        paths = [path for path in flat if path.startswith("cpu.expert_gb_s")]
        changes = {f"hardware.{path}": 2 * flat[path].value for path in paths}
        options.append(_option("cpu*2", points.run(_set(best.tree, changes)), best))
    return options


def _set(tree: Tree, changes: Mapping[str, float]) -> Tree:
    for path, value in changes.items():
        tree = set_path(tree, path, value)
    return tree


def _engines(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """The fastest way of other engines, where experts are split between GPU and host."""
    if placement.way == "whole" or placement.on_drive or found.place.profile.unified_memory:
        return []
    options = []
    for name in ENGINES:
        if name != found.place.runtime.name:
            tell(f"with {name}")
            point = _fastest(found.with_runtime(name))
            if point is not None:
                options.append(_option(name, point, best))
    return options


def _prefetch(
    found: Situation, placement: Placement, best: Point, tell: Told
) -> tuple[str | None, list[Option]]:
    """What foreseeing the next layer's experts brings to an engine that loads what it misses."""
    if placement.way == "whole":
        return None, []
    base = best
    if not placement.way.startswith("lru"):
        other = found.with_runtime(PREFETCHING)
        if placement.on_drive or "lru" not in ways(other.place):
            return None, []
        base = _point(other, "lru")[1]
    options = []
    for recall in RECALLS:
        tell(f"a prefetcher of recall {recall:g}")
        predictor = {"name": "oracle", "recall": recall, "distance": 1}
        point = points.run({**base.tree, "predictor": predictor})
        options.append(_option(f"recall={recall:g}", point, base))
    return base.inputs.runtime.name, options


def _trust(
    found: Situation,
    best: Point,
    felt: Mapping[str, float],
    doubt: bands.Band,
    without: Collection[str],
) -> Trust:
    sides = {"hardware": best.inputs.profile.flat(), "runtime": best.inputs.runtime.flat()}
    kinds = {"measured": 0, "datasheet": 0, "estimate": 0}
    for path, e in felt.items():
        side, _, name = path.partition(".")
        if e >= _COUNTS and side in sides:
            kinds[sides[side][name].kind] += 1
    doubts = {path: part for path, part in list(doubt.parts.items())[:3] if part >= 0.005}
    names = found.place.runtime.name, found.place.name, found.machine.profile.name
    return Trust(kinds, doubts, near.rows(*names, without=without))


def _nowhere(found: Situation) -> Advice:
    """Nothing is left for experts: with which context it would."""
    return Advice(
        **_asked(found),
        fits="nowhere",
        memory=_memory(found, None),
        longest_context=_longest(found),
        speed=None,
        split=None,
        limits={},
        more=(),
        engines=(),
        prefetch=(),
        prefetches=None,
        target=None,
        trust=None,
        config=None,
    )


def _longest(found: Situation) -> int | None:
    """The longest context with which there is room, to 256 tokens; None where there is none."""
    low, high = 0, found.question.context // 256
    while low < high:
        middle = (low + high + 1) // 2
        if ways(found.with_context(256 * middle).place):
            low = middle
        else:
            high = middle - 1
    return 256 * low or None
