"""What else could be done, run: more memory, a faster link, another engine, a prefetcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

from prefetch_sim.experiments.advising import formats, points
from prefetch_sim.experiments.advising.answer import Option
from prefetch_sim.experiments.advising.choices import fastest, point
from prefetch_sim.experiments.advising.machine import GIB, host_usable, unified_usable
from prefetch_sim.experiments.advising.placements import (
    CACHED,
    Placement,
    at_best,
    first_layers,
    last,
    placed,
    ways,
)
from prefetch_sim.experiments.advising.points import Point
from prefetch_sim.experiments.advising.situation import USUAL, Situation, from_drive
from prefetch_sim.experiments.advising.targets import WHOLE_MACHINE
from prefetch_sim.sim.config.files import Tree, set_path

Told = Callable[[str], None]
ENGINES = ("llama.cpp", "ktransformers", "imp")  # that place experts in three ways
PREFETCHING = "imp"  # whose loads stand for those of an engine that prefetches
RECALLS = (0.6, 0.8, 1.0)  # of the experts of the next layer
DISPLAY = 1.0  # GiB; what a desktop may take of a card
# GB of host memory as it is sold.
_SOLD = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def more(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """More of the accelerator's memory or the host's, and twice the rate of what may limit."""
    if placement.way == "whole":
        return []
    options = []
    question, profile = found.question, best.inputs.profile
    if question.n_cpu_moe is None and question.cache is None:
        tell("another GiB of memory")
        gib = step(found, placement)
        larger = found.with_memory(gib).chosen_anew()
        way = placement.way if placement.way in ways(larger.place) else "whole"
        there, other = point(larger, way)
        paged = at_best(larger.place, there)
        options.append(_option(f"memory_gib+{gib:g}", other, best, paged))
    for what, enough in _all_in_memory(found, placement):
        tell("all experts in memory")
        fast = fastest(enough)
        if fast is not None and fast[1].ms < best.ms:  # made and drawn routing may differ more
            options.append(_option(what, fast[1], best, at_best(enough.place, fast[0])))
    flat = profile.flat()
    faster = {
        "link": [] if profile.unified_memory else ["host_link.gb_s"],
        "drive": ["storage.gb_s", "storage.stream_gb_s"] if placement.on_drive else [],
        "cpu": [path for path in flat if path.startswith("cpu.expert_gb_s")],
    }
    if not best.inputs.cpu_computes:
        faster["cpu"] = []
    for what, paths in faster.items():
        if paths:
            tell(f"a faster {what}")
            tree = best.tree
            for path in paths:
                tree = set_path(tree, f"hardware.{path}", 2 * flat[path].value)
            paged = at_best(found.place, placement)
            options.append(_option(f"{what}*2", points.run(tree), best, paged))
    return options


def engines(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """The fastest way of other engines that run there, where experts are split."""
    place = found.place
    if placement.way == "whole" or (placement.on_drive and not place.profile.unified_memory):
        return []
    names: tuple[str, ...] = ENGINES
    if place.profile.unified_memory:  # that which reads the drive itself, and what pages
        own = from_drive(place.profile.chip)
        names = (own, USUAL) if own else (USUAL,)
    options = []
    for name in names:
        if formats.refusal(name, found.question.quant):
            continue
        if name != found.place.runtime.name and found.runs(name):
            tell(f"with {name}")
            there = found.with_runtime(name)
            other = fastest(there)
            if other is not None:
                options.append(_option(name, other[1], best, at_best(there.place, other[0])))
    return options


def best(found: Situation, asked: Point, tell: Told) -> Option | None:
    """The fastest that the engine can be, where a split was asked about; None where none was."""
    if found.question.n_cpu_moe is None and found.question.cache is None:
        return None
    tell("the best split")
    fast = fastest(found)
    if fast is None:
        return None
    said = flags(found, fast[0]) or _in_words(fast[0])
    return _option(said, fast[1], asked, at_best(found.place, fast[0]))


def safer(found: Situation, placement: Placement, best: Point) -> Option | None:
    """With so many layers fewer on the GPU that a display has room; None where it has already."""
    place, question = found.place, found.question
    if placement.way != "layers" or placement.on_drive or question.n_cpu_moe is not None:
        return None
    room = place.room - DISPLAY * GIB
    fits = [n for n in range(1, placement.layers) if sum(last(place, n)) <= room]
    if not fits or placement.on_gpu <= room:
        return None
    fewer = placed(place, "layers", n_cpu_moe=first_layers(place.model, fits[-1]))
    if fewer.on_drive or (said := flags(found, fewer)) is None:
        return None
    return _option(said, points.run({**found.tree(whole=False), **fewer.changes}), best)


def flags(found: Situation, placement: Placement) -> str | None:
    """The engine's own, where it has some for this."""
    place, way = found.place, placement.way
    if place.runtime.name == "llama.cpp" and way in ("whole", "layers"):
        first = first_layers(place.model, placement.layers)
        kv = formats.kv_flags(found.precision.over(place.model.precision).kv)
        moe = f" --n-cpu-moe {first}" if way == "layers" and first else ""
        return f"-ngl 99{moe} -c {found.question.context}{kv}"
    if place.runtime.name == "ktransformers" and way == "each":
        return f"--kt-num-gpu-experts {placement.each}"
    return None


