"""What is kept between runs: the last few results, and no workload beyond the last two."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from weakref import WeakSet, ref

import pytest
from agreement import uncompiled
from cli_support import BASE, small_trace

from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import run
from prefetch_sim.sim.setup import inputs, traces
from prefetch_sim.sim.workload.memos import Memos
from prefetch_sim.sim.workload.workload import Workload


def test_the_last_asked_for_of_a_kind_are_kept() -> None:
    memos, made = Memos(), []

    def get(kind: str, key: int, keep: int) -> tuple[str, int]:
        def make() -> tuple[str, int]:
            made.append((kind, key))
            return kind, key

        return memos.get(kind, key, keep, make)

    for key in (1, 2, 1, 3, 1, 2):  # 3 takes the place of 2, and 2 that of 3
        assert get("square", key, 2) == ("square", key)
    assert get("cube", 1, 2) == ("cube", 1)
    assert made == [("square", 1), ("square", 2), ("square", 3), ("square", 2), ("cube", 1)]


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_no_more_than_two_workloads_stay(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: WeakSet[Workload] = WeakSet()
    begin = Workload.__init__

    def watched(self: Workload, *arguments: Any) -> None:
        begin(self, *arguments)
        alive.add(self)

    monkeypatch.setattr(Workload, "__init__", watched)
    small_trace(tmp_path / "small.parquet")
    synthetic = {"synthetic": "gpt-oss-20b", "requests": 1, "prompt": 2, "decode": 2}
    traces: list[Any] = [str(tmp_path / "small.parquet"), synthetic]
    made = 0
    for trace in traces:
        for batch_size in (1, 2, 3):
            for predictor in ("none", "transition"):
                keys = {"trace": trace, "batch_size": batch_size, "predictor": predictor}
                config = RunConfig.model_validate(BASE | keys | {"engine": engine})
                with uncompiled():
                    run(config)
                made += 1
    gc.collect()
    assert made == 12
    assert len(alive) == 2


def test_a_workload_goes_without_a_search_for_cycles(tmp_path: Path) -> None:
    """One that refers to itself, by way of its memos, would stay until Python looks for cycles."""
    small_trace(tmp_path / "small.parquet")
    keys = {"trace": str(tmp_path / "small.parquet"), "predictor": "transition"}
    config = RunConfig.model_validate(BASE | keys)
    run(config)
    gc.collect()
    gc.disable()
    try:
        workload = ref(inputs.load(config).workload)
        assert workload() is not None
        traces._kept.cache_clear()
        assert workload() is None
    finally:
        gc.enable()
