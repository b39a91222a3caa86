"""What else could be done, run: more memory, a faster link, another engine, a prefetcher."""

from __future__ import annotations

from collections.abc import Callable

from prefetch_sim.experiments.advising import points
from prefetch_sim.experiments.advising.answer import Option
from prefetch_sim.experiments.advising.choices import fastest, point
from prefetch_sim.experiments.advising.placements import Placement, ways
from prefetch_sim.experiments.advising.points import Point
from prefetch_sim.experiments.advising.situation import Situation
from prefetch_sim.sim.config.files import set_path

Told = Callable[[str], None]
ENGINES = ("llama.cpp", "ktransformers", "imp")  # that place experts in three ways
PREFETCHING = "imp"  # whose loads stand for those of an engine that prefetches
RECALLS = (0.6, 0.8, 1.0)  # of the experts of the next layer


def more(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """A GiB more of the accelerator's memory, and twice the rate of what may limit."""
    if placement.way == "whole":
        return []
    options = []
    question, profile = found.question, best.inputs.profile
    if question.n_cpu_moe is None and question.cache is None:
        tell("another GiB of memory")
        larger = found.with_memory(1.0)
        way = placement.way if placement.way in ways(larger.place) else "whole"
        options.append(_option("memory_gib+1", point(larger, way)[1], best))
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
            options.append(_option(f"{what}*2", points.run(tree), best))
    return options


def engines(found: Situation, placement: Placement, best: Point, tell: Told) -> list[Option]:
    """The fastest way of other engines, where experts are split between GPU and host."""
    if placement.way == "whole" or placement.on_drive or found.place.profile.unified_memory:
        return []
    options = []
    for name in ENGINES:
        if name != found.place.runtime.name:
            tell(f"with {name}")
            other = fastest(found.with_runtime(name))
            if other is not None:
                options.append(_option(name, other, best))
    return options


def prefetch(
    found: Situation, placement: Placement, best: Point, tell: Told
) -> tuple[str | None, list[Option]]:
    """What foreseeing the next layer's experts brings to an engine that loads what it misses."""
    base = best
    if placement.way in ("whole", "layers", "each") and not placement.on_drive:
        other = found.with_runtime(PREFETCHING)
        if placement.way == "whole" or "lru" not in ways(other.place):
            return None, []
        base = point(other, "lru")[1]
    options = []
    for recall in RECALLS:
        tell(f"a prefetcher of recall {recall:g}")
        predictor = {"name": "oracle", "recall": recall, "distance": 1}
        foreseen = points.run({**base.tree, "predictor": predictor})
        options.append(_option(f"recall={recall:g}", foreseen, base))
    return base.inputs.runtime.name, options


def _option(what: str, found: Point, against: Point) -> Option:
    return Option(what, found.tokens_s, found.tokens_s / against.tokens_s - 1)
