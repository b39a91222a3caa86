"""The compiled engine: the same records as SimPy's, and it refuses what it cannot run."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from agreement import differences, on, uncompiled
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutants import MUTANTS
from test_properties import Small, smalls

import sim
from sim import engines, registry, rng
from sim.config import RunConfig
from sim.errors import ConfigError
from sim.inputs import load
from sim.run import results, simulate

SYSTEMS = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("third", range(3))
def test_random_systems_agree_in_every_record(third: int) -> None:
    """3,000 systems, which differ with ``third``; the kernel's code, run by Python."""

    @SYSTEMS
    @given(smalls(), st.just(third))
    def agree(small: Small, _: int) -> None:
        with uncompiled():
            assert differences(on(small, "simpy"), on(small, "compiled")) == []

    agree()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels of this test run are kept in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp().parent / "kernels"))
        yield


@pytest.mark.usefixtures("compiled")
def test_the_compiled_kernel_agrees_on_the_sample_and_on_random_systems() -> None:
    """In one test, so that one process compiles it: every policy on the sample's first request."""
    hybrid = ["cross-layer", "pre-attention"]
    axes = product(
        registry.names("eviction"),
        registry.names("prefetch"),
        ["pre-attention", hybrid],
        ["per_expert", "grouped"],
        ["global", "layer"],
    )
    for i, (eviction, policy, predictor, overlap, scope) in enumerate(axes):
        if i % 5:  # every fifth: each value with each other is in the random systems
            continue
        config = {
            "requests": "0:1",
            "predictor": predictor,
            "prefetch": {"policy": policy, "extra": 1},
            "cache": {"capacity": "30%", "eviction": eviction, "scope": scope},
            "overlap": overlap,
        }
        one, other = (
            simulate(load(RunConfig.model_validate({**config, "engine": name})))
            for name in ("simpy", "compiled")
        )
        assert differences(one, other) == []
        told, also = results(one), results(other)
        for found in (told, also):
            assert found.pop("engine") == found["config"].pop("engine")
        assert told == also

    @settings(SYSTEMS, max_examples=300)
    @given(smalls())
    def agree(small: Small) -> None:
        assert differences(on(small, "simpy"), on(small, "compiled")) == []

    agree()


# Planted faults


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file}: {m.new}")
def test_a_planted_fault_is_caught(mutant: Any, tmp_path: Path) -> None:
    """Each in a copy of the kernel under another name, on random systems until one differs."""
    name = "mutant_kernel"
    package = shutil.copytree(Path(sim.__file__).parent / "compiled", tmp_path / name)
    for path in package.glob("*.py"):
        text = path.read_text()
        if path.name == mutant.file:
            assert text.count(mutant.old) == 1, "a mutant is of one place"
            text = text.replace(mutant.old, mutant.new)
        path.write_text(text.replace("sim.compiled", name))
    sys.path.insert(0, str(tmp_path))
    try:
        go = importlib.import_module(f"{name}.kernel").run.py_func

        @settings(SYSTEMS, phases=[Phase.generate], report_multiple_bugs=False, database=None)
        @given(smalls())
        def agree(small: Small) -> None:
            with uncompiled(go):
                assert differences(on(small, "simpy"), on(small, "compiled")) == []

        with pytest.raises((AssertionError, IndexError)):
            agree()
    finally:
        sys.path.remove(str(tmp_path))
        for module in [m for m in sys.modules if m.split(".")[0] == name]:
            del sys.modules[module]


# Kernels on disk


def test_no_kernel_outlives_an_edit(tmp_path: Path) -> None:
    from sim.compiled.engine import cache_folder

    copy = shutil.copytree(Path(sim.__file__).parent, tmp_path / "sim")
    before = cache_folder(copy)
    assert cache_folder(copy) == before
    policy = copy / "eviction" / "lru.py"
    policy.write_text(policy.read_text().replace("return now", "return -now"))
    assert cache_folder(copy) != before


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**40))
def test_draws_of_64_bits_are_those_of_python(seed: int, a: int, b: int) -> None:
    import numpy as np

    from sim.compiled.policies import _mix

    with np.errstate(over="ignore"):
        z = np.uint64(seed)
        for key in (a, b, 0):
            z = _mix(z) ^ np.uint64(key)
        assert int(_mix(z)) == rng.draw(seed, a, b)


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
        with pytest.raises(ConfigError, match=r"engine: compiled needs numba: pip install"):
            engines.choose(load(config(engine="compiled")))


def test_what_has_no_compiled_form_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_eviction.py").write_text("from sim.eviction.lru import *\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "eviction.py").write_text("from sim.eviction.lru import *\n")
    inputs = load(config(engine="compiled", cache={"eviction": "own.eviction"}))
    message = "engine: compiled has no form of the eviction 'own.eviction': use engine: simpy"
    with pytest.raises(ConfigError, match=message):
        simulate(inputs)
    with pytest.raises(ConfigError, match="engine: compiled draws no timeline"):
        simulate(load(config(engine="compiled")), watch=lambda device, loader: None)
