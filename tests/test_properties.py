"""What holds for every system, tried on random small ones (hypothesis, a fixed sequence)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from harness import FixedCost, FixedCpu, machine, make_trace, run_system, system
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefetch_sim.sim.config import registry
from prefetch_sim.sim.engine.load import BEHIND, CANCELLED, DEMAND, LATE, PREFETCH, TIMELY, Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.machine.device import SimulatedDevice
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.format import Trace

MIB = 2**20
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Small:
    """A whole system, small enough to read when it fails."""

    layers: int
    experts: int
    k: int
    requests: tuple[int, ...]  # tokens of each
    prompt: int
    routing: int  # seed of the routing
    gaps: bool  # the last layer routes only the last token of a prompt
    sizes: tuple[int, ...]  # bytes, by layer
    room: tuple[int, ...]  # of each partition, in experts of the largest size (or the layer's)
    eviction: str
    cost: dict[str, int]
    link: dict[str, Any]
    host: int | None = None  # experts of the largest size
    predictors: tuple[tuple[str, dict[str, Any]], ...] = ()
    policy: str = "top-k"
    config: dict[str, Any] = field(default_factory=dict)
    cpu: dict[str, int] | None = None  # durations there
    static: int = 0  # seed of which experts never leave; 0: none. Their room is beside ``room``

    def static_experts(self) -> list[int]:
        if not self.static:
            return []
        rng, total = np.random.default_rng(self.static), self.layers * self.experts
        chosen = rng.permutation(total)[: rng.integers(1, total)]
        if self.static % 3 == 0:  # whole layers
            chosen = np.flatnonzero(rng.random(self.layers) < 0.5)
            chosen = (chosen[:, None] * self.experts + np.arange(self.experts)).ravel()
        return sorted(chosen.tolist())

    def trace(self) -> Trace:
        rng = np.random.default_rng(self.routing)
        shape = (sum(self.requests), self.layers, self.experts)
        ids = np.argsort(rng.random(shape), axis=2)[:, :, : self.k]
        trace = make_trace(
            ids.tolist(),
            self.experts,
            sizes=self.sizes,
            prompt=self.prompt,
            requests=self.requests,
        )
        if self.gaps:
            followed = np.append(trace.request_id[1:] == trace.request_id[:-1], False)
            last_of_prompt = np.append(trace.phase[1:] == 1, True) | ~followed
            trace.experts[(trace.phase == 0) & ~last_of_prompt, -1] = -1
        return trace

    def capacity(self) -> list[int]:
        held = [0] * self.layers
        for x in self.static_experts():
            held[x // self.experts] += self.sizes[x // self.experts]
        if len(self.room) == 1:
            return [self.room[0] * max(self.sizes) + sum(held)]
        return [n * size + taken for n, size, taken in zip(self.room, self.sizes, held)]

    def inputs(self) -> Inputs:
        return system(
            self.trace(),
            machine(**self.link),
            capacity=self.capacity(),
            host=None if self.host is None else self.host * max(self.sizes),
            eviction=self.eviction,
            policy=self.policy,
            predictors=self.predictors,
            static=self.static_experts(),
            **self.config,
        )

    def run(
        self, watch: Any = None, *, records: bool = True, one_of_many: bool = False
    ) -> Simulation:
        cost: Any = self.durations()
        return simulate(self.inputs(), watch, cost, records=records, one_of_many=one_of_many)

    def durations(self) -> FixedCost:
        return FixedCost(
            self.layers, cpu=None if self.cpu is None else FixedCpu(**self.cpu), **self.cost
        )


@st.composite
def predictor(draw: st.DrawFn, congested: bool = False) -> tuple[str, dict[str, Any]]:
    common = {
        "placement": draw(st.sampled_from(["side", "inline"])),
        "cost_us": draw(st.sampled_from([None, 0.0, 0.03, 0.4])),
    }
    name = draw(
        st.sampled_from(["oracle", "oracle", "previous-token", "layer-frequency", "transition"])
    )
    if congested:  # wrong, and early
        distance, recall = draw(st.integers(1, 2)), draw(st.sampled_from([0.0, 0.3]))
        return "oracle", {"distance": distance, "recall": recall, **common}
    if name == "transition":
        return name, common
    distance = draw(st.integers(0, 2))
    if name != "oracle":
        return name, {"distance": distance, **common}
    return name, {
        "distance": distance,
        "recall": draw(st.sampled_from([1.0, 0.8, 0.3, 0.0])),
        "trigger": draw(st.sampled_from(["layer_start", "gate_input"])),
        **common,
    }


@st.composite
def smalls(
    draw: st.DrawFn,
    *,
    equal: bool = False,
    predictors: int = 2,
    evictions: Sequence[str] = tuple(registry.names("eviction")),
    congested: bool = False,
    cpu: bool = True,
) -> Small:
    """``congested``, as one in six is: links fall behind, and many prefetches are cancelled."""
    congested = congested or draw(st.integers(0, 5)) == 5
    layers, experts = draw(st.integers(3 if congested else 1, 4)), draw(st.integers(2, 6))
    k = draw(st.integers(1, min(3, experts)))
    one_size = equal or draw(st.booleans())
    size = st.integers(1, 400)
    sizes = (draw(size),) * layers if one_size else tuple(draw(size) for _ in range(layers))
    if draw(st.booleans()):
        room: tuple[int, ...] = (draw(st.integers(k, layers * experts)),)
    else:
        room = tuple(draw(st.integers(k, experts)) for _ in range(layers))
    unified = draw(st.booleans())
    chunk = st.sampled_from([None, 7.0, 64.0, 150.0])
    link: dict[str, Any] = {
        "unified": unified,
        "gb_s": 0.3 if congested else draw(st.sampled_from([1.0, 0.3, 3.0])),
        "isolated_us": draw(st.sampled_from([0.0, 0.05])),
        "back_to_back_us": draw(st.sampled_from([0.0, 0.01])),
        "chunk_mib": (c := draw(chunk)) and c / MIB,
        "storage": {
            "gb_s": draw(st.sampled_from([0.5, 3.0])),
            "stream_gb_s": draw(st.sampled_from([0.25, 0.5])),
            "latency_us": draw(st.sampled_from([0.0, 0.02])),
            "queue_depth": draw(st.integers(1, 3)),
            "read_mib": draw(st.sampled_from([7.0, 64.0, 500.0])) / MIB,
        },
    }
    host = None
    if not unified and draw(st.booleans()):
        host = draw(st.integers(layers * experts // 2 if congested else 1, layers * experts))
    durations = st.sampled_from([0, 1] if congested else [0, 1, 20, 100, 300])
    names = ("attention", "gate", "shared", "expert", "launch", "epilogue", "predictor", "fixed")
    cost = {name: draw(durations) for name in (*names, "prologue")}
    cost["miss"] = draw(durations) if draw(st.booleans()) else 0
    cost["miss_later"] = 3 if cost["miss"] else 0
    cost["norm"] = draw(st.integers(0, cost["attention"]))
    cost["slowed"] = draw(st.sampled_from([1, 1, 2]))
    on_cpu, misses = None, {"policy": "load"}
    if cpu and not unified and draw(st.integers(0, 2)) == 0:
        on_cpu = {name: draw(durations) for name in ("fixed", "token", "expert")}
        on_cpu["contended"] = on_cpu["expert"] + draw(st.sampled_from([0, 30]))
        link["contended"] = draw(st.sampled_from([None, 0.5]))
        misses = {
            "policy": draw(st.sampled_from(["cpu", "cheapest", "cheapest"])),
            "then": draw(st.sampled_from(["keep", "load"])),
            "up_to": draw(st.sampled_from([1, 31])),
        }
        if draw(st.booleans()):  # too little for a token's set, or for one expert
            least = 0 if host is None else 1
            room = tuple(draw(st.integers(least, k)) for _ in room)
    return Small(
        layers=layers,
        experts=experts,
        k=k,
        requests=tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))),
        prompt=draw(st.integers(0, 3)),
        routing=draw(st.integers(0, 1000)),
        gaps=draw(st.booleans()),
        sizes=sizes,
        room=room,
        eviction=draw(st.sampled_from(evictions)),
        cost=cost,
        link=link,
        host=host,
        predictors=tuple(draw(st.lists(predictor(congested), max_size=predictors))),
        policy=draw(st.sampled_from(registry.names("prefetch"))),
        cpu=on_cpu,
        config={
            "misses": misses,
            "overlap": draw(st.sampled_from(["per_expert", "grouped", "none"])),
            "runtime": {
                "load.copies": draw(st.sampled_from([1, 1, 3])),
                "load.issue_us": draw(st.sampled_from([0.0, 0.0, 0.03])),
                "load.read_us": draw(st.sampled_from([0.0, 0.0, 0.05])),
            },
            "batch_size": draw(st.integers(1, 3)),
            "prefetch": {
                "extra": draw(st.integers(0, 2)),
                "threshold": draw(st.sampled_from([0.0, 0.4, 0.9])),
                "cancel_stale": congested or draw(st.booleans()),
            },
            "cache": {"warm": draw(st.sampled_from(["none", "first", "popular"]))},
            "seed": draw(st.integers(0, 3)),
        },
        static=draw(st.sampled_from((0,) * 18 + tuple(range(1, 10)))),
    )


class Ledger:
    """Books kept beside a tier: what it holds, and for whom it holds room."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.reserved: set[int] = set()
        self._reserve, self._insert = tier.reserve, tier.insert
        self._on_evict = tier.on_evict
        tier.reserve, tier.insert = self.reserve, self.insert  # type: ignore[method-assign]
        tier.on_evict = self.evicted
        self.balance()

    def reserve(self, x: int) -> bool:
        assert x not in self.reserved
        assert x not in self.tier.static
        assert not self.tier.resident[x]
        before, held = list(self.tier.free), list(self.tier.resident)
        granted = self._reserve(x)
        if granted:
            self.reserved.add(x)
        else:
            assert (before, held) == (self.tier.free, self.tier.resident)
        self.balance()
        return granted

    def insert(self, x: int, used: bool = False) -> None:
        self.reserved.remove(x)
        self._insert(x, used)
        self.balance()

    def evicted(self, x: int) -> None:
        assert x not in self.tier.pinned
        assert x not in self.reserved
        assert x not in self.tier.static
        if self._on_evict is not None:
            self._on_evict(x)

    def balance(self) -> None:
        tier = self.tier
        left = list(tier.capacities)
        for x, resident in enumerate(tier.resident):
            assert resident or x not in tier.static  # what is static is there at every instant
            if resident or x in self.reserved:
                left[tier.partition_of[x]] -= tier.sizes[x]
        assert left == tier.free
        assert min(left) >= 0


