"""Figures that only a replay shows: what it takes, run by run, beside a simulation of the same.

A model all of whose experts are resident tells how fast products follow one another in a layer,
which is not how fast each is by itself: caches hold what was read last, and memory is shared with
others. One whose experts are hardly ever there tells of loads, over the host link and off storage:
they move while experts compute and while somebody decides, which a link measured by itself does not
know. Each figure is the one with which the simulation takes as long as the replay did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import yaml

from prefetch_sim.hardware_profiles import override
from prefetch_sim.hardware_profiles.drafts import as_yaml
from prefetch_sim.hardware_profiles.schema import HardwareProfile
from prefetch_sim.sim.calibration.samples import Findings, Samples, Stamp
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.replay.experts import EXPERTS
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

_LAYERS, _VOCAB = 4, 64
_ROUNDS = 14  # of halving
_WIDE = 8.0  # times as fast, or as slow, as products by themselves
# Where nobody says whose shape; experts of 6 MiB in 32 bits.
SHAPE = ModelSpec(
    name="a usual shape", layers=_LAYERS, hidden=1024, experts=32, top_k=4, expert_hidden=512,
    vocab=_VOCAB, attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=16),
)  # fmt: skip


_HALF = "50%"  # of the experts have room; routing is even
_DRIVE = ("storage.gb_s", "storage.stream_gb_s")
_ALL = 0.999  # a share can be no more than 1
_MEMORY, _SHARE = "compute.memory_gb_s", "compute.expert_efficiency"
_BESIDE, _LEAST_LEFT = "compute.beside_loads", 0.05
Costs = Mapping[str, float]
_NONE: Costs = {}


class Runs(NamedTuple):
    """The two ways to run a config: ``replay(inputs, folder)``, and ``simulate(inputs)``."""

    replay: Callable[[Inputs, Path], Simulation]
    simulate: Callable[[Inputs], Simulation]


def measure(
    runs: Runs,
    machines: Mapping[str, HardwareProfile],
    routing_us: float,
    stamp: Stamp,
    folder: Path | None,
    *,
    like: ModelSpec,
    precision: str,
    repeats: int,
    decode: int,
) -> Findings:
    """Figures of products, and of a runtime, which has ``routing_us``.

    ``machines``: ``link`` has two memories, ``disk`` one, if it is there. ``folder`` is on the
    drive that experts come off; ``like``: whose shape the layers have.
    """
    found = Findings()
    with TemporaryDirectory(prefix="prefetch-sim-calibration-") as made:
        study = _Study(runs, Path(made), like, precision, decode)
        study.costs["routing_us"] = routing_us
        study.machines = dict(machines)
        products, layer, step = study.of_products(repeats)
        note = "with which a simulation computes as long as a replay, all experts resident"
        for name, samples in products.items():
            found.hardware[name] = stamp.figure(samples, note)
        found.runtime["layer_us"] = stamp.figure(layer, "what attention takes beyond its products")
        found.runtime["step_us"] = stamp.figure(step, "a decode step beside its layers")
        study.costs |= {name: found.runtime[name].value for name in ("layer_us", "step_us")}
        fitted = {name: figure.value for name, figure in found.hardware.items()}
        study.machines = {name: override(one, fitted) for name, one in machines.items()}
        note = "with which a simulation takes as long as a replay, half of the experts absent"
        left, issue = study.of_copies(repeats)
        found.over_link[_BESIDE] = stamp.figure(left, _left_note(left))
        found.runtime["load.issue_us"] = stamp.figure(issue, f"a load over the host link, {note}")
        if folder is not None and "disk" in machines:
            left, rate = study.of_reads(repeats, folder)
            found.hardware[_BESIDE] = stamp.figure(left, _left_note(left))
            for name in _DRIVE:
                found.hardware[name] = stamp.figure(rate, f"reads between products, {note}")
            found.runtime["load.read_us"] = stamp.exact(0, "in the drive's rate")
        found.runtime["miss.us"] = stamp.figure(
            Samples.of(study.misses_us), "the replay's own work for an expert that was loaded"
        )
    found.runtime["load.copies"] = stamp.exact(1, "an expert lies in one piece")
    for name in ("miss.us_per_mib", "miss.beside_us"):
        found.runtime[name] = stamp.exact(0, "in miss.us")
    return found


def _left_note(left: Samples) -> str:
    at_least = "; no less was tried" if left.median < 1.01 * _LEAST_LEFT else ""
    return (
        "with which the products of a simulation take as long as those of a replay, half of the "
        f"experts absent{at_least}"
    )


class _Study:
    """Runs both ways, and what is left over. ``costs``: of the runtime, as far as it is known."""

    def __init__(
        self, runs: Runs, folder: Path, like: ModelSpec, precision: str, decode: int
    ) -> None:
        self.folder, self.costs = folder, dict[str, float]()
        self.machines = dict[str, HardwareProfile]()
        self.misses_us: list[float] = []  # of each replay in which experts were absent
        self._own: list[float] = []  # ns a layer-step, where none was
        self._runs, self._precision, self._decode = runs, precision, decode
        own = {"dense_layers": (), "expert_bytes": None, "vocab": _VOCAB}
        self._whole = like.model_copy(update=own)
        self._model = like.model_copy(
            update={
                "layers": _LAYERS,
                "experts": max(32, 2 * like.top_k),
                **own,
            }
        )

    def of_products(self, repeats: int) -> tuple[dict[str, Samples], Samples, Samples]:
        """Figures of ``compute``, and µs of the rest of a layer and of a step."""
        found: dict[str, list[float]] = {_MEMORY: [], _SHARE: []}
        layer, step = [], []
        for _ in range(repeats):
            real = self._spans(replayed=True)
            fitted = self._fitted(real)
            for name, value in fitted.items():
                found[name].append(value)
            first, _, whole = self._spans(fitted)
            layer.append(max(0.0, real[0] - first))
            step.append(max(0.0, real[2] - whole - _LAYERS * layer[-1]))
        figures = {name: Samples.of(values) for name, values in found.items()}
        return figures, Samples.of(layer), Samples.of(step)

    def _fitted(self, real: tuple[float, float, float]) -> dict[str, float]:
        """The figures with which the simulation has the first two of the spans ``real``."""
        known = self.machines["link"].compute.memory_gb_s.value

        def slower(gb_s: float) -> bool:
            return self._spans({_MEMORY: gb_s})[0] < real[0]

        memory = _halved(slower, known / _WIDE, known * _WIDE)

        def slower_experts(share: float) -> bool:
            return self._spans({_MEMORY: memory, _SHARE: share})[1] < real[1]

        share = _halved(slower_experts, 0.01, 1.0)
        if share > _ALL:  # experts are faster than attention is, so they say what memory gives

            def slower_memory(gb_s: float) -> bool:
                return self._spans({_MEMORY: gb_s, _SHARE: 1.0})[1] < real[1]

            return {_MEMORY: _halved(slower_memory, memory, known * _WIDE), _SHARE: 1.0}
        return {_MEMORY: memory, _SHARE: share}

    def of_copies(self, repeats: int) -> tuple[Samples, Samples]:
        """The share of the memory's rate that loads leave, and µs of ``load.issue_us``."""
        plain = self._inputs("link", _HALF)
        shares, found = [], []
        for _ in range(repeats):
            run = self._runs.replay(plain, self.folder)
            real, (left, miss) = _total(run), self._beside("link", run)
            shares.append(left)

            def longer(
                us: float, real: float = real, left: float = left, miss: float = miss
            ) -> bool:
                costs, figures = {"load.issue_us": us, "miss.us": miss}, {_BESIDE: left}
                tried = self._inputs("link", _HALF, costs=costs, figures=figures)
                return _total(self._runs.simulate(tried)) > real

            found.append(0.0 if longer(0.0) else _halved(longer, 0.0, 1e-3 * real))
        return Samples.of(shares), Samples.of(found)

    def _beside(self, machine: str, real: Simulation) -> tuple[float, float]:
        """``compute.beside_loads`` with which the products of a simulation take as long as those of
        ``real`` did, and µs of own work for each expert that it loaded."""
        layers = real.layers
        usual = float(np.mean(self._own)) * len(layers)
        own = max(0.0, real.own_ns - usual)
        missed = int((layers.column("experts") - layers.column("hits")).sum())
        each_us = own / missed / 1e3
        self.misses_us.append(each_us)
        worked = _computed(real) - own

        def too_fast(left: float) -> bool:
            tried = self._inputs(machine, _HALF, figures={_BESIDE: left})
            return _computed(self._runs.simulate(tried)) < worked

        left = _halved(too_fast, _LEAST_LEFT, 1.0) if too_fast(1.0) else 1.0
        return left, each_us

    def of_reads(self, repeats: int, folder: Path) -> tuple[Samples, Samples]:
        """The share that reads leave of the memory's rate, and GB/s of the drive as loads have it.

        They have it with pauses, in which some drives gather strength.

        From the file of all experts of the model, kept where it was there: what has just been
        written may come slower than what has been read before.
        """
        before = set(folder.glob(EXPERTS))
        try:
            return self._of_reads(repeats, folder)
        finally:
            for made in set(folder.glob(EXPERTS)) - before:
                made.unlink(missing_ok=True)

    def _of_reads(self, repeats: int, folder: Path) -> tuple[Samples, Samples]:
        self._model = self._whole
        plain = self._inputs("disk", _HALF)
        known = self.machines["disk"].storage.gb_s.value
        shares, found = [], []
        for _ in range(repeats):
            run = self._runs.replay(plain, folder)
            real, (left, miss) = _total(run), self._beside("disk", run)
            shares.append(left)

            def faster(
                gb_s: float, real: float = real, left: float = left, miss: float = miss
            ) -> bool:
                figures = {_BESIDE: left, **dict.fromkeys(_DRIVE, gb_s)}
                tried = self._inputs("disk", _HALF, costs={"miss.us": miss}, figures=figures)
                return _total(self._runs.simulate(tried)) < real

            found.append(_halved(faster, known / _WIDE, known * _WIDE))
        return Samples.of(shares), Samples.of(found)

    def _spans(
        self, figures: Costs = _NONE, *, replayed: bool = False
    ) -> tuple[float, float, float]:
        """Mean µs until a layer is routed, from there to the next one, and of a step.

        All experts are resident; the last layer of a step ends with itself.
        """
        inputs = self._inputs("link", "100%", warm="first", figures=figures)
        run = self._runs.replay(inputs, self.folder) if replayed else self._runs.simulate(inputs)
        layers, steps = run.layers, run.steps
        if replayed:
            self._own.append(run.own_ns / len(layers))
        start, routed, end = (layers.column(name) for name in ("start", "routed", "end"))
        until = np.array(end)
        inside = np.flatnonzero(np.diff(layers.column("step")) == 0)
        until[inside] = start[inside + 1]
        spans = (routed - start, until - routed, steps.column("end") - steps.column("start"))
        first, rest, step = (float(np.mean(span)) / 1e3 for span in spans)
        return first, rest, step

    def _inputs(
        self,
        machine: str,
        capacity: object,
        *,
        warm: str = "none",
        costs: Costs = _NONE,
        figures: Costs = _NONE,
    ) -> Inputs:
        path = (
            self.folder / f"{self._model.layers}x{self._model.experts}.yaml"
        )  # traces are kept by it
        content = self._model.model_dump(mode="json", exclude_none=True)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        hardware = self.folder / f"{machine}.yaml"
        hardware.write_text(as_yaml(self.machines[machine]), encoding="utf-8")
        trace = {"synthetic": str(path), "requests": 1, "prompt": 0, "decode": self._decode}
        tree = {
            "trace": {**trace, "skew": 0.0, "reuse": 0.0},
            "model": str(path),
            "precision": self._precision,
            "hardware": {"name": str(hardware), **figures},
            "runtime": {"name": "ideal", **self.costs, **costs},
            "cache": {"capacity": capacity, "warm": warm},
        }
        return setup.load(RunConfig.model_validate(tree))


def _halved(over: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``over`` begins to hold between ``low`` and ``high``."""
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if over(middle) else (middle, high)
    return (low + high) / 2


def _computed(run: Simulation) -> float:
    """ns of all steps but stalls: products, and the engine's own work."""
    return float(run.steps.column("compute").sum())


def _total(run: Simulation) -> float:
    """ns of all steps."""
    return float((run.steps.column("end") - run.steps.column("start")).sum())
