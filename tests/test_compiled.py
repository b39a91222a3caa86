"""The compiled engine: the same records as SimPy's, and it refuses what it cannot run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from agreement import HOW, arrays_of, combinations, compare, differences, on, uncompiled, views
from harness import FixedCost, machine, make_trace, system
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutants import MUTANTS, Mutant
from planted import EndlessRunError, first_met, planted, sound
from test_properties import Small, smalls

from prefetch_sim import sim
from prefetch_sim.sim.compiled import engine, replay
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.eviction.random import lifetime
from prefetch_sim.sim.jit import rng
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import engine_choice as engines
from prefetch_sim.sim.setup import tiers
from prefetch_sim.sim.setup.inputs import load
from prefetch_sim.sim.workload.memos import Memos
from prefetch_sim.sim.workload.workload import Workload

SYSTEMS = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("how", HOW)
def test_random_systems_agree_in_every_record(how: str) -> None:
    """3,000 systems, which differ with ``how``; the kernel's code, run by Python."""

    @SYSTEMS
    @given(smalls(), st.just(how))
    def agree(small: Small, how: str) -> None:
        with uncompiled(arrays_of(small)):
            assert differences(on(small, "simpy", how), on(small, "compiled", how)) == []

    with patch.object(engine, "_more_room", wraps=engine._more_room) as more_room:
        agree()
    assert more_room.called == (how == "cramped")


def test_the_compiled_kernel_agrees_on_the_sample_and_on_random_systems() -> None:
    """In one test, so that one process compiles it: every policy on the sample's first tokens."""
    for config in islice(combinations(requests="0:1", tokens="0:128"), 0, None, 11):
        # Every eleventh: each value with each other is in the random systems.
        assert compare(config)[1] == []

    @settings(SYSTEMS, max_examples=300)
    @given(smalls(), st.sampled_from(HOW))
    def agree(small: Small, how: str) -> None:
        assert differences(on(small, "simpy", how), on(small, "compiled", how)) == []

    agree()


def test_a_set_that_streams_through_in_no_time_agrees() -> None:
    """What is resident computes in 0 ns, and makes room only after the first load has started."""
    small = Small(
        layers=4, experts=5, k=3, requests=(1, 4, 1), prompt=0, routing=0, gaps=False,
        sizes=(1, 1, 1, 1), room=(3, 3, 3, 3), eviction="belady",
        cost=dict.fromkeys(("attention", "gate", "shared", "expert", "launch", "epilogue"), 0)
        | dict.fromkeys(("predictor", "fixed", "prologue", "norm"), 0),
        link={
            "unified": True, "gb_s": 1.0, "isolated_us": 0.0, "back_to_back_us": 0.0,
            "chunk_mib": None,
            "storage": {
                "gb_s": 0.5, "stream_gb_s": 0.25, "latency_us": 0.0, "queue_depth": 1,
                "read_mib": 1.0,
            },
        },
        config={"batch_size": 2, "cache": {"warm": "none"}},
    )  # fmt: skip
    with uncompiled():
        assert differences(on(small, "simpy"), on(small, "compiled")) == []


def test_runs_that_differ_in_hardware_share_their_hits_and_misses() -> None:
    load(config()).workload.memos = Memos()
    hardware = "v100-pcie-32gb", "h100-sxm"
    with uncompiled(views), patch.object(replay, "misses", wraps=replay.misses) as replayed:
        done = [
            simulate(
                load(config(engine="compiled", predictor=said, hardware=name)), one_of_many=True
            )
            for said in (None, "previous-token")  # what is prefetched depends on time
            for name in hardware
        ]
    assert replayed.call_count == 1
    hits = [run.layers.column("hits").tolist() for run in done]
    assert hits[0] == hits[1] != hits[2]
    assert done[0].steps.column("end").tolist() != done[1].steps.column("end").tolist()


def test_runs_that_differ_in_more_share_nothing() -> None:
    sizes, rng = (30, 50), np.random.default_rng(1)
    routing = [[rng.choice(6, 2, replace=False).tolist() for _ in sizes] for _ in range(40)]
    trace = make_trace(routing, 6, sizes=sizes, requests=(20, 20))
    workload = Workload(trace, 1)
    axes = product(("none", "popular"), ([240], [150, 110]), ("lru", "fifo", "random"), (0, 1))
    found = set()
    for warm, capacity, eviction, seed in axes:
        keys = {"cache": {"warm": warm}, "capacity": capacity, "eviction": eviction, "seed": seed}
        runs = [
            replace(system(trace, machine(), engine=name, **keys), workload=workload)
            for name in ("simpy", "compiled")
        ]
        with uncompiled():
            one, other = (simulate(run, cost=FixedCost(2), one_of_many=True) for run in runs)  # type: ignore[arg-type]
            assert differences(one, other) == []
        found.add(str(other.layers.column("hits").tolist()))
    assert len(found) > 12  # of 16, as the seed is random's alone: each axis tells