def total_ns(done: Simulation) -> int:
    return int(done.steps.column("end")[-1])


@EXAMPLES
@given(smalls())
def test_memory_books_balance_and_every_load_is_accounted_for(small: Small) -> None:
    loads: list[Load] = []
    ledgers: list[Ledger] = []

    loaders: list[Loader] = []

    def watch(device: SimulatedDevice, loader: Loader) -> None:
        loaders.append(loader)
        ledgers.extend(Ledger(tier) for tier in (loader.cache, loader.host) if tier is not None)
        append = loader.records.append

        def appended(load: Load, disposition: int, now: int) -> None:
            loads.append(load)
            append(load, disposition, now)

        loader.records.append = appended  # type: ignore[method-assign]

    done = small.run(watch)
    (loader,), layers = loaders, done.layers

    # Every proposal, every routed expert and every load ends in one way.
    ended = np.array(loader.counts)  # [phase, disposition]
    assert loader.proposed == ended.sum()
    assert len({id(load) for load in loads}) == len(loads)
    hits, late = layers.column("hits"), layers.column("late")
    demanded = int((layers.column("experts") - hits - late - layers.column("cpu")).sum())
    assert int((hits + late).max(initial=0)) <= small.experts
    promoted = sum(load.origin == BEHIND and load.needed >= 0 for load in loads)
    assert sum(load.origin == DEMAND for load in loads) + promoted == demanded
    assert small.config["misses"]["policy"] != "load" or not layers.column("cpu").any()
    prefill = done.steps.column("prefill")[layers.column("step")] == 1
    for phase, told in enumerate((late[~prefill], late[prefill])):
        assert ended[phase, LATE] == told.sum()
    assert ended[:, TIMELY].sum() <= hits.sum()
    assert not loader.in_flight

    # What moved is what landed, and what was under way at the end.
    sizes = loader.cache.sizes
    partial = [sizes[load.expert] - load.left[-1] for load in loads if load.landed < 0]
    landed = sum(sizes[load.expert] for load in loads if load.landed >= 0)
    assert sum(loader.moved_bytes[-1]) == landed + sum(partial)
    unstarted = [load for load in loads if load.started < 0]
    assert all(load.left == [sizes[load.expert]] * len(load.left) for load in unstarted)
    for load in loads:
        times = [load.issued, load.started, load.storage_done, load.landed]
        reached = [t for t in times if t >= 0]
        assert reached == sorted(reached)
    prefetches = done.loads.column("origin") == PREFETCH  # loads behind are not counted
    ends = done.loads.column("disposition")[prefetches]
    assert ended[:, CANCELLED].sum() == (ends == CANCELLED).sum()


