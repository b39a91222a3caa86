"""What the replay's own work takes: what it needs beyond a simulation of the same, run by run.

A model of few layers, all of whose experts are resident, tells of steps and layers: its products
are large enough to leave nothing of the small ones in a cache. Experts that are loaded on demand
tell of loads: over the host link, and off storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

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

MIB = 2**20
_FEW, _MANY = 4, 8  # layers
_ATTENTION = {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 16}
_RESIDENT = {"hidden": 1024, "experts": 8, "top_k": 4, "expert_hidden": 512}
# Hidden sizes and widths of experts that are loaded, of 1.5 and 6 MiB in 32 bits.
_LOADED = ((512, 256), (1024, 512))


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
    precision: str,
    repeats: int,
    decode: int,
) -> Findings:
    """Figures of a runtime. ``machines``: ``link`` has two memories, ``disk`` one, if it is there.

    ``routing_us`` is known already. ``folder`` is on the drive that experts come off.
    """
    found = Findings()
    with TemporaryDirectory(prefix="prefetch-sim-calibration-") as made:
        study = _Study(runs, Path(made), precision, decode, {"routing_us": routing_us})
        for name, profile in machines.items():
            (study.folder / f"{name}.yaml").write_text(as_yaml(profile), encoding="utf-8")
        step, layer = study.of_layers(repeats)
        note = "beyond a simulation, all experts resident"
        found.runtime["step_us"] = stamp.figure(step, f"a decode step {note}")
        found.runtime["layer_us"] = stamp.figure(layer, f"a layer {note}")
        study.costs |= {"step_us": step.median, "layer_us": layer.median}
        fixed, each = study.of_loads(repeats, "link", None)
        note = "a load over the host link, beyond a simulation, most experts absent"
        found.runtime["miss.us"] = stamp.figure(fixed, note)
        found.runtime["miss.us_per_mib"] = stamp.figure(each, f"a MiB of {note}")
        found.runtime |= {
            "load.copies": stamp.exact(1, "an expert lies in one piece"),
            "load.issue_us": stamp.exact(0, "in the host link's α: copies are issued there alike"),
            "miss.beside_us": stamp.exact(
                0, "in miss.us, measured where loads and compute overlap"
            ),
        }
        study.costs |= {"miss.us": fixed.median, "miss.us_per_mib": each.median}
        if folder is not None and "disk" in machines:
            with TemporaryDirectory(prefix=".prefetch-sim-calibration-", dir=folder) as there:
                fixed, _ = study.of_loads(repeats, "disk", Path(there))
            note = "a load off storage, beyond a simulation and beyond what misses take"
            found.runtime["load.read_us"] = stamp.figure(fixed, note)
    return found


class _Study:
    """Runs both ways, and what is left over. ``costs``: of the runtime, as far as it is known."""

    def __init__(
        self, runs: Runs, folder: Path, precision: str, decode: int, costs: dict[str, float]
    ) -> None:
        self.folder, self.costs = folder, costs
        self._runs, self._precision, self._decode = runs, precision, decode

    def of_layers(self, repeats: int) -> tuple[Samples, Samples]:
        """µs of a step, and of a layer of it."""
        left = []
        for layers in (_FEW, _MANY):  # all of one first: what has been made for it is kept
            inputs = self._inputs("link", _RESIDENT, layers, "100%")
            left.append([self._of_step(inputs) for _ in range(repeats)])
        layer, step = [], []
        for few, many in zip(*left):
            each = max(0.0, (many - few) / (_MANY - _FEW))
            layer.append(each)
            step.append(max(0.0, few - _FEW * each))
        return Samples.of(step), Samples.of(layer)

    def of_loads(self, repeats: int, machine: str, storage: Path | None) -> tuple[Samples, Samples]:
        """µs of a load beyond its bytes, and µs of a MiB of it: a line through two sizes."""
        found: list[list[float]] = []
        for hidden, width in _LOADED:
            shape = {**_RESIDENT, "hidden": hidden, "expert_hidden": width}
            inputs = self._inputs(machine, shape, _FEW, {"experts": _FEW * _RESIDENT["top_k"]})
            self._over(inputs, storage or self.folder)  # makes the experts
            found.append([self._of_load(inputs, storage or self.folder) for _ in range(repeats)])
        small, large = (3 * hidden * width * 4 / MIB for hidden, width in _LOADED)
        each = [max(0.0, (b - a) / (large - small)) for a, b in zip(*found)]
        fixed = [max(0.0, a - us * small) for a, us in zip(found[0], each)]
        return Samples.of(fixed), Samples.of(each)

    def _of_step(self, inputs: Inputs) -> float:
        """µs left over in a decode step that loads nothing."""
        over, loads = self._over(inputs, self.folder)
        return float(np.median(over[loads == 0] if (loads == 0).any() else over))

    def _of_load(self, inputs: Inputs, folder: Path) -> float:
        """µs left over, for each load of a decode step."""
        over, loads = self._over(inputs, folder)
        return float(np.median(over[loads > 0] / loads[loads > 0]))

    def _over(
        self, inputs: Inputs, folder: Path
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """µs by which each decode step took longer than simulated, and how many it loaded."""
        real, simulated = self._runs.replay(inputs, folder), self._runs.simulate(inputs)
        decode = real.steps.column("prefill") == 0
        spans = [run.steps.column("end") - run.steps.column("start") for run in (real, simulated)]
        layers = real.layers
        missing = layers.column("experts") - layers.column("hits")
        loads = np.bincount(layers.column("step"), missing, len(decode)).astype(np.int64)
        return ((spans[0] - spans[1]) / 1e3)[decode], loads[decode]

    def _inputs(
        self, machine: str, shape: Mapping[str, int], layers: int, capacity: object
    ) -> Inputs:
        model = self.folder / f"model-{shape['hidden']}-{layers}.yaml"
        content: dict[str, Any] = {
            "name": model.stem, "layers": layers, "vocab": 64, "attention": _ATTENTION, **shape
        }  # fmt: skip
        model.write_text(yaml.safe_dump(content), encoding="utf-8")
        trace = {"synthetic": str(model), "requests": 1, "prompt": 2, "decode": self._decode}
        tree = {
            "trace": {**trace, "skew": 0.0, "reuse": 0.0},
            "model": str(model),
            "precision": self._precision,
            "hardware": str(self.folder / f"{machine}.yaml"),
            "runtime": {"name": "ideal", **self.costs},
            "cache": {"capacity": capacity},
        }
        return setup.load(RunConfig.model_validate(tree))
