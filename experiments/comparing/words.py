"""What a comparison says in words, and the figures beside time that explain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prefetch_sim.experiments.comparing.comparison import Comparison, Results
from prefetch_sim.experiments.comparing.own import of_policies
from prefetch_sim.experiments.comparing.signed import NOTHING, signed
from prefetch_sim.experiments.conclusions.evidence import Evidence
from prefetch_sim.experiments.conclusions.figures import FULL, busiest, ended, whose
from prefetch_sim.experiments.text import count, number, percent, size
from prefetch_sim.sim.results.paired import ENOUGH

_SMALL = 0.01  # of all that parts differ by: what is less is not said in words
NO_TOKENS = "No request has output tokens: there is no time per token to compare."
_TOLD = 0.0005  # a difference of shares that shows
PARTS = {
    "compute": "compute",
    "runtime": "the runtime's own work",
    "stall: demand_miss": "waiting for demand loads",
    "stall: late_prefetch": "waiting for late prefetches",
    "stall: queueing": "waiting in the link's queue",
    "stall: storage": "waiting for storage",
    "stall: cpu": "waiting for the CPU",
}
_STAGES = {"host_link": ("host link", "host_to_gpu"), "storage": ("storage", "storage")}
_ORIGINS = {"demand": "on demand", "prefetch": "ahead", "behind": "behind"}


def said(c: Comparison) -> list[str]:
    """All of it, a sentence or two each: the verdict, what limits it, what it is made of, why."""
    return [verdict(c), *caveats(c), *of_policies([c]), *made_of(c), *reasons(c)]


def verdict(c: Comparison) -> str:
    """Whether the difference in time per output token is real, and how large.

    With that of the first token, where it has another answer.
    """
    told, first = _per_token(c), _first_token(c)
    return f"{told.removesuffix('.')}; {first}." if first else told


def _per_token(c: Comparison) -> str:
    pairs = c.tpot_ms.paired
    if pairs is None or not has_tokens(c):
        return NO_TOKENS
    if _alike(c):
        return f"A and B take the same time{' per output token' * bool(c.total.difference)}."
    apart = f"{number(abs(pairs.difference))} ms a token {_more(pairs.difference)}"
    apart += f" ({percent(abs(pairs.share))})"
    if abs(pairs.difference) < NOTHING:
        apart = "the same time a token"
    requests = count(pairs.requests, "request")
    if not pairs.enough:
        return (
            f"Too few requests to tell: {pairs.requests} of the {ENOUGH} that it takes. "
            f"On {'it' if pairs.requests == 1 else 'them'}, B takes {apart}."
        )
    interval = f"95 % interval {signed(pairs.low)} to {signed(pairs.high)} ms"
    if not pairs.real:
        return (
            f"Per output token no difference can be told: on these {requests} B takes {apart}, "
            f"and on others like them either may be faster ({interval})."
        )
    return f"B is {in_short(c)}: {apart}, {interval}, over {requests}."


def _first_token(c: Comparison) -> str:
    """When it comes, where that is told apart and the time per output token does not say so."""
    first, rest = c.ttft_ms.paired, c.tpot_ms.paired
    if first is None or not first.real:
        return ""
    found = Evidence(first, c.batched or first.chained)
    if not found.noticed or (
        rest is not None
        and in_short(c).endswith(("faster", "slower"))
        and (rest.difference < 0) == (first.difference < 0)
    ):
        return ""
    sure = "comes" if found.borne else "comes, less surely,"
    way = "sooner" if first.difference < 0 else "later"
    interval = f"{signed(first.low)} to {signed(first.high)}"
    return f"the first token {sure} {number(abs(first.difference))} ms {way} ({interval})"


def _alike(c: Comparison) -> bool:
    """Whether no request differs in its time per output token, as far as can be told."""
    pairs = c.tpot_ms.paired
    assert pairs is not None
    if abs(pairs.difference) >= NOTHING:
        return False
    return not c.total.difference or max(abs(pairs.low), abs(pairs.high)) < NOTHING


def has_tokens(c: Comparison) -> bool:
    """Whether any request has output tokens in both runs, without which no TPOT is compared."""
    return c.tpot_ms.paired is not None and c.tpot_ms.paired.requests > 0


def caveats(c: Comparison) -> list[str]:
    """Why the interval is too narrow, where it is: requests that are not independent."""
    pairs = c.tpot_ms.paired
    if pairs is None or not pairs.enough:
        return []
    if c.batched:
        a, b = (number(speed) for speed in (c.decode_tokens_per_s.a, c.decode_tokens_per_s.b))
        return [
            "Requests of a batch share steps, so they differ alike: the interval is too narrow. "
            f"Together they decode {b} tokens/s in B, {a} in A."
        ]
    if pairs.chained:
        return [
            "Each request differs much as the one before it "
            f"(autocorrelation {pairs.autocorrelation:.2f}), as the cache carries over: "
            "the interval is too narrow."
        ]
    return []


def made_of(c: Comparison) -> list[str]:
    """The parts of the difference of the whole time, the largest first."""
    parts = {name: part.difference for name, part in c.parts.items()}
    apart = sum(map(abs, parts.values()))
    if not apart:
        return []
    told = sorted(parts, key=lambda name: -abs(parts[name]))
    listed = ", ".join(
        f"{PARTS[name]} {_ms(parts[name])}" for name in told if abs(parts[name]) >= _SMALL * apart
    )
    ns = c.total.difference
    if not ns:
        return [f"In all both take as long, made up otherwise: {listed} ms."]
    share = percent(abs(ns) / c.total.a) if c.total.a else "–"
    return [f"In all B takes {number(abs(ns) / 1e6)} ms {_more(ns)} ({share}): {listed} ms."]


def reasons(c: Comparison) -> list[str]:
    """What lies behind the parts: hits and bytes, lateness, what predicting costs, the links."""
    return [*_hits(c), *_lateness(c), *_costs(c), *_links(c)]


def facts(c: Comparison) -> list[tuple[str, str, str]]:
    """(what, in A, in B), where the two differ: what explains a difference of time."""
    a, b = dict(_facts(c.a)), dict(_facts(c.b))
    shown = [(what, a.get(what, "–"), b.get(what, "–")) for what in dict.fromkeys([*a, *b])]
    return [row for row in shown if row[1] != row[2]]


def in_short(c: Comparison) -> str:
    """The verdict in a word or two."""
    pairs = c.tpot_ms.paired
    if pairs is None or not has_tokens(c):
        return "without output tokens"
    if _alike(c):
        return "the same"
    if not pairs.enough:
        return "of too few requests"
    if not pairs.real:
        return "not told apart"
    found = Evidence(pairs, c.batched or pairs.chained)
    if not found.noticed:
        return "about as fast"
    way = "faster" if pairs.difference < 0 else "slower"
    return way if found.borne else f"less surely {way}"  # its requests depend on each other


def over_places(places: Sequence[Comparison]) -> str:
    """How often B is faster, over the places of a sweep."""
    verdicts = Counter(map(in_short, places))
    listed = ", ".join(f"{word} at {n}" for word, n in verdicts.most_common())
    said = f"Of {count(len(places), 'place')}, B is {listed}."
    if len(places) >= 20 and verdicts["faster"] + verdicts["slower"]:
        said += " Of 20 places that do not differ one seems to, by chance."
    if len(places) > 1:
        said += " Places of the same requests are not independent of each other."
    return said


def _facts(found: Results) -> Iterator[tuple[str, str]]:
    for phase in ("decode", "prefill"):
        yield f"hit rate, {phase}", percent(found["hit_rate"][phase])
    yield "computed on the CPU", percent(found["cpu_rate"])
    for name, quality in found["predictors"].items():
        yield f"slot recall, {name}", percent(quality["slot_recall"])
    for stage, (_, moved) in _STAGES.items():
        where = "to the GPU" if stage == "host_link" else "off storage"
        for origin, word in _ORIGINS.items():
            yield f"{where}, {word}", size(found["bytes"][moved][origin])
    for ends in ("timely", "late", "useless", "cancelled"):
        yield f"prefetches {ends}", f"{found['prefetch'][ends]:,}"
    for stage, busy in found["link_busy"].items():
        yield f"{_STAGES[stage][0]} busy", percent(busy)
        yield f"{_STAGES[stage][0]}, GB/s", number(_rate(found, stage))


def _hits(c: Comparison) -> Iterator[str]:
    where, phase = (" in decode", "decode") if has_tokens(c) else ("", "all")
    a, b = (side["hit_rate"][phase] for side in (c.a, c.b))
    if a is not None and b is not None and abs(b - a) >= _TOLD:
        way = "rise" if b > a else "fall"
        yield f"Hits{where} {way} from {percent(a)} to {percent(b)} of routed experts."
    for where, stage in (("to the GPU", "host_to_gpu"), ("off storage", "storage")):
        moved = [side["bytes"][stage] for side in (c.a, c.b)]
        if moved[0] == moved[1]:
            continue
        by_origin = ", ".join(
            f"{size(moved[1][origin])} {word} in place of {size(moved[0][origin])}"
            for origin, word in _ORIGINS.items()
            if size(moved[0][origin]) != size(moved[1][origin])
        )
        if not by_origin:
            continue
        whole = [sum(of.values()) for of in moved]
        much = f"{_more(whole[1] - whole[0])} {where} ({size(whole[1])}, not {size(whole[0])})"
        if size(whole[0]) == size(whole[1]):
            much = f"as much {where}"
        yield f"B loads {much}: {by_origin}."
    cpu = [side["cpu_rate"] or 0.0 for side in (c.a, c.b)]
    if abs(cpu[1] - cpu[0]) >= _TOLD:
        yield (
            f"The CPU computes {percent(cpu[1])} of routed experts in place of {percent(cpu[0])}."
        )


def _lateness(c: Comparison) -> Iterator[str]:
    if c.a["prefetch"] == c.b["prefetch"]:
        return
    for name, side in (("A", c.a), ("B", c.b)):
        ends = ended(side)
        in_time, late, useless = (ends[end] for end in ("timely", "late", "useless"))
        if not in_time + late + useless:
            continue
        told = f"Of {name}'s prefetches{whose(side)} {in_time:,} are in time, {late:,} late, "
        told += f"{useless:,} useless"
        if late > in_time:
            full = busiest(side)[1] >= FULL
            told += ": the link is too full" if full else ": the time ahead of a layer is too short"
            told += " to load in"
        yield told + "."


def _costs(c: Comparison) -> Iterator[str]:
    keys = {path.split(".")[0] for path in c.changed}
    compute, own = c.parts["compute"].difference, c.parts["runtime"].difference
    cpu = c.a["cpu_rate"] or c.b["cpu_rate"]  # then compute is what the CPU leaves to the GPU
    same = not cpu and keys <= {"predictor", "prefetch", "cache"}
    if compute and same and "predictor" in keys:
        yield (
            f"Compute changes by {_ms(compute)} ms, what predictors take that work on the compute "
            "engine (inline), and what loads slow down where the machine's figures say so."
        )
    elif compute and same:
        yield (
            f"Compute changes by {_ms(compute)} ms, what loads slow down that go on meanwhile: see "
            "the machine's compute.beside_loads."
        )
    loads = c.b["loads"] - c.a["loads"]
    if own * loads > 0 and keys.isdisjoint({"runtime", "model", "precision", "batch_size"}):
        yield (
            f"The runtime's own work changes by {_ms(own)} ms: it keeps books of what is loaded, "
            f"{abs(loads):,} experts {_more(loads)}."
        )


def _links(c: Comparison) -> Iterator[str]:
    for stage, (name, _) in _STAGES.items():
        a, b = (side["link_busy"].get(stage) for side in (c.a, c.b))
        if b is None:
            continue
        rates = _rate(c.a, stage), _rate(c.b, stage)
        if None not in rates and abs(rates[1] / rates[0] - 1) >= 0.01:  # type: ignore[operator]
            yield f"The {name} has {number(rates[1])} GB/s in place of {number(rates[0])}."
        changed = a is not None and abs(b - a) >= _TOLD
        if changed:
            yield f"The {name} is busy {percent(b)} of the time in place of {percent(a)}."
        if b >= FULL and c.total.difference:
            yield f"In B the {name} is full: to load less would help there, to load earlier not."


def _rate(found: Results, stage: str) -> float | None:
    """GB/s of a link, from what it moved while it was busy; None where that says too little."""
    busy, moved = found["link_busy"].get(stage), sum(found["bytes"][_STAGES[stage][1]].values())
    if not busy or busy < 0.001:
        return None
    return float(moved / (busy * found["total_ms"] * 1e6))


def _more(difference: float) -> str:
    return "less" if difference < 0 else "more"


def _ms(ns: int) -> str:
    return signed(ns / 1e6)