@EXAMPLES
@given(smalls())
def test_time_is_compute_and_stalls(small: Small) -> None:
    done = small.run()
    layers, steps = done.layers, done.steps
    stalls = sum(layers.column(c) for c in layers.times if c.startswith("stall_"))
    assert (np.asarray(stalls) >= 0).all()
    by_step = np.bincount(layers.column("step"), stalls, len(steps)).astype(np.int64)
    lasted = steps.column("end") - steps.column("start")
    assert (lasted == steps.column("compute") + by_step).all()
    assert (steps.column("start")[1:] == steps.column("end")[:-1]).all()
    starts, routed, ends = (layers.column(c) for c in ("start", "routed", "end"))
    assert (starts <= routed).all()
    assert (routed <= ends).all()
    assert (starts[1:] >= ends[:-1]).all()


@EXAMPLES
@given(smalls())
def test_no_link_is_faster_than_its_rate(small: Small) -> None:
    # Whole nanoseconds a byte: else every chunk's rounding may save half a nanosecond.
    small.link["gb_s"] = 0.5 if small.link["gb_s"] < 1 else 1.0
    small.link["storage"]["gb_s"] = 0.5
    for name, share in results(small.run())["link_busy"].items():
        assert share is None or 0 <= share <= 1, name


@EXAMPLES
@given(smalls())
def test_the_same_system_gives_the_same_records(small: Small) -> None:
    first, second = small.run(), small.run()
    for name in ("layers", "steps", "loads"):
        assert (getattr(first, name).table() == getattr(second, name).table()).all()
    assert first.events == second.events
    assert results(first) == results(second)


