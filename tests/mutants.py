"""Faults to plant in either engine, one at a time: each makes some random system differ."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str  # in sim/
    old: str
    new: str
    endless: bool = False  # what is seen of it is that a run does not end
    kind: int = 0  # of the systems that meet it soonest, a place in ``planted.KINDS``


USE = "def use(t: Tier, x: int) -> None:\n    if t.resident[x] == {}:"

MUTANTS = [
    Mutant("compiled/order.py", "column += others", "column += 1", endless=True),
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
    Mutant("compiled/links.py", "if load.key == DEMAND_KEY else", "if load.key != DEMAND_KEY else"),
    Mutant("compiled/links.py", "_sooner(load, loader.loads[expert(before)])", "False"),
    Mutant("compiled/order.py", "x, y = min(x, y)", "x, y = max(x, y)"),
    Mutant(
        "compiled/order.py", "t.list[after].score < score", "t.list[after].score > score", kind=1
    ),
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
        kind=2,
    ),
    Mutant("compiled/links.py", "a.seq < b.seq", "a.seq > b.seq"),
    Mutant("compiled/loads.py", "[j - 1]].seq > load.seq", "[j - 1]].seq < load.seq"),
    Mutant("compiled/loads.py", "if not base <= x < base + s.experts or ", "if "),
    Mutant(
        "compiled/loads.py",
        "waiting += links.first(loader, stage) != stage",
        "waiting += links.first(loader, 0) != 0",
    ),
    Mutant(
        "compiled/loads.py",
        "    for stage in range(links.stages(s, path)):\n        node",
        "    for stage in range(1):\n        node",
    ),
    Mutant("compiled/load_path.py", ">= cache.size.max()", ">= cache.size.min()"),
    Mutant("compiled/load_path.py", "and not first.storage and", "and"),
    Mutant("compiled/shortcut.py", "r.at.landed += 1", "r.at.landed += 2"),
    Mutant("compiled/setup.py", "if predictors or path is not None:", "if path is not None:"),
    Mutant(
        "compiled/setup.py", "return bool(largest <= min(rooms, default=largest))", "return True"
    ),
    Mutant("compiled/replay.py", "        if t.not_routed:", "        if False:", kind=3),
    Mutant("compiled/memory.py", "hit = 1 - missed[i]", "hit = 1"),
    Mutant("compiled/links.py", "ns if now == server", "ns if now <= 1 + server"),
    Mutant("compiled/links.py", "before_ns + more_ns)\n", "before_ns + more_ns + 1.0)\n"),
    Mutant(
        "compiled/links.py",
        "max(bus, stream) + path.links[stage].latency_ns",
        "max(bus, stream + path.links[stage].latency_ns)",
    ),
    Mutant("compiled/links.py", "lane.order < order)", "lane.order > order)"),
    Mutant("compiled/moving.py", "blocked = allowed < 0", "blocked = False"),
    Mutant(
        "compiled/moving.py",
        "if 0 < path.links[stage].chunk < nbytes:",
        "if 0 < path.links[stage].chunk <= nbytes:",
    ),
    Mutant(
        "compiled/moving.py",
        "    memory.insert(cache, x, needed)\n",
        "    memory.insert(cache, x, True)\n",
    ),
    Mutant("compiled/loads.py", "first = path.host.resident[x]", "first = 0"),
    Mutant("compiled/loads.py", "step = load.target // s.layers", "step = r.at.step"),
    Mutant("engine/loader.py", "_prefill[target // self", "_prefill[self.cache.now // self"),
    Mutant(
        "compiled/loads.py",
        "count_ends(s, r, index // s.layers, REDUNDANT, count - issued)",
        "count_ends(s, r, index // s.layers, REDUNDANT, count - issued + 1)",
    ),
    Mutant(
        "compiled/loads.py", "r.priority[i] * PRIORITY + index", "r.priority[i] * PRIORITY - index"
    ),
    Mutant(
        "compiled/loads.py",
        "if load.started >= 0 or load.origin == BEHIND:",
        "if load.origin == BEHIND:",
    ),
    Mutant(
        "compiled/prediction.py",
        "out = max(now + read, r.at.side_free) + delay",
        "out = max(now + read, r.at.side_free + 1) + delay",
    ),
    Mutant(
        "compiled/prediction.py",
        "if index <= r.at.routed_until:",
        "if index < r.at.routed_until:",
    ),
    Mutant(
        "compiled/prediction.py",
        "for later in range(layer + 1, target + 1):",
        "for later in range(layer + 1, target):",
    ),
    Mutant("compiled/prediction.py", "for later in range(layer + 1", "for later in range(layer"),
    Mutant("compiled/kernel.py", "read = before + cost.norm_ns", "read = before"),
    Mutant("compiled/kernel.py", "r.at.begun = now", "r.at.begun = now + 1"),
    Mutant("compiled/kernel.py", "fits(cache, routed, first, end)", "fits(cache, routed, 0, end)"),
    # It reads before an array's first item, and nothing comes of it: see ``agreement.Strict``.
    Mutant(
        "compiled/kernel.py",
        "size = cache.size[routed[first]]\n",
        "size = cache.size[routed[first]] + 0 * routed[first - 1]\n",
    ),
    Mutant("compiled/shortcut.py", "        duration = later\n", ""),
    Mutant("compiled/shortcut.py", "if r.at.pending == 0:", "if r.at.pending < 2:", kind=1),
    Mutant("compiled/shortcut.py", "split = max(started, free)", "split = started"),
    Mutant(
        "compiled/kernel.py",
        "split = min(max(split, since), load.landed)",
        "split = min(split, load.landed)",
    ),
    Mutant("engine/tier.py", "for x in reversed(passed_over)", "for x in passed_over", kind=2),
    Mutant("engine/tier.py", "if x in routed:", "if False:"),
    Mutant("engine/tier.py", "elif score != least[x]:", "elif score > least[x] + 1:"),
    Mutant("engine/tier.py", "if x in pinned:", "if x in pinned and victims:"),
    Mutant(
        "engine/tier.py",
        "missing = sizes[x] - self.free[partition]",
        "missing = sizes[x] - self.free[partition] - 1",
    ),
    Mutant("engine/loader.py", "+ priority[i] * PRIORITY", "- priority[i] * PRIORITY"),
    Mutant("engine/loader.py", "self.cache.insert(x, needed)", "self.cache.insert(x)"),
    Mutant("machine/links.py", "behind = now == busy_until", "behind = now != busy_until"),
    Mutant("engine/transfer_queue.py", "nbytes > self.chunk", "nbytes > self.chunk + 1"),
    Mutant("machine/links.py", "storage.read(now, bus_free,", "storage.read(now, bus_free - 1,"),
    Mutant("engine/missing.py", "if landed > free:", "if landed > free + 1:"),
    Mutant(
        "engine/decisions.py",
        "if layer_step <= self._routed_until:",
        "if layer_step < self._routed_until:",
    ),
    Mutant("compiled/memory.py", "if t.kept_in == OWN_QUEUES and", "if False and", kind=2),
    Mutant("compiled/moving.py", "FIRM if needed else QUEUED_TOO", "FIRM", kind=1),
    Mutant("compiled/moving.py", "            links.dequeue(loader, 1, x)\n", ""),
    Mutant("compiled/moving.py", "if computed.end > now:", "if computed.end >= now:"),
    Mutant("compiled/kernel.py", "r.at.group_end > now:", "False:", kind=1),
    Mutant("compiled/kernel.py", "if r.at.streams or not s.grouped:", "if not s.grouped:"),
    Mutant("engine/missing.py", "not loader.moves(self._routed)", "True"),
    Mutant("engine/missing.py", "self._look_after(now - 1)", "self._look_after(now)"),
    Mutant(
        "machine/device.py",
        "max(start, self._side_free) + duration",
        "max(start, self._side_free + 1) + duration",
    ),
    # What never leaves.
    Mutant(
        "engine/tier.py",
        "return size * sum([x not in self.static for x in experts])",
        "return size",
    ),
    Mutant(
        "engine/tier.py",
        "self._leaves[y] == partition",
        "self.partition_of[y] == partition",
        kind=2,
    ),
    Mutant("engine/tier.py", "        if self.static:  #", "        if False:  #"),
    Mutant("compiled/memory.py", "others += t.resident[routed[i]] != STATIC", "others += 1"),
    Mutant("compiled/memory.py", "t.resident[y] == THERE and", "t.resident[y] and", kind=2),
    Mutant("compiled/memory.py", USE.format("STATIC"), USE.format("3")),
    Mutant("compiled/tiers.py", "plain.resident[x] and x not in plain.static", "plain.resident[x]"),
    Mutant("compiled/tiers.py", "_resident(plain) == THERE", "_resident(plain) > 0"),
    Mutant("compiled/tiers.py", "room=plain.room", "room=plain.capacities"),
    # Experts on the CPU.
    Mutant("engine/plan.py", "loader.moving > 0 or loader.waiting > 0", "loader.moving > 0"),
    Mutant("engine/plan.py", "MOVES if load.started >= 0 else WAITS", "WAITS", kind=1),
    Mutant("engine/missing.py", "self.stalls[4] += self._cpu_end - self.free", "pass"),
    Mutant("engine/decisions.py", "{*pinned, *on_cpu} if on_cpu else pinned", "pinned"),
    Mutant("engine/loader.py", "if origin != DEMAND:", "if origin == PREFETCH:"),
    Mutant("machine/links.py", "now < loader.cpu_until", "now <= loader.cpu_until", kind=2),
    Mutant("compiled/cpu.py", "r.at.moving > 0 or r.at.waiting > 0", "r.at.waiting > 0"),
    Mutant("compiled/cpu.py", "            memory.use(path.host, x)\n", "            pass\n"),
    Mutant("compiled/cpu.py", "cpu.at.until = cpu.at.end", "cpu.at.until = now"),
    Mutant("compiled/links.py", "now < cpu.at.until", "now <= cpu.at.until", kind=2),
    Mutant("compiled/kernel.py", "path is None and cpu is None and not", "path is None and not"),
    Mutant("compiled/loads.py", "load.started >= 0 or load.origin == BEHIND", "load.started >= 0"),
    Mutant("compiled/cpu.py", "cpu.chosen[i] = 1", "cpu.chosen[i] = 0"),
    Mutant("engine/plan.py", "return dict(missing)", "return {}"),
    # What the runtime takes.
    Mutant("engine/forward_pass.py", "hits) * miss_ns[layer]", "hits) * miss_ns[0]"),
    Mutant("compiled/kernel.py", "s.miss_ns[layer]", "s.miss_ns[0]"),
    Mutant("compiled/kernel.py", "r.at.ahead = 0", "r.at.ahead += 0"),
    Mutant("engine/forward_pass.py", "ns[x // width]", "ns[0]"),
    Mutant("compiled/kernel.py", "missing * s.miss_ns[layer]", "(end - first) * s.miss_ns[layer]"),
    Mutant("compiled/shortcut.py", "busy + r.at.bookkeeping", "busy"),
    Mutant("compiled/shortcut.py", "rate.isolated_ns + rate.more_ns", "rate.isolated_ns"),
    Mutant("compiled/links.py", "more_ns = rate.more_ns", "more_ns = 0.0", kind=1),
    Mutant(
        "compiled/links.py",
        "copies_of(nbytes, path.host.size[x], rate.copies)",
        "rate.copies",
    ),
    Mutant(
        "machine/links.py",
        "self._finish(now, nbytes, load.size)",
        "self._finish(now, nbytes, nbytes)",
    ),
]