def test_no_eviction_is_asked_where_everything_fits() -> None:
    for scope in ("global", "layer"):
        full = config(engine="compiled", cache={"capacity": "100%", "scope": scope})
        with uncompiled(views), patch.object(replay, "misses", wraps=replay.misses) as replayed:
            simulate(load(full), one_of_many=True)
        assert not replayed.called
        assert tiers.keeps_all(load(full))
        short = load(full)
        short = replace(short, cache_bytes=(*short.cache_bytes[:-1], short.cache_bytes[-1] - 1))
        assert not tiers.keeps_all(short)


# Planted faults


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file}: {m.new}")
def test_a_planted_fault_is_met(mutant: Mutant, tmp_path: Path) -> None:
    engines = ["simpy", "compiled"]
    if mutant.file.startswith("compiled/"):
        engines.reverse()
    faulty, other = engines
    with planted([mutant], tmp_path) as reading:
        if mutant.endless:
            with pytest.raises(EndlessRunError):
                first_met(reading(faulty), partial(sound, other))
        else:
            met = first_met(reading(faulty), partial(sound, other), kind=mutant.kind)
            assert met is not None


def test_what_is_no_fault_is_not_met(tmp_path: Path) -> None:
    """In both engines at once, each then compared with the other as it is."""
    comments = [
        Mutant("engine/loader.py", '"""The loader', '"""A loader'),
        Mutant("compiled/loads.py", '"""Loads', '"""The loads'),
    ]
    with planted(comments, tmp_path) as reading:
        for faulty, other in (("simpy", "compiled"), ("compiled", "simpy")):
            assert first_met(reading(faulty), partial(sound, other), systems=100) is None


# Kernels on disk


def test_no_kernel_outlives_an_edit(tmp_path: Path) -> None:
    from prefetch_sim.sim.jit.jit import cache_folder

    copy = shutil.copytree(Path(sim.__file__).parent, tmp_path / "sim")
    before = cache_folder(copy)
    assert cache_folder(copy) == before
    policy = copy / "eviction" / "lru.py"
    policy.write_text(policy.read_text().replace("return now", "return -now"))
    assert cache_folder(copy) != before


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**40))
def test_draws_of_64_bits_are_those_of_python(seed: int, a: int, b: int) -> None:
    from prefetch_sim.sim.jit.random import draw

    with np.errstate(over="ignore"):
        assert int(draw(seed, a, b, 0)) == rng.draw(seed, a, b)


def test_lifetimes_of_64_bits_are_those_of_python() -> None:
    from numba import njit

    compiled = njit(lifetime)
    draws = [0, 1, 2**53 - 1, *(2**53 - 2**n for n in range(53))]
    draws += [rng.bits(1, n) for n in range(10_000)]
    assert [compiled(draw) for draw in draws] == [lifetime(draw) for draw in draws]


# The choice


def config(**keys: Any) -> RunConfig:
    return RunConfig.model_validate({"requests": "0:1", **keys})


def test_a_run_too_short_to_repay_compiling_is_simpys() -> None:
    inputs = load(config())
    assert engines.choose(inputs) == "simpy"
    layer_steps = inputs.workload.trace.tokens * inputs.workload.layers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "WORTH_COMPILING", layer_steps)
        assert engines.choose(inputs) == "compiled"
        assert engines.choose(inputs, watched=True) == "simpy"
        assert engines.choose(load(config(engine="simpy"))) == "simpy"
        patch.setattr(engines, "find_spec", lambda _: None)
        assert engines.choose(inputs) == "simpy"
        with pytest.raises(
            ConfigError, match=r"engine: compiled needs numba, which is not installed"
        ):
            engines.choose(load(config(engine="compiled")))


def test_what_has_no_compiled_form_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_eviction.py").write_text("from prefetch_sim.sim.eviction.lru import *\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "eviction.py").write_text("from prefetch_sim.sim.eviction.lru import *\n")
    inputs = load(config(engine="compiled", cache={"eviction": "own.eviction"}))
    message = "engine: compiled has no form of the eviction 'own.eviction': use engine: simpy"
    with pytest.raises(ConfigError, match=message):
        simulate(inputs)
    with pytest.raises(ConfigError, match="engine: compiled draws no timeline"):
        simulate(load(config(engine="compiled")), watch=lambda device, loader: None)