@EXAMPLES
@given(smalls(equal=True, predictors=0, cpu=False), st.integers(0, 3))
def test_a_perfect_prefetch_in_order_of_need_is_never_slower(small: Small, ahead: int) -> None:
    """Where nothing is evicted. In order of need: every layer up to ``ahead`` is named in turn.

    Left out is what may rightly be slower: a distant layer named before a near one; another order
    of loading, so another order of computing (several tokens); a transfer that no longer directly
    follows another; another order of use of the host's memory; what computes beside loads.
    """
    cost = small.cost | {"slowed": 1}
    small = replace(small, cost=cost, room=(small.layers * small.experts,), host=None, prompt=0)
    small.config.update(batch_size=1, prefetch={"extra": 0})
    small.link["back_to_back_us"] = small.link["isolated_us"]
    oracles = tuple(
        ("oracle", {"recall": 1.0, "distance": distance, "cost_us": 0.0})
        for distance in range(ahead + 1)
    )
    prefetching = replace(small, predictors=oracles, policy="top-k")
    assert total_ns(prefetching.run()) <= total_ns(small.run())


@EXAMPLES
@given(smalls(equal=True, predictors=0, cpu=False))
def test_no_eviction_misses_less_than_belady(small: Small) -> None:
    # A set larger than the cache streams through it in the order of the router: no atomic set.
    if len(small.room) == 1:
        small = replace(small, room=(max(small.room[0], small.experts),))
    else:
        small.config["batch_size"] = 1
        small = replace(small, prompt=0)

    def misses(eviction: str) -> int:
        layers = replace(small, eviction=eviction).run().layers
        return int((layers.column("experts") - layers.column("hits")).sum())

    fewest = misses("belady")
    for name in registry.names("eviction"):
        assert fewest <= misses(name), name


