"""Small systems with exact, hand-chosen times, for tests that count nanoseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefetch_sim.hardware_profiles import HardwareProfile, load_runtime, override
from prefetch_sim.sim.config import registry
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.cost.model import StepCost
from prefetch_sim.sim.cost.runtime import RuntimeCost
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.predictors.base import Context
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.format import Prediction, PredictionInfo, Trace, TraceMeta
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec


def small_model(layers: int, experts: int, k: int, sizes: Sequence[int] | None = None) -> ModelSpec:
    return ModelSpec(
        name="small",
        layers=layers,
        hidden=8,
        experts=experts,
        top_k=k,
        expert_hidden=8,
        attention=GroupedQueryAttention(heads=1, kv_heads=1, head_dim=8),
        vocab=16,
        expert_bytes=tuple(sizes) if sizes is not None else None,
    )


def make_trace(
    routing: Sequence[Sequence[Sequence[int]]],
    experts: int,
    *,
    sizes: Sequence[int] | None = None,
    prompt: int = 0,
    requests: Sequence[int] | None = None,
    predictions: dict[str, tuple[PredictionInfo, Any, Any]] | None = None,
) -> Trace:
    """``routing[token][layer]`` is a set in order of rank; ``requests`` are the request lengths."""
    ids = np.array(routing, dtype=np.int16)
    tokens, layers, k = ids.shape
    lengths = list(requests) if requests is not None else [tokens]
    position = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    infos = {name: info for name, (info, _, _) in (predictions or {}).items()}
    return Trace(
        path=None,
        meta=TraceMeta(
            model=small_model(layers, experts, k, sizes), recorded={}, predictions=infos
        ),
        request_id=np.repeat(np.arange(len(lengths)), lengths).astype(np.int32),
        position=position,
        phase=(position >= prompt).astype(np.int8),
        token_id=None,
        experts=ids,
        weights=None,
        predictions={
            name: Prediction(info, np.array(e, dtype=np.int16), np.array(s, dtype=np.float32))
            for name, (info, e, s) in (predictions or {}).items()
        },
    )


@dataclass(frozen=True)
class FixedCpu:
    """The CPU's durations (ns), the same for every layer; ``contended``: of an expert then."""

    fixed: int = 0
    token: int = 0  # of each token of the step, beside the experts
    expert: int = 80
    contended: int | None = None  # None: the same

    def fixed_ns(self, tokens: int) -> int:
        return self.fixed + self.token * tokens

    def expert_ns(self, layer: int, tokens: int, contended: bool) -> int:
        slower = self.expert if self.contended is None else self.contended
        return (slower if contended else self.expert) * tokens


@dataclass(eq=False)
class FixedCost:
    """A cost model of given durations (ns), the same for every step, and layer but for ``miss``."""

    layers: int
    attention: int = 100
    norm: int = 0  # of attention
    gate: int = 10
    shared: int = 0
    expert: int = 50
    launch: int = 0
    epilogue: int = 0
    prologue: int = 0
    fixed: int = 0
    predictor: int = 0
    miss: int = 0  # of the first layer
    miss_later: int = 0  # how much more with each later one
    cpu: FixedCpu | None = None
    slowed: int = 1  # beside loads all but launches and predictors takes so many times as long

    @property
    def beside_loads(self) -> FixedCost | None:
        if self.slowed == 1:
            return None
        names = ("attention", "norm", "gate", "shared", "expert", "epilogue", "prologue", "fixed")
        longer = {name: getattr(self, name) * self.slowed for name in names}
        return replace(self, slowed=1, **longer)

    @property
    def runtime(self) -> RuntimeCost:
        ns = tuple(self.miss + layer * self.miss_later for layer in range(self.layers))
        return RuntimeCost(0, 0, 0, ns)

    @property
    def expert_launch_ns(self) -> int:
        return self.launch

    def step(self, phase: str, tokens: Sequence[int], contexts: Sequence[int]) -> StepCost:
        return StepCost(
            attention_ns=(self.attention,) * self.layers,
            prologue_ns=(self.prologue,) * self.layers,
            epilogue_ns=self.epilogue,
            norm_ns=self.norm,
            gate_ns=self.gate,
            shared_ns=self.shared,
            moe_fixed_ns=self.fixed,
        )

    def expert_ns(self, layer: int, tokens: int) -> int:
        return self.expert * tokens

    def predictor_ns(self, flops: float, nbytes: int, tokens: int) -> int:
        return self.predictor


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "kind": "estimate", "source": "test", "uncertainty": 0.0}


