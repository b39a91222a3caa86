"""Faults to plant in the kernel, one at a time: each must make some random system differ."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    old: str
    new: str


MUTANTS = [  # fmt: off
    Mutant("memory.py", "t.bound[a] == t.bound[b] and a < b", "t.bound[a] == t.bound[b] and a > b"),
    Mutant("memory.py", "while missing > 0 and t.count[p] > 0", "while missing >= 0 and t.count[p] > 0"),
    Mutant("memory.py", "        t.free[p] += t.size[y]\n", "        t.free[p] += t.size[y] - 1\n"),
    Mutant("memory.py", "if victims > 0 and t.policy[SPARED]", "if victims > 1 and t.policy[SPARED]"),
    Mutant("memory.py", "    if needed:\n        score", "    if not needed:\n        score"),
    Mutant("loads.py", "q.key[a] == q.key[b] and q.seq[a] < q.seq[b]", "q.key[a] == q.key[b] and q.seq[a] > q.seq[b]"),
    Mutant("loads.py", "alpha = s.queued[stage] if now == q.free_at[stage]", "alpha = s.queued[stage] if now <= q.free_at[stage] + 1"),
    Mutant("loads.py", "end = now + int(np.rint(alpha", "end = now + int(np.floor(alpha"),
    Mutant("loads.py", "return int(max(bus, stream) + s.latency[stage])", "return int(max(bus, stream + s.latency[stage]))"),
    Mutant("loads.py", "0 <= r.of[UNPIN_AT] <= now", "0 <= r.of[UNPIN_AT] < now"),
    Mutant("loads.py", "allowed = -1 if blocked > 0 else", "allowed = -1 if blocked > 1 else"),
    Mutant("loads.py", "if 0 < s.chunk[stage] < nbytes:", "if 0 < s.chunk[stage] <= nbytes:"),
    Mutant("loads.py", "end == time and q.lane_seq[stage, lane] < order", "end == time and q.lane_seq[stage, lane] > order"),
    Mutant("loads.py", "    memory.insert(cache, x, needed)\n", "    memory.insert(cache, x, True)\n"),
    Mutant("loads.py", "first = int(host.resident[x])", "first = 0"),
    Mutant("loads.py", "elif q.started[x] < 0 and key < q.key[x]:", "elif q.started[x] < 0 and key > q.key[x]:"),
    Mutant("loads.py", "q.counts[REDUNDANT] += count - issued", "q.counts[REDUNDANT] += count - issued + 1"),
    Mutant("loads.py", "r.priority[i] * PRIORITY + index", "r.priority[i] * PRIORITY - index"),
    Mutant("loads.py", "and q.started[x] < 0 and q.needed[x] < 0)", "and q.needed[x] < 0)"),
    Mutant("loads.py", "ended = USELESS if q.started[x] >= 0 else CANCELLED", "ended = USELESS if q.started[x] > 0 else CANCELLED"),
    Mutant("kernel.py", "out = max(now + read, r.of[SIDE_FREE]) + delay", "out = max(now + read, r.of[SIDE_FREE] + 1) + delay"),
    Mutant("kernel.py", "if index <= r.of[ROUTED_UNTIL]:", "if index < r.of[ROUTED_UNTIL]:"),
    Mutant("kernel.py", "if s.of[CANCEL] and s.of[HOOKS] > 1:", "if s.of[CANCEL] and s.of[HOOKS] > 0:"),
    Mutant("kernel.py", "now, before + s.norm[cost])", "now, before)"),
    Mutant("kernel.py", "if landing <= prediction and landing <= wake:", "if landing < prediction and landing <= wake:"),
    Mutant("kernel.py", "elif prediction <= wake:", "elif prediction < wake:"),
    Mutant("kernel.py", "size * (end - first) > cache.capacity", "size * (end - first) >= cache.capacity"),
    Mutant("kernel.py", "if q.landed[x] > free:", "if q.landed[x] > free + 1:"),
    Mutant("kernel.py", "split = min(max(split, since), end)", "split = min(split, end)"),
    Mutant("kernel.py", "for later in range(layer + 1, target + 1):", "for later in range(layer + 1, target):"),
]  # fmt: skip