@pytest.mark.parametrize("overlap", ["per_expert", "grouped", "none"])
def test_the_link_bound_may_choose_the_order_in_which_a_set_streams(overlap: str) -> None:
    # A prompt of two tokens through room for one expert, then 0 again. The prefetches come in
    # the order of the tokens, so 0 stays; on demand 0 would come first and leave.
    trace = make_trace([[[1]], [[0]], [[0]]], 2, sizes=[100], prompt=2)
    predictors = [("oracle", {"cost_us": 0.0})]
    inputs = system(trace, machine(), capacity=100, predictors=predictors, overlap=overlap)
    _, found = run_system(inputs, FixedCost(1, attention=1, gate=1, expert=1))
    assert found["loads"] == 2
    assert found["bounds_ms"]["link"] == 200 / 1e6
    assert max(found["bounds_ms"].values()) <= found["total_ms"]


def test_the_clairvoyant_bound_knows_that_a_streaming_group_comes_in_parts() -> None:
    # 0 is warm and computes while 1 and 2 load; 3 loads once they are done.
    trace = make_trace([[[e], [0], [0]] for e in range(4)], 4, sizes=[100] * 3, prompt=4)
    trace.experts[:, 1:] = -1
    inputs = system(trace, machine(), capacity=300, overlap="grouped", cache={"warm": "first"})
    done, found = run_system(inputs, FixedCost(3, attention=1, gate=1))
    assert done.layers.column("end")[0] == 2 + 200 + 2 * 50 + 100 + 50
    assert max(found["bounds_ms"].values()) <= found["total_ms"]


@dataclass(frozen=True)
class Relabelled(Small):
    """Its experts under other numbers, each layer's for itself."""

    def labels(self) -> list[Any]:
        rng = np.random.default_rng(self.routing)
        return [rng.permutation(self.experts).astype(np.int16) for _ in range(self.layers)]

    def static_experts(self) -> list[int]:
        labels, n = self.labels(), self.experts
        return sorted(x // n * n + int(labels[x // n][x % n]) for x in super().static_experts())

    def trace(self) -> Trace:
        trace = super().trace()
        for layer, label in enumerate(self.labels()):
            routed = trace.experts[:, layer]
            trace.experts[:, layer] = np.where(routed < 0, routed, label[routed])
        return trace


NEVER_TIE = ("fifo", "s3-fifo")
SETS_TIE = tuple(e for e in registry.names("eviction") if e not in (*NEVER_TIE, "random"))


@EXAMPLES
@given(
    smalls(evictions=NEVER_TIE)
    | smalls(evictions=SETS_TIE, predictors=0).map(lambda s: replace(s, k=1))
)
def test_other_numbers_for_the_experts_change_nothing_where_no_tie_is_broken_by_them(
    small: Small,
) -> None:
    """A token at a time, from an empty cache, with predictors that neither draw nor count."""
    exact = [
        (name, params)
        for name, params in small.predictors
        if name == "previous-token" or params.get("recall") == 1.0
    ]
    small = replace(
        small,
        requests=tuple(8 * tokens for tokens in small.requests),  # so that many leave
        prompt=0,
        room=tuple(max(small.k, room // 2) for room in small.room),
        host=None,  # it starts with the lowest numbers
        predictors=tuple(exact),
        config=small.config
        | {"batch_size": 1, "cache": {"warm": "none"}}
        | {"prefetch": small.config["prefetch"] | {"extra": 0}},
    )
    one = small.run()
    other = Relabelled(**{name: getattr(small, name) for name in Small.__dataclass_fields__}).run()
    assert one.layers.table().tolist() == other.layers.table().tolist()
    assert one.loads.landed == other.loads.landed
    assert one.totals.dispositions == other.totals.dispositions
