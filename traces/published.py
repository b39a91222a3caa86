"""Made-up routing with which an LRU cache does what was published: a hit rate, or loads by step.

Who publishes what a cache did seldom publishes the routing. This makes some: at each layer it is
decided how many of the routed experts are missing, and an LRU cache kept beside says who is there.
At other sizes, and for other policies, such routing gives what it gives.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prefetch_sim.traces.errors import looked_for
from prefetch_sim.traces.models.spec import ModelSpec
from prefetch_sim.traces.synthetic import check_size, made_up
from prefetch_sim.traces.trace import Array, Trace, TraceError

CLOSE = 0.005  # how near a hit rate has to come


def read_loads(path: str | Path) -> tuple[int, ...]:
    """The column ``loads`` of a CSV, one row a decode step. Raises TraceError naming the row."""
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if "loads" not in (rows.fieldnames or ()):
                raise TraceError(f"{path}: no column 'loads'")
            found = [row["loads"] for row in rows]
    except TraceError:
        raise
    # Beside what is no text: no such user's home, a path with a NUL.
    except (OSError, RuntimeError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        looked = looked_for(path) if isinstance(error, FileNotFoundError) else ""
        raise TraceError(f"{path}: cannot be read ({reason}){looked}") from error
    for i, text in enumerate(found, start=1):
        digits = (text or "").strip()
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
            raise TraceError(f"{path}: row {i}: {text!r} is no number of loads")
    if not found:
        raise TraceError(f"{path}: no rows")
    return tuple(int(text) for text in found)


class Cache(NamedTuple):
    """An LRU cache for all layers."""

    sizes: Sequence[int]  # [layer]: bytes of an expert
    capacity: int  # bytes


class Drawn(NamedTuple):
    """How routing is drawn, where nothing else says: see ``synthesise``."""

    prompt: int
    skew: float
    reuse: float
    seed: int


def with_loads(model: ModelSpec, cache: Cache, loads: Sequence[int], drawn: Drawn) -> Trace:
    """One request whose decode step i loads ``loads[i]`` experts into ``cache``.

    A prompt leaves as many experts of each layer there as its tokens have slots and the cache has
    room for; without one it begins empty. Raises TraceError where a step cannot load so many.
    """
    check_size(model, 1, drawn.prompt, len(loads))
    made = _Maker(model, cache, drawn)
    made.prompt()
    for step, wanted in enumerate(loads, start=1):
        found = made.decode(wanted)
        if found != wanted:
            far = "fewer" if wanted < found else "more"
            raise TraceError(f"loads_per_step: step {step}: {wanted} loads are {far} than can be")
    return made.trace(1, f"loads_per_step of {len(loads)} steps")


def with_hit_rate(
    model: ModelSpec, cache: Cache, hit_rate: float, requests: int, decode: int, drawn: Drawn
) -> Trace:
    """Requests one after the other, with a decode hit rate of ``hit_rate`` in ``cache``.

    It begins empty: what that costs is made up for later. Prompts are as of ``with_loads``.
    Raises TraceError where the rate cannot be reached to ``CLOSE``.
    """
    check_size(model, requests, drawn.prompt, decode)
    made = _Maker(model, cache, drawn)
    steps = requests * decode
    slots = steps * model.moe_layers * model.top_k
    left = round((1 - hit_rate) * slots)
    for step in range(steps):
        if step % decode == 0:
            made.prompt()
        left -= made.decode(max(0, round(left / (steps - step))))
    missed = round((1 - hit_rate) * slots) - left
    if abs(1 - missed / slots - hit_rate) > CLOSE:
        raise TraceError(
            f"hit_rate: {hit_rate:g} cannot be reached at {cache.capacity / 2**20:.1f} MiB in "
            f"{steps} decode steps; the nearest is {1 - missed / slots:.3f}"
        )
    return made.trace(requests, f"hit_rate={hit_rate:g}")


class _Maker:
    """Routes token after token, and keeps the LRU cache that says who is resident."""

    def __init__(self, model: ModelSpec, cache: Cache, drawn: Drawn) -> None:
        self.model, self.cache, self.drawn = model, cache, drawn
        layers, experts, _ = model.topology
        if cache.capacity < max(cache.sizes) * model.top_k:
            raise TraceError(f"at: {cache.capacity / 2**20:.1f} MiB cannot hold one layer's top-k")
        self.rng = np.random.Generator(np.random.Philox(drawn.seed))
        ranks = np.argsort(self.rng.random((layers, experts)), axis=1) + 1
        self.odds = ranks.astype(np.float64) ** -drawn.skew
        self.free, self.now = cache.capacity, 0
        self.used = np.full((layers, experts), -1, np.int64)  # layer-step of the last use; -1: gone
        self.before: list[Array] = [np.empty(0, np.int64)] * layers
        self.tokens: list[list[Array]] = []  # [token][layer]

    def prompt(self) -> None:
        """Its tokens go round as many experts of each layer as the cache has room for."""
        layers, experts, k = self.model.topology
        tokens = self.drawn.prompt
        if not tokens:
            return
        count = max(k, min(experts, tokens * k, self.cache.capacity // sum(self.cache.sizes)))
        sets = []
        for layer in range(layers):
            keys = self.rng.standard_exponential(experts) / self.odds[layer]
            sets.append(np.argsort(keys)[:count])
            self._route(layer, sets[layer])
        slots = np.arange(tokens)[:, None] * k + np.arange(k)
        self.tokens += [[routed[at % count] for routed in sets] for at in slots]

    def decode(self, loads: int) -> int:
        """One token, which loads ``loads`` experts or as near to that as can be; how many."""
        layers, experts, k = self.model.topology
        quota = np.full(layers, loads // layers)
        quota[self.rng.permutation(layers)[: loads % layers]] += 1
        token, done, due = [], 0, 0
        for layer in range(layers):
            due += int(quota[layer])
            there = self.used[layer] >= 0
            residents = int(there.sum())
            missing = min(max(due - done, k - residents, 0), k, experts - residents)
            keys = self.rng.standard_exponential(experts) / self.odds[layer]
            kept = self.before[layer][self.rng.random(len(self.before[layer])) < self.drawn.reuse]
            keys[kept] = -1 / (1 + keys[kept])  # before all that are drawn
            order = np.argsort(keys)
            hits, misses = order[there[order]], order[~there[order]]
            routed = np.concatenate([hits[: k - missing], misses[:missing]])
            routed = routed[np.argsort(keys[routed])]
            self._route(layer, routed)
            token.append(routed)
            done += missing
        self.before = token
        self.tokens.append(token)
        return done

    def _route(self, layer: int, routed: Array) -> None:
        """As docs/timing.md has it for LRU: equal uses leave by id, the routed set stays."""
        missing = routed[self.used[layer, routed] < 0]
        self.used[layer, routed] = self.now  # so none of it is the least recently used
        self.free -= len(missing) * self.cache.sizes[layer]
        while self.free < 0:
            oldest = np.where(self.used < 0, self.now, self.used)
            victim = np.unravel_index(np.argmin(oldest), oldest.shape)
            self.used[victim] = -1
            self.free += self.cache.sizes[int(victim[0])]
        self.now += 1

    def trace(self, requests: int, what: str) -> Trace:
        drawn = ", ".join(f"{name}={value}" for name, value in self.drawn._asdict().items())
        made_by = f"{what} of an LRU cache of {self.cache.capacity} bytes, {drawn}"
        routed = np.array(self.tokens, dtype=np.int16)
        return made_up(self.model, routed, requests, self.drawn.prompt, self.rng, made_by)
