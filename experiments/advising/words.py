"""An answer in words, a line for each thing that was asked."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

from prefetch_sim.experiments.advising import limiting, trusting
from prefetch_sim.experiments.advising.answer import Advice, Memory, Option, Speed, Split
from prefetch_sim.experiments.advising.options import DISPLAY
from prefetch_sim.experiments.advising.targets import WHOLE_MACHINE, Target
from prefetch_sim.experiments.text import count, number, percent

_WHAT = {
    "link*2": "a link twice as fast",
    "drive*2": "a drive twice as fast",
    "cpu*2": "memory twice as fast for the CPU's experts",
}
_MEMORY = {
    "host_gib=": "all experts in memory, {} GB of it for the host",
    WHOLE_MACHINE: "all experts in memory, in a machine of {} GB or more{}",
}
_FOLDED: dict[str, Any] = {
    "subsequent_indent": " " * 10,
    "break_on_hyphens": False,
    "break_long_words": False,
}
_HELPS = 0.02  # a gain from which on something helps


def title(advice: Advice) -> str:
    stored = advice.precision
    if not isinstance(stored, str):
        stored = ", ".join(f"{part} {name}" for part, name in stored.items())
    vram = [one.value for one in advice.taken if one.what == "vram" and one.how != "assumed"]
    other = f" ({vram[0]} of memory)" if vram else ""  # than the catalogue's
    return (
        f"{advice.model} {stored} on {advice.machine}{other} with {advice.runtime}, "
        f"{advice.context:,} tokens of context"
    )


def lines(advice: Advice) -> Iterator[tuple[str, str]]:
    """(what, the sentence), in the order in which one would ask."""
    yield "fits", _fits(advice)
    if advice.speed is not None and advice.split is not None:
        yield "speed", _speed(advice.speed)
        yield "split", _split(advice, advice.split)
        if advice.split.flags:
            yield "flags", advice.split.flags
        if advice.safer is not None:
            yield "safer", _safer(advice.safer)
        if advice.best is not None:
            yield "best", _best(advice.best)
        yield "limits", limiting.limits(advice)
        if advice.more:
            gains = (f"{what(one.what, advice)} {_gain(one)}" for one in advice.more)
            least = "; as paging is not modelled, more memory may gain far more"
            yield "more", "; ".join(gains) + (least if advice.speed.at_best else "")
        if advice.engines:
            engines = ", ".join(_engine(one) for one in advice.engines)
            yield "engines", f"{engines}; no bands of their own"
        yield "prefetch", _prefetch(advice)
    if advice.target is not None:
        yield "target", _target(advice, advice.target)
    if advice.trust is not None and advice.speed is not None:
        yield "trust", trusting.trust(advice)
    for label, how in (("found", "detected"), ("assumed", "assumed")):
        if found := _taken(advice, how):
            yield label, found


def text(advice: Advice, width: int | None = None) -> str:
    """All of it, a line for each thing; folded to ``width`` columns where that is given."""
    said = [title(advice), *(f"{what:9} {said}" for what, said in lines(advice))]
    if width is None:
        return "\n".join(said)
    return "\n".join(fill(line, max(width, 40), **_FOLDED) for line in said)


def what(key: str, advice: Advice) -> str:
    """A change in words: ``memory_gib+2`` is 2 GiB more; what is no change is an engine."""
    name, plus, gib = key.partition("memory_gib+")
    if plus:
        of = "that experts may have" if advice.memory.unified else "on the GPU"
        return f"{gib} GiB more memory {of}"
    for begin, said in _MEMORY.items():
        if name.startswith(begin):
            size, _, engine = name.removeprefix(begin).partition(" ")
            return said.format(size, f" with {engine}" if engine else "")
    return _WHAT.get(name, name)


def _speed(speed: Speed) -> str:
    rest = (
        f"{number(speed.ms)} ms a token; {number(speed.tokens_s_at_context)} with the context full"
    )
    if speed.at_best:
        return (
            f"at best {_rate(speed.tokens_s)} (up to {number(speed.high)}; no lower end: paging is "
            f"not modelled, and may make it several times slower), {rest}"
        )
    return f"{_rate(speed.tokens_s)} ({number(speed.low)} to {number(speed.high)}), {rest}"


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
        return f"whole, {_gib(memory.experts)} of experts; {beside}; {_free(memory, left)}"
    parts = [f"{_gib(memory.on_gpu)} {_held(memory)}"]
    parts += [f"{_gib(memory.in_host)} in host memory"] if memory.in_host else []
    parts += [f"{_gib(memory.on_drive)} on the drive"] if memory.on_drive else []
    text = f"in part: of {_gib(memory.experts)} of experts, {', '.join(parts)}; {beside}"
    if memory.unified:
        return text
    return f"{text}; {_free(memory, memory.left - memory.on_gpu)}"


def _free(memory: Memory, left: float) -> str:
    tight = not memory.unified and left < DISPLAY
    return f"{_gib(left)} stay free" + (", of which a display would take some" if tight else "")


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
    if split.way == "paged":
        return (
            f"none of {advice.runtime}'s own: the system keeps pages of the file, {share} of the "
            "experts at best, and reads others from the drive"
        )
    hits = f"hits {percent(split.hit_rate)}"
    if split.way == "lru":
        return f"an LRU cache of {share} of the experts, {hits}; misses come from {rest}"
    return f"an LRU cache of {share} of the experts, {hits}; the CPU computes misses, copied behind"


def _held(memory: Memory) -> str:
    return "in memory" if memory.unified else "on the GPU"


def _best(one: Option) -> str:
    if one.gain < _HELPS:
        return "nothing that was tried is faster than this split"
    return f"{one.what}: {_at_best(one)}{_rate(one.tokens_s)} ({_gain(one)})"


def _safer(one: Option) -> str:
    free = f"with {DISPLAY:g} GiB free or more, if the flags do not load"
    return f"{one.what}: {_rate(one.tokens_s)} ({_gain(one)}), {free}"


def _engine(one: Option) -> str:
    return f"{one.what} {_at_best(one)}{_rate(one.tokens_s)} ({_gain(one)})"


def _at_best(one: Option) -> str:
    return "at best " if one.at_best else ""


def _prefetch(advice: Advice) -> str:
    if advice.fits == "whole":
        return "nothing to load, so nothing to gain"
    if not advice.prefetch and advice.memory.on_drive:
        return "not judged: from the drive to host memory alone is not simulated"
    if not advice.prefetch:
        return f"nothing: {advice.runtime} loads nothing that a token could wait for"
    where = _who_prefetches(advice)
    gains = ", ".join(
        f"recall {one.what.removeprefix('recall=')} {_gain(one)}" for one in advice.prefetch
    )
    pays = [one.what.removeprefix("recall=") for one in advice.prefetch if one.gain >= _HELPS]
    if not pays:
        return f"{where}: {gains}, which does not pay"
    return f"{where}: {gains}"


def _who_prefetches(advice: Advice) -> str:
    own, other = advice.runtime, advice.prefetches
    over = f"over its {_rate(advice.prefetch_over or 0)}"
    if advice.may_prefetch:
        begin = "" if other == own else f"{own} does not prefetch; with {other}, {over}, "
        return f"{begin}foreseeing the next layer's experts"
    if other == own:
        return f"{own} does not prefetch; were it to foresee the next layer's experts"
    if not advice.prefetches_here:
        runs = "does not" if advice.prefetches_here is False else "may not"
        return (
            f"{own} copies no experts, and {other} {runs} run on this card; were an engine to copy "
            f"them as {other} does ({_rate(advice.prefetch_over or 0)}) and to foresee the next "
            "layer's"
        )
    return (
        f"neither {own} nor {other} prefetches; were {other} to foresee the next layer's experts, "
        f"{over}"
    )


def _target(advice: Advice, target: Target) -> str:
    even, within = "", "within the band"
    if advice.speed is not None and advice.speed.at_best:
        even = f", even at best ({number(advice.speed.tokens_s)})"
        within = f"the band goes up to {number(advice.speed.high)}"
    said = {
        "yes": "met, at the low end of the band too",
        "likely": "met by what is expected, not by all of the band",
        "unlikely": f"not met by what is expected{even}, though {within}",
        "no": f"not met{even}",
        "unknown": "not to be counted on: the speed is at best, as paging is not modelled",
    }[target.met]
    text = f"{_rate(target.tokens_s)}: {said}"
    if target.met in ("yes", "likely"):
        return text
    for begin, at_best in (("would do", False), ("at best", True)):
        ways = [way for way in target.by if way.at_best == at_best]
        by = ", ".join(f"{what(way.what, advice)} ({_rate(way.tokens_s)})" for way in ways)
        text += f"; {begin}: {by}" if by else ""
    if target.met != "unknown" and not target.by:
        text += "; nothing that was tried reaches it"
    return text


def _taken(advice: Advice, how: str) -> str:
    return ", ".join(
        f"{one.what} {one.value}" + (f" ({one.why})" if one.why else "")
        for one in advice.taken
        if one.how == how
    )


def _gain(one: Option) -> str:
    return f"{round(100 * one.gain):+d} %"


def _rate(tokens_s: float) -> str:
    return f"{number(tokens_s)} tokens/s"


def _gib(value: float) -> str:
    return f"{value:.1f} GiB"
