"""Faults to plant in either engine, one at a time: each makes some random system differ."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str  # in sim/
    old: str
    new: str


MUTANTS = [
    Mutant(
        "compiled/memory.py",
        "t.bound[a] == t.bound[b] and a < b",
        "t.bound[a] == t.bound[b] and a > b",
    ),
    Mutant(
        "compiled/memory.py",
        "while missing > 0 and t.count[p] > 0",
        "while missing >= 0 and t.count[p] > 0",
    ),
    Mutant(
        "compiled/memory.py",
        "        t.free[p] += t.size[y]\n",
        "        t.free[p] += t.size[y] - 1\n",
    ),
    Mutant(
        "compiled/memory.py",
        "if victims > 0 and t.policy[SPARED]",
        "if victims > 1 and t.policy[SPARED]",
    ),
    Mutant(
        "compiled/memory.py", "    if needed:\n        score", "    if not needed:\n        score"
    ),
    Mutant(
        "compiled/loads.py",
        "q.key[a] == q.key[b] and q.seq[a] < q.seq[b]",
        "q.key[a] == q.key[b] and q.seq[a] > q.seq[b]",
    ),
    Mutant(
        "compiled/loads.py",
        "alpha = s.queued[stage] if now == q.free_at[stage]",
        "alpha = s.queued[stage] if now <= q.free_at[stage] + 1",
    ),
    Mutant("compiled/loads.py", "end = now + int(np.rint(alpha", "end = now + int(np.floor(alpha"),
    Mutant(
        "compiled/loads.py",
        "return int(max(bus, stream) + s.latency[stage])",
        "return int(max(bus, stream + s.latency[stage]))",
    ),
    Mutant(
        "compiled/loads.py", "allowed = -1 if blocked > 0 else", "allowed = -1 if blocked > 1 else"
    ),
    Mutant(
        "compiled/loads.py", "if 0 < s.chunk[stage] < nbytes:", "if 0 < s.chunk[stage] <= nbytes:"
    ),
    Mutant(
        "compiled/loads.py",
        "end == time and q.lane_seq[stage, lane] < order",
        "end == time and q.lane_seq[stage, lane] > order",
    ),
    Mutant(
        "compiled/loads.py",
        "    memory.insert(cache, x, needed)\n",
        "    memory.insert(cache, x, True)\n",
    ),
    Mutant("compiled/loads.py", "first = int(host.resident[x])", "first = 0"),
    Mutant(
        "compiled/loads.py",
        "q.counts[REDUNDANT] += count - issued",
        "q.counts[REDUNDANT] += count - issued + 1",
    ),
    Mutant(
        "compiled/loads.py", "r.priority[i] * PRIORITY + index", "r.priority[i] * PRIORITY - index"
    ),
    Mutant(
        "compiled/loads.py", "and q.started[x] < 0 and q.needed[x] < 0)", "and q.needed[x] < 0)"
    ),
    Mutant(
        "compiled/kernel.py",
        "out = max(now + read, r.of[SIDE_FREE]) + delay",
        "out = max(now + read, r.of[SIDE_FREE] + 1) + delay",
    ),
    Mutant(
        "compiled/kernel.py", "if index <= r.of[ROUTED_UNTIL]:", "if index < r.of[ROUTED_UNTIL]:"
    ),
    Mutant("compiled/kernel.py", "before + s.norm[cost] if trigger", "before if trigger"),
    Mutant("compiled/kernel.py", "r.of[BEGUN] = now", "r.of[BEGUN] = now + 1"),
    Mutant(
        "compiled/kernel.py",
        "size * (end - first) > cache.capacity",
        "size * (end - first) >= cache.capacity",
    ),
    Mutant("compiled/kernel.py", "if q.landed[x] > free:", "if q.landed[x] > free + 1:"),
    Mutant("compiled/kernel.py", "split = min(max(split, since), end)", "split = min(split, end)"),
    Mutant(
        "compiled/kernel.py",
        "for later in range(layer + 1, target + 1):",
        "for later in range(layer + 1, target):",
    ),
    Mutant("compiled/kernel.py", "for later in range(layer + 1", "for later in range(layer"),
    Mutant("memory.py", "elif score != least[x]:", "elif score > least[x] + 1:"),
    Mutant("memory.py", "if x in pinned:", "if x in pinned and victims:"),
    Mutant(
        "memory.py",
        "missing = size - self.free[partition]",
        "missing = size - self.free[partition] - 1",
    ),
    Mutant("loads.py", "+ priority[i] * _PRIORITY", "- priority[i] * _PRIORITY"),
    Mutant("loads.py", "self.cache.insert(x, needed)", "self.cache.insert(x)"),
    Mutant("links.py", "if now == self._busy_until", "if now != self._busy_until"),
    Mutant("links.py", "nbytes > self.chunk", "nbytes > self.chunk + 1"),
    Mutant("links.py", "max(now, self._bus_free)", "max(now, self._bus_free - 1)"),
    Mutant("engine.py", "if load.landed > free:", "if load.landed > free + 1:"),
    Mutant("engine.py", "if index <= self._routed_until:", "if index < self._routed_until:"),
    Mutant(
        "device.py",
        "max(start, self._side_free) + duration",
        "max(start, self._side_free + 1) + duration",
    ),
]