def _in_words(placement: Placement) -> str:
    if placement.way in CACHED:
        return f"a cache of {placement.on_gpu / GIB:.1f} GiB"
    return "every expert in memory"


def step(found: Situation, placement: Placement) -> float:
    """GiB more that change something: one, or what the next whole layer lacks."""
    place = found.place
    if placement.way != "layers":
        return 1.0
    next_one = sum(last(place, placement.layers + 1))
    return max(1.0, ceil(10 * (next_one - place.room) / GIB) / 10)


def _all_in_memory(found: Situation, placement: Placement) -> Iterator[tuple[str, Situation]]:
    """With so much memory that nothing is on the drive; none where that is so already."""
    place = found.place
    if not placement.on_drive:
        return
    if place.profile.unified_memory:
        has = place.profile.compute.memory_gib.value
        usable = ((gb, unified_usable(place.profile, gb * GIB) / GIB - has) for gb in _SOLD)
        for gb, more_gib in usable:  # a smaller reserve of another engine's counts, too
            larger = found.with_memory(more_gib).chosen_anew()
            if larger.place.room >= larger.place.everything:
                other = larger.place.runtime.name
                how = "" if other == place.runtime.name else f" {other}"
                yield f"{WHOLE_MACHINE}{gb}{how}", larger
                return
        return
    in_host = place.everything - placement.on_gpu
    size = next((gb for gb in _SOLD if host_usable(gb * GIB) >= in_host), None)
    if size is not None:
        yield f"host_gib={size}", found.with_host(size)


def prefetch(
    found: Situation, placement: Placement, best: Point, tell: Told
) -> tuple[Point | None, list[Option]]:
    """What foreseeing the next layer's experts brings to an engine that loads what it misses.

    Nothing is said of a split that stays above a drive: what would pay is to bring experts to host
    memory, and a run brings what it foresees on to the accelerator.
    """
    base = best
    if placement.way in ("whole", "layers", "each"):
        other = found.with_runtime(PREFETCHING)
        if placement.way == "whole" or placement.on_drive or "lru" not in ways(other.place):
            return None, []
        base = point(other, "lru")[1]
    tell("a cache that is full")
    without = points.settled(base.tree, base.inputs)
    options = []
    for recall in RECALLS:
        tell(f"a prefetcher of recall {recall:g}")
        foreseen = points.settled({**base.tree, "predictor": oracle(recall)}, base.inputs)
        gain = without.ms / foreseen.ms - 1
        options.append(Option(f"recall={recall:g}", base.tokens_s * (1 + gain), gain))
    return base, options


def oracle(recall: float) -> Tree:
    """What foresees so much of the next layer, as a config has it."""
    return {"name": "oracle", "recall": recall, "distance": 1, "trigger": "layer_start"}


def _option(what: str, found: Point, against: Point, paged: bool = False) -> Option:
    return Option(what, found.tokens_s, found.tokens_s / against.tokens_s - 1, paged)
