"""What the replay's own work takes: what it needs beyond a simulation of the same, run by run.

A model all of whose experts are resident tells of steps, layers and the routing's way to whoever
decides. One whose experts are hardly ever there tells of loads, over the host link and off storage:
they move while experts compute and while somebody decides, which a link measured by itself does not
know. So a load's own work is what makes the simulation take as long as the replay did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import yaml

from prefetch_sim.hardware_profiles.drafts import as_yaml
from prefetch_sim.hardware_profiles.schema import HardwareProfile
from prefetch_sim.sim.calibration.samples import Findings, Samples, Stamp
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec

_LAYERS, _VOCAB = 4, 64
_ROUNDS = 14  # of halving: µs to a thousandth of the longest
# Where nobody says whose shape; experts of 6 MiB in 32 bits.
SHAPE = ModelSpec(
    name="a usual shape", layers=_LAYERS, hidden=1024, experts=32, top_k=4, expert_hidden=512,
    vocab=_VOCAB, attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=16),
)  # fmt: skip


Costs = Mapping[str, float]
_NONE: Costs = {}


class Runs(NamedTuple):
    """The two ways to run a config: ``replay(inputs, folder)``, and ``simulate(inputs)``."""

    replay: Callable[[Inputs, Path], Simulation]
    simulate: Callable[[Inputs], Simulation]


def measure(
    runs: Runs,
    machines: Mapping[str, HardwareProfile],
    stamp: Stamp,
    folder: Path | None,
    *,
    like: ModelSpec,
    precision: str,
    repeats: int,
    decode: int,
) -> Findings:
    """Figures of a runtime. ``machines``: ``link`` has two memories, ``disk`` one, if it is there.

    ``folder`` is on the drive that experts come off; ``like``: whose shape the layers have.
    """
    found = Findings()
    with TemporaryDirectory(prefix="prefetch-sim-calibration-") as made:
        study = _Study(runs, Path(made), like, precision, decode)
        for name, profile in machines.items():
            (study.folder / f"{name}.yaml").write_text(as_yaml(profile), encoding="utf-8")
        note = "beyond a simulation, all experts resident"
        routing, layer, step = study.of_layers(repeats)
        found.runtime["routing_us"] = stamp.figure(routing, f"until a layer is routed, {note}")
        found.runtime["layer_us"] = stamp.figure(layer, f"the rest of a layer, {note}")
        found.runtime["step_us"] = stamp.figure(step, f"the rest of a decode step, {note}")
        for name in ("routing_us", "layer_us", "step_us"):
            study.costs[name] = found.runtime[name].value
        note = "beyond a simulation, most experts absent"
        issue = study.of_loads(repeats, "link", "load.issue_us", study.folder)
        found.runtime["load.issue_us"] = stamp.figure(issue, f"a load over the host link {note}")
        if folder is not None and "disk" in machines:
            with TemporaryDirectory(prefix=".prefetch-sim-calibration-", dir=folder) as there:
                read = study.of_loads(repeats, "disk", "load.read_us", Path(there))
            found.runtime["load.read_us"] = stamp.figure(read, f"a read off storage {note}")
    found.runtime["load.copies"] = stamp.exact(1, "an expert lies in one piece")
    for name in ("miss.us", "miss.us_per_mib", "miss.beside_us"):
        found.runtime[name] = stamp.exact(0, "in load.issue_us and load.read_us")
    return found


class _Study:
    """Runs both ways, and what is left over. ``costs``: of the runtime, as far as it is known."""

    def __init__(
        self, runs: Runs, folder: Path, like: ModelSpec, precision: str, decode: int
    ) -> None:
        self.folder, self.costs = folder, dict[str, float]()
        self._runs, self._precision, self._decode = runs, precision, decode
        self._model = like.model_copy(
            update={
                "layers": _LAYERS,
                "experts": max(32, 2 * like.top_k),
                "dense_layers": (),
                "expert_bytes": None,
                "vocab": _VOCAB,
            }
        )

    def of_layers(self, repeats: int) -> tuple[Samples, Samples, Samples]:
        """µs until a layer is routed, of the rest of a layer, and of the rest of a step."""
        inputs = self._inputs("link", "100%", warm="first")
        simulated = _spans(self._runs.simulate(inputs))
        found = []
        for _ in range(repeats):
            real = _spans(self._runs.replay(inputs, self.folder))
            own = [float(np.median(a - b)) for a, b in zip(real, simulated)]
            step = own[2] - _LAYERS * (own[0] + own[1])
            found.append([max(0.0, us) for us in (*own[:2], step)])
        routing, layer, step_ = (Samples.of(column) for column in zip(*found))
        return routing, layer, step_

    def of_loads(self, repeats: int, machine: str, figure: str, folder: Path) -> Samples:
        """µs of ``figure`` with which the simulation takes as long as the replay."""
        room = {"experts": 2 * self._model.top_k}
        plain = self._inputs(machine, room)
        found = []
        for _ in range(repeats):
            real = _total(self._runs.replay(plain, folder))
            low, high = 0.0, 1e-3 * real  # µs: the whole run, for a load
            if _total(self._runs.simulate(plain)) >= real:
                high = 0.0
            for _ in range(_ROUNDS if high else 0):
                middle = (low + high) / 2
                tried = self._inputs(machine, room, costs={figure: middle})
                longer = _total(self._runs.simulate(tried)) > real
                low, high = (low, middle) if longer else (middle, high)
            found.append((low + high) / 2)
        return Samples.of(found)

    def _inputs(
        self, machine: str, capacity: object, *, warm: str = "none", costs: Costs = _NONE
    ) -> Inputs:
        path = self.folder / "model.yaml"
        content = self._model.model_dump(mode="json", exclude_none=True)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        trace = {"synthetic": str(path), "requests": 1, "prompt": 0, "decode": self._decode}
        tree = {
            "trace": {**trace, "skew": 0.0, "reuse": 0.0},
            "model": str(path),
            "precision": self._precision,
            "hardware": str(self.folder / f"{machine}.yaml"),
            "runtime": {"name": "ideal", **self.costs, **costs},
            "cache": {"capacity": capacity, "warm": warm},
        }
        return setup.load(RunConfig.model_validate(tree))


def _spans(run: Simulation) -> list[npt.NDArray[np.float64]]:
    """µs until each layer was routed, from there to the next layer of its step, and of each step.

    The last layer of a step ends with it.
    """
    layers, steps = run.layers, run.steps
    start, routed, end = (
        layers.column(name).astype(np.int64) for name in ("start", "routed", "end")
    )
    until = end.copy()
    inside = np.flatnonzero(np.diff(layers.column("step")) == 0)
    until[inside] = start[inside + 1]
    spans = [routed - start, until - routed, steps.column("end") - steps.column("start")]
    return [span / 1e3 for span in spans]


def _total(run: Simulation) -> float:
    """ns of all steps."""
    return float((run.steps.column("end") - run.steps.column("start")).sum())
