"""Experts on the CPU, as named rows: the plan of a layer, and what it takes.

Rules: docs/timing.md, "Experts on the CPU". As ``engine.plan``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefetch_sim.sim.compiled import loads, memory, policies
from prefetch_sim.sim.compiled.arrays import Cpu, Loader, LoadPath, Setup, Tier
from prefetch_sim.sim.compiled.links import transfer_ns
from prefetch_sim.sim.compiled.progress import Run
from prefetch_sim.sim.engine.load import BEHIND, BEHIND_KEY
from prefetch_sim.sim.jit.jit import by_presence, part
from prefetch_sim.sim.misses.base import ABSENT, MOVES, WAITS, Layer

Chosen = Callable[[Setup, Cpu | None], Any]


# Of (s, cpu): where the present layer's experts stand, those apart that the CPU computes, and how
# many tokens each of them serves.
routed_set: Chosen = by_presence(
    lambda state, option: state.routed, lambda state, option: option.routed
)
tokens_of: Chosen = by_presence(
    lambda state, option: state.tokens, lambda state, option: option.tokens
)


@part
def _may_compute(s: Setup, cache: Tier, path: LoadPath | None, x: int) -> bool:
    """Whether ``x`` is missing, and where the CPU can compute it."""
    if cache.resident[x]:
        return False
    return bool(path is None or not s.has_host or path.host.resident[x])


@part
def share_out(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu,
    first: int, end: int,
) -> None:  # fmt: skip
    """Ask for the plan of ``s.routed[first:end]``: what it leaves is ``routed_set``."""
    layer, count = r.at.layer, 0
    for i in range(first, end):
        x = s.routed[i]
        if not _may_compute(s, cache, path, x):
            continue
        load = loader.loads[x]
        cpu.state[count] = ABSENT
        if load.in_flight:
            cpu.state[count] = MOVES if load.started >= 0 else WAITS
        cpu.ns[count] = cpu.expert_ns[layer][s.tokens[i]]
        count += 1
    cpu.at.here = cpu.at.count = 0
    step = s.steps[r.at.step]
    tokens = s.steps[r.at.step + 1].first_row - step.first_row
    if count > 0:
        one = s.routed[first]
        if cache.size[one] > cache.partitions[cache.experts[one].partition].room:
            for i in range(count):
                cpu.chosen[i] = 1  # none of them could be loaded
        else:
            link = transfer_ns(r.at.moving, s.wire, 0.0)
            about = Layer(tokens, cpu.up_to, cpu.load_ns[layer], link, cpu.fixed_ns[r.at.step])
            policies.plan(cpu.policy, count, cpu.ns, cpu.state, about, cpu.chosen)
    asked = 0
    for i in range(first, end):
        x, chosen = s.routed[i], 0
        if _may_compute(s, cache, path, x):
            chosen = cpu.chosen[asked]
            asked += 1
        if chosen:
            cpu.experts[cpu.at.count] = x
            loader.loads[x].tokens = s.tokens[i]
            cpu.at.count += 1
        else:
            cpu.routed[cpu.at.here], cpu.tokens[cpu.at.here] = x, s.tokens[i]
            cpu.at.here += 1


@part
def begin(
    s: Setup, cache: Tier, path: LoadPath | None, loader: Loader, r: Run, cpu: Cpu,
    index: int, now: int,
) -> None:  # fmt: skip
    """The CPU begins with its experts, the others having been demanded."""
    count, layer = cpu.at.count, r.at.layer
    cpu.at.end = now
    if count == 0:
        return
    contended = r.at.moving > 0 or r.at.waiting > 0
    ns = cpu.fixed_ns[r.at.step]
    for i in range(count):
        x = cpu.experts[i]
        tokens = loader.loads[x].tokens
        ns += cpu.contended_ns[layer][tokens] if contended else cpu.expert_ns[layer][tokens]
        if path is not None and s.has_host:
            memory.use(path.host, x)
        if cpu.behind and not loader.loads[x].in_flight:
            loads.issue(s, cache, path, loader, r, x, BEHIND, BEHIND_KEY + index, now, index, -1)
    cpu.at.end += ns
    cpu.at.until = cpu.at.end


@part
def wait(r: Run, cpu: Cpu, free: int) -> int:
    """The compute engine, through at ``free``, waits for the CPU; returns when both are."""
    if cpu.at.end <= free:
        return free
    r.stalls.cpu += cpu.at.end - free
    return cpu.at.end
