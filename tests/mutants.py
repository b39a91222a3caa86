"""Faults to plant in either engine, one at a time: each makes some random system differ."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str  # in sim/
    old: str
    new: str


MUTANTS = [
    Mutant("compiled/order.py", "column += others", "column += 1"),
    Mutant(
        "compiled/order.py",
        "score < tree[root + up]:",
        "score < tree[root + up] - 1:",
    ),
    Mutant("compiled/memory.py", "    news[0] = kept\n", "    news[0] = 0\n"),
    Mutant(
        "compiled/memory.py",
        "pinned(t, x):\n            kept",
        "t.pin[x] >= 0:\n            kept",
    ),
    Mutant("compiled/links.py", "if key == DEMAND_KEY else", "if key != DEMAND_KEY else"),
    Mutant("compiled/links.py", "_sooner(q.at, x, expert(before))", "False"),
    Mutant("compiled/order.py", "x, y = min(x, y)", "x, y = max(x, y)"),
    Mutant("compiled/order.py", "t.list[after].score < score", "t.list[after].score > score"),
    Mutant("compiled/memory.py", "    while missing > 0:\n", "    while missing >= 0:\n"),
    Mutant(
        "compiled/memory.py",
        "partition.free += t.size[y]\n",
        "partition.free += t.size[y] - 1\n",
    ),
    Mutant("compiled/memory.py", "if t.spared and victims > 0", "if t.spared and victims > 1"),
    Mutant(
        "compiled/memory.py", "    if needed:\n        score", "    if not needed:\n        score"
    ),
    Mutant(
        "compiled/memory.py",
        "for i in range(passed_over - 1, -1, -1)",
        "for i in range(passed_over)",
    ),
    Mutant("compiled/links.py", "at[a + SEQ] < at[b + SEQ]", "at[a + SEQ] > at[b + SEQ]"),
    Mutant("compiled/loads.py", "A_LOAD + SEQ] > q.at[at + SEQ]", "A_LOAD + SEQ] < q.at[at + SEQ]"),
    Mutant("compiled/loads.py", "if not base <= x < base + s.experts or ", "if "),
    Mutant(
        "compiled/loads.py",
        "waiting += links.first(q, stage) != stage",
        "waiting += links.first(q, 0) != 0",
    ),
    Mutant(
        "compiled/loads.py",
        "    for stage in range(links.stages(s, way)):\n        node",
        "    for stage in range(1):\n        node",
    ),
    Mutant("compiled/setup.py", "chunk >= cache.size.max()", "chunk >= cache.size.min()"),
    Mutant("compiled/setup.py", "and not link[STORAGE] and", "and"),
    Mutant("compiled/shortcut.py", "r.of[LOADS_LANDED] += 1", "r.of[LOADS_LANDED] += 2"),
    Mutant("compiled/setup.py", "if hooks or way is not None:", "if way is not None:"),
    Mutant("compiled/setup.py", "return bool(largest <= min(cache.capacities))", "return True"),
    Mutant("compiled/replay.py", "        if t.passed:", "        if False:"),
    Mutant("compiled/memory.py", "hit = 1 - missed[i]", "hit = 1"),
    Mutant("compiled/links.py", "behind = now == q", "behind = now <= 1 + q"),
    Mutant("compiled/links.py", "np.rint(alpha + service)", "np.floor(alpha + service)"),
    Mutant(
        "compiled/links.py",
        "max(bus, stream) + way.link[stage * A_LINK + LATENCY]",
        "max(bus, stream + way.link[stage * A_LINK + LATENCY])",
    ),
    Mutant("compiled/links.py", "ORDER] < order)", "ORDER] > order)"),
    Mutant("compiled/loads.py", "blocked = allowed < 0", "blocked = False"),
    Mutant(
        "compiled/loads.py",
        "if 0 < way.link[stage * A_LINK + CHUNK] < nbytes:",
        "if 0 < way.link[stage * A_LINK + CHUNK] <= nbytes:",
    ),
    Mutant(
        "compiled/loads.py",
        "    memory.insert(cache, x, needed)\n",
        "    memory.insert(cache, x, True)\n",
    ),
    Mutant("compiled/loads.py", "first = int(way.host.resident[x])", "first = 0"),
    Mutant(
        "compiled/loads.py",
        "r.of[COUNTS + REDUNDANT] += count - issued",
        "r.of[COUNTS + REDUNDANT] += count - issued + 1",
    ),
    Mutant(
        "compiled/loads.py", "r.priority[i] * PRIORITY + index", "r.priority[i] * PRIORITY - index"
    ),
    Mutant(
        "compiled/loads.py",
        "if q.at[at + STARTED] >= 0:",
        "if q.at[at + STARTED] >= 1 << 60:",
    ),
    Mutant(
        "compiled/prediction.py",
        "out = max(now + read, r.of[SIDE_FREE]) + delay",
        "out = max(now + read, r.of[SIDE_FREE] + 1) + delay",
    ),
    Mutant(
        "compiled/prediction.py",
        "if index <= r.of[ROUTED_UNTIL]:",
        "if index < r.of[ROUTED_UNTIL]:",
    ),
    Mutant(
        "compiled/prediction.py",
        "for later in range(layer + 1, target + 1):",
        "for later in range(layer + 1, target):",
    ),
    Mutant("compiled/prediction.py", "for later in range(layer + 1", "for later in range(layer"),
    Mutant("compiled/kernel.py", "read = before + s.step_cost[costs + NORM]", "read = before"),
    Mutant("compiled/kernel.py", "r.of[BEGUN] = now", "r.of[BEGUN] = now + 1"),
    Mutant("compiled/kernel.py", "s.routed[first], end - first)", "s.routed[first], end)"),
    Mutant("compiled/shortcut.py", "        duration = later\n", ""),
    Mutant("compiled/shortcut.py", "if r.of[PENDING] == 0:", "if r.of[PENDING] < 2:"),
    Mutant("compiled/shortcut.py", "split = max(started, free)", "split = started"),
    Mutant(
        "compiled/kernel.py",
        "split = min(max(split, free), landed)",
        "split = min(split, landed)",
    ),
    Mutant("memory.py", "for x in reversed(passed_over)", "for x in passed_over"),
    Mutant("memory.py", "if x in routed:", "if False:"),
    Mutant("memory.py", "elif score != least[x]:", "elif score > least[x] + 1:"),
    Mutant("memory.py", "if x in pinned:", "if x in pinned and victims:"),
    Mutant(
        "memory.py",
        "missing = sizes[x] - self.free[partition]",
        "missing = sizes[x] - self.free[partition] - 1",
    ),
    Mutant("loads.py", "+ priority[i] * _PRIORITY", "- priority[i] * _PRIORITY"),
    Mutant("loads.py", "self.cache.insert(x, needed)", "self.cache.insert(x)"),
    Mutant("links.py", "if now == self._busy_until", "if now != self._busy_until"),
    Mutant("transfer_queue.py", "nbytes > self.chunk", "nbytes > self.chunk + 1"),
    Mutant("links.py", "max(now, self._bus_free)", "max(now, self._bus_free - 1)"),
    Mutant("missing.py", "if load.landed > self.free:", "if load.landed > self.free + 1:"),
    Mutant("engine.py", "if index <= self._routed_until:", "if index < self._routed_until:"),
    Mutant("compiled/memory.py", "if t.kept_in == OWN_QUEUES and", "if False and"),
    Mutant("compiled/loads.py", "FIRM if needed else QUEUED_TOO", "FIRM"),
    Mutant("compiled/loads.py", "            links.dequeue(q, 1, x)\n", ""),
    Mutant(
        "compiled/loads.py", "if r.ends[end + END_AT] > now:", "if r.ends[end + END_AT] >= now:"
    ),
    Mutant("compiled/kernel.py", "r.of[GROUP_END] > now:", "False:"),
    Mutant("compiled/kernel.py", "if r.of[STREAMING] or not s.grouped:", "if not s.grouped:"),
    Mutant("missing.py", "not loader.moves(self._routed)", "True"),
    Mutant("missing.py", "self._look_after(now - 1)", "self._look_after(now)"),
    Mutant(
        "device.py",
        "max(start, self._side_free) + duration",
        "max(start, self._side_free + 1) + duration",
    ),
]
