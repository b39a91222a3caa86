"""An answer in words, a line for each thing that was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prefetch_sim.experiments.advising.answer import Advice, Memory, Option, Split
from prefetch_sim.experiments.advising.points import MISSES
from prefetch_sim.experiments.advising.targets import Target
from prefetch_sim.experiments.commands.output import count, number, percent

_WHAT = {
    "link*2": "a link twice as fast",
    "drive*2": "a drive twice as fast",
    "cpu*2": "memory twice as fast for the CPU's experts",
}
_LIMITS = {
    "cpu": "the CPU and its memory",
    "gpu": "the GPU and its memory",
    "link": "the host link",
    "drive": "the drive",
    "engine": "the engine's own work",
}
_HELPS = 0.02  # a gain from which on something helps


def title(advice: Advice) -> str:
    stored = advice.precision
    if not isinstance(stored, str):
        stored = ", ".join(f"{part} {name}" for part, name in stored.items())
    return (
        f"{advice.model} {stored} on {advice.machine} with {advice.runtime}, "
        f"{advice.context:,} tokens of context"
    )


def lines(advice: Advice) -> Iterator[tuple[str, str]]:
    """(what, the sentence), in the order in which one would ask."""
    yield "fits", _fits(advice)
    if advice.speed is not None and advice.split is not None:
        speed = advice.speed
        yield (
            "speed",
            f"{_rate(speed.tokens_s)} ({number(speed.low)} to {number(speed.high)}), "
            f"{number(speed.ms)} ms a token; {number(speed.tokens_s_at_context)} with the context "
            "full",
        )
        yield "split", _split(advice, advice.split)
        if advice.split.flags:
            yield "flags", advice.split.flags
        yield "limits", _limits(advice)
        if advice.more:
            yield "more", "; ".join(f"{what(one.what, advice)} {_gain(one)}" for one in advice.more)
        if advice.engines:
            yield "engines", ", ".join(_engine(one) for one in advice.engines)
        yield "prefetch", _prefetch(advice)
    if advice.target is not None:
        yield "target", _target(advice, advice.target)
    if advice.trust is not None and advice.speed is not None:
        yield "trust", _trust(advice)
    for label, how in (("found", "detected"), ("assumed", "assumed")):
        if found := _taken(advice, how):
            yield label, found


def text(advice: Advice) -> str:
    """All of it, a line for each thing."""
    return "\n".join([title(advice), *(f"{what:9} {said}" for what, said in lines(advice))])


def what(key: str, advice: Advice) -> str:
    """A change in words: ``memory_gib+2`` is 2 GiB more; what is no change is an engine."""
    name, plus, gib = key.partition("memory_gib+")
    if plus:
        return f"{gib} GiB more memory" + ("" if advice.memory.unified else " on the GPU")
    return _WHAT.get(name, name)


def _fits(advice: Advice) -> str:
    memory = advice.memory
    beside = (
        f"of {_gib(memory.accelerator)}, other weights take {_gib(memory.other_weights)}, KV cache "
        f"{_gib(memory.kv_cache)} and the engine {_gib(memory.runtime)}"
    )
    if advice.fits == "nowhere":
        if advice.longest_context:
            return f"nowhere, as {beside}; with --context {advice.longest_context} it does"
        return f"nowhere, as {beside}; take fewer bits a weight, or a larger memory"
    if advice.fits == "whole":
        left = memory.left - memory.experts
        return f"whole, {_gib(memory.experts)} of experts; {beside}; {_gib(left)} stay free"
    parts = [f"{_gib(memory.on_gpu)} {_held(memory)}"]
    parts += [f"{_gib(memory.in_host)} in host memory"] if memory.in_host else []
    parts += [f"{_gib(memory.on_drive)} on the drive"] if memory.on_drive else []
    return f"in part: of {_gib(memory.experts)} of experts, {', '.join(parts)}; {beside}"


def _split(advice: Advice, split: Split) -> str:
    share = percent(split.share)
    unified = advice.memory.unified
    rest = "the drive" if unified else "host memory"
    if split.way == "whole":
        return f"none: every expert is {_held(advice.memory)}"
    if split.way == "layers":
        if not split.layers:
            return "no layer's experts on the GPU, all on the CPU"
        last = f"the experts of the last {count(split.layers, 'MoE layer')}"
        return f"{last} on the GPU ({share}), others on the CPU"
    if split.way == "each":
        return f"{split.each} experts of each layer on the GPU ({share}), others on the CPU"
    hits = f"hits {percent(split.hit_rate)}"
    if split.way == "lru":
        return f"an LRU cache of {share} of the experts, {hits}; misses come from {rest}"
    return f"an LRU cache of {share} of the experts, {hits}; the CPU computes misses, copied behind"


def _held(memory: Memory) -> str:
    return "in memory" if memory.unified else "on the GPU"


def _limits(advice: Advice) -> str:
    shares = [(name, share) for name, share in (advice.limits or {}).items() if share >= 0.01]
    return ", ".join(f"{_LIMITS[name]} {round(100 * share)} %" for name, share in shares)


def _engine(one: Option) -> str:
    return f"{one.what} {_rate(one.tokens_s)} ({_gain(one)})"


def _prefetch(advice: Advice) -> str:
    if advice.fits == "whole":
        return "nothing to load, so nothing to gain"
    if not advice.prefetch:
        return f"nothing: {advice.runtime} loads nothing that a token could wait for"
    own = advice.prefetches == advice.runtime
    where = "" if own else f"{advice.runtime} loads nothing; with {advice.prefetches}, "
    gains = ", ".join(
        f"recall {one.what.removeprefix('recall=')} {_gain(one)}" for one in advice.prefetch
    )
    pays = [one.what.removeprefix("recall=") for one in advice.prefetch if one.gain >= _HELPS]
    if not pays:
        return f"{where}foreseeing the next layer's experts does not pay: {gains}"
    return f"{where}foreseeing the next layer's experts: {gains}"


def _target(advice: Advice, target: Target) -> str:
    said = {
        "yes": "met, at the low end of the band too",
        "likely": "met by what is expected, not by all of the band",
        "unlikely": "not met by what is expected, though within the band",
        "no": "not met",
    }[target.met]
    text = f"{_rate(target.tokens_s)}: {said}"
    if target.met in ("yes", "likely"):
        return text
    by = ", ".join(f"{what(way.what, advice)} ({_rate(way.tokens_s)})" for way in target.by)
    return f"{text}; {'would do: ' + by if by else 'nothing that was tried reaches it'}"


def _trust(advice: Advice) -> str:
    speed, trust = advice.speed, advice.trust
    assert speed is not None
    assert trust is not None
    cut = ", cut from more" if speed.cut else ""
    doubts = ", ".join(f"{_figure(path)} ±{_share(part)}" for path, part in trust.doubts.items())
    kinds = " and ".join(f"{n} {kind}" for kind, n in _kinds(trust.figures))
    text = (
        f"±{_share(speed.half_width)}{cut}: figures ±{_share(speed.from_figures)} ({doubts}; "
        f"of those that count {kinds}), field check ±{_share(speed.from_field)}"
    )
    if advice.fits == "drive" and not advice.memory.unified:
        text += "; no run was compared that reads through the page cache, and it may be far slower"
    near = "; ".join(
        f"{one.what}: {number(one.measured)} measured, {number(one.expected)} expected"
        for one in trust.measured
    )
    return f"{text}; nearest measured: {near}" if near else f"{text}; nothing near was measured"


def _kinds(figures: dict[str, int]) -> Sequence[tuple[str, int]]:
    names = {"measured": "measured", "datasheet": "from datasheets", "estimate": "estimated"}
    return [(names[kind], n) for kind, n in figures.items() if n]


def _figure(path: str) -> str:
    return "hits" if path == MISSES else path.partition(".")[2]


def _taken(advice: Advice, how: str) -> str:
    return ", ".join(
        f"{one.what} {one.value}" + (f" ({one.why})" if one.why else "")
        for one in advice.taken
        if one.how == how
    )


def _gain(one: Option) -> str:
    return f"{round(100 * one.gain):+d} %"


def _share(value: float) -> str:
    return f"{round(100 * value)} %"


def _rate(tokens_s: float) -> str:
    return f"{number(tokens_s)} tokens/s"


def _gib(value: float) -> str:
    return f"{value:.1f} GiB"