def machine(
    *,
    gb_s: float = 1.0,
    isolated_us: float = 0.0,
    back_to_back_us: float = 0.0,
    chunk_mib: float | None = None,
    unified: bool = False,
    storage: dict[str, float] | None = None,
    contended: float | None = None,
) -> HardwareProfile:
    """A machine whose link moves ``gb_s`` bytes a ns, ``contended`` of it beside the CPU."""
    disk = {"gb_s": 0.5, "stream_gb_s": 0.25, "latency_us": 0.0, "queue_depth": 2, "read_mib": 1}
    disk |= storage or {}
    link = {
        "gb_s": figure(gb_s),
        "isolated_us": figure(isolated_us),
        "back_to_back_us": figure(back_to_back_us),
        "chunk_mib": figure(chunk_mib) if chunk_mib else None,
    }
    return HardwareProfile.model_validate(
        {
            "name": "machine",
            "description": "for tests",
            "unified_memory": unified,
            "compute": {
                "tflops": {"bf16": figure(1.0)},
                "memory_gb_s": figure(1.0),
                "expert_efficiency": figure(1.0),
                "launch_us": figure(0.0),
                "eager_launch_us": figure(0.0),
                "memory_gib": figure(64.0),
            },
            "host_link": None if unified else link,
            "storage": {name: figure(value) for name, value in disk.items()},
            "host": None if unified else {"memory_gib": figure(64.0)},
            "contention": {"cpu": figure(1.0), "host_link": figure(contended)}
            if contended
            else None,
        }
    )


def system(
    trace: Trace,
    profile: HardwareProfile,
    *,
    capacity: int | Sequence[int],
    host: int | None = None,
    eviction: str = "lru",
    policy: str = "top-k",
    predictors: Sequence[tuple[str, dict[str, Any]]] = (),
    overlap: str = "per_expert",
    runtime: dict[str, Any] | None = None,
    static: Sequence[int] = (),
    **config: Any,
) -> Inputs:
    """The inputs of a run over ``trace``; ``capacity`` in bytes, by partition.

    ``runtime``: figures that the ideal one has not, by dotted path.
    """
    parsed = RunConfig.model_validate(config)
    workload = Workload(trace, parsed.batch_size)
    built = []
    for name, params in predictors:
        module = registry.find("predictors", name)
        checked = module.Params.model_validate(params)
        predictor = module.Predictor(checked, Context(workload, parsed.seed, trace.meta.model))
        built.append((name, predictor, checked))
    return Inputs(
        config=parsed,
        workload=workload,
        model=trace.meta.model,
        profile=profile,
        runtime=override(load_runtime("ideal"), {"overlap": overlap, **(runtime or {})}),
        eviction=registry.find("eviction", eviction),
        policy=registry.find("prefetch", policy),
        misses=registry.find("misses", parsed.misses.policy),
        predictors=tuple(built),
        sizes=list(trace.meta.model.bytes_per_expert()),
        cache_bytes=[capacity] if isinstance(capacity, int) else list(capacity),
        host_bytes=host,
        static=tuple(static),
    )


def run_system(inputs: Inputs, cost: FixedCost) -> tuple[Simulation, dict[str, Any]]:
    done = simulate(inputs, cost=cost)  # type: ignore[arg-type]
    return done, results(done)


def replay(tier: Tier, sets: Iterable[tuple[int, Sequence[int]]]) -> Iterator[int]:
    """Feed (layer-step, routed set that fits) to ``tier``, on demand; how many each misses."""
    for now, routed in sets:
        tier.now, tier.pinned = now, set(routed)
        misses = [x for x in routed if not tier.resident[x]]
        tier.use([x for x in routed if tier.resident[x]])
        for x in misses:
            assert tier.reserve(x)
            tier.insert(x, used=True)
        tier.routed(now % tier.layers, routed)
        tier.pinned = ()
        yield len(misses)
