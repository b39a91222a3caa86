"""The runs of a validation: each is simulated, and replayed as often as asked for.

A replay is kept as it ends, whole, in a file of its own: who stops loses what runs. What is kept
are its records, so that a later summary asks no device; it does not depend on the figures of a
profile, only on where experts come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords, Rows, StepRecords
from prefetch_sim.sim.results.agreement import Watched
from prefetch_sim.sim.results.residency import ResidencyLog
from prefetch_sim.sim.results.simulation import Replayed
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.files import replacing

Kind = Literal["cpu", "cuda"]
Replay = Callable[..., Replayed]
_UNREADABLE = (OSError, ValueError, KeyError, BadZipFile)


@dataclass(frozen=True)
class Run:
    """One run, simulated or measured: its records, and what was resident when."""

    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    log: ResidencyLog
    about: dict[str, str]  # of a replay: the machine, and when
    outputs: str = ""  # of a replay: whether they are the reference's, see ``compared``

    @property
    def watched(self) -> Watched:
        return Watched(self.log, self.loads)


def simulated(inputs: Inputs) -> Run:
    from prefetch_sim.sim.run import simulate

    log = ResidencyLog()
    done = simulate(inputs, lambda _, loader: log.watch(loader))
    return Run(done.layers, done.steps, done.loads, log, {})


def measured(
    inputs: Inputs, device: Kind, storage: Path | None, replay: Replay
) -> tuple[Run, npt.NDArray[np.float32]]:
    """A replay, and its outputs."""
    log = ResidencyLog()
    found = replay(
        inputs, device=device, storage=storage, watch=lambda _, loader: log.watch(loader)
    )
    done = found.simulation
    return Run(done.layers, done.steps, done.loads, log, found.machine), found.outputs


def key(point: Point, device: Kind) -> str:
    """What a measurement depends on: not on what its machine is said to reach.

    A policy that is told times decides by that, so of its measurements all of it counts.
    """
    inputs = setup.load(point.config)
    profile, link = inputs.profile, inputs.profile.host_link
    chunk = link and link.chunk_mib
    timed = getattr(inputs.policy, "TIMED", False)
    told = (profile, inputs.runtime) if timed else ()
    config = point.config.model_dump(mode="json", exclude={"name", "engine", "hardware", "runtime"})
    known = {
        "config": config | _computed(point, inputs, device),
        "cache": inputs.cache_bytes,  # also where it is what a memory has left
        "chunk": chunk and chunk.value,
        "told": [part.model_dump(mode="json") for part in told],
        "one_memory": profile.unified_memory,
        "host": inputs.host_bytes,
        "lanes": profile.storage.queue_depth.value,
        "read": profile.storage.read_mib.value,
        "runtime": inputs.runtime.model_dump(mode="json", include={"kernels", "overlap"}),
    }
    return _digest(known)


def outputs_key(point: Point, device: Kind) -> str:
    """What the outputs of a replay depend on, whatever is cached and whenever it lands."""
    keys = {"requests", "tokens", "layers", "precision", "batch_size", "seed"}
    config = point.config.model_dump(mode="json", include=keys)
    return _digest(config | _computed(point, setup.load(point.config), device))


def _computed(point: Point, inputs: Inputs, device: Kind) -> dict[str, Any]:
    model = inputs.model.model_dump(mode="json")
    return {"model": model, "trace": point.identity["trace"], "device": device}


def _digest(known: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Kept:
    """The folder of finished replays, and of the outputs that all have to give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, name: str, repeat: int) -> bool:
        return self._path(name, repeat).is_file()

    def put(self, name: str, repeat: int, run: Run) -> None:
        tables: dict[str, Any] = {
            "layers": run.layers.table(),
            "steps": run.steps.table(),
            "loads": run.loads.table(),
            "events": np.array(run.log.events, dtype=np.int32),
            "at_first": np.array(run.log.at_first, dtype=bool),
            "about": np.array(json.dumps({**run.about, "outputs": run.outputs})),
        }
        with replacing(self._path(name, repeat)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **tables)

    def get(self, name: str, repeat: int) -> Run:
        """Raises ConfigError where the file is damaged."""
        path = self._path(name, repeat)
        try:
            with np.load(path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                log = ResidencyLog()
                log.events = found["events"].tolist()
                log.at_first = found["at_first"].tolist()
                tables: list[Rows] = [LayerRecords(), StepRecords(), LoadRecords()]
                for rows, word in zip(tables, ("layers", "steps", "loads")):
                    rows.extend(found[word])
        except _UNREADABLE as error:
            raise ConfigError(f"{path}: not a finished replay; remove it ({error})") from error
        outputs = about.pop("outputs")
        layers, steps, loads = tables
        return Run(layers, steps, loads, log, about, outputs)  # type: ignore[arg-type]

    def _path(self, name: str, repeat: int) -> Path:
        return self.folder / f"{name}-{repeat}.npz"

    def reference(
        self, name: str, make: Callable[[], npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        """What every replay has to compute: kept under ``name``, or made now."""
        path = self.folder / f"outputs-{name}.npz"
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as found:
                    return np.asarray(found["outputs"], dtype=np.float32)
            except _UNREADABLE as error:
                raise ConfigError(f"{path}: damaged; remove it ({error})") from error
        outputs = make()
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, outputs=outputs)
        return outputs


def compared(outputs: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> str:
    """``equal``, to the bit, or where they begin to differ and by how much at most."""
    if outputs.shape != wanted.shape:
        return f"{len(outputs)} layer-steps, not {len(wanted)}"
    differ = (outputs.view(np.uint32) != wanted.view(np.uint32)).any(axis=1)
    if not differ.any():
        return "equal"
    furthest = np.abs(outputs - wanted).max() / np.abs(wanted).max()
    return f"differ from layer-step {int(np.argmax(differ))} on, by {furthest:.2g} at most"


def order(points: Sequence[Point], repeats: int) -> Iterator[tuple[int, Point]]:
    """Each repeat goes through all points, there and back, so that a machine's drift spreads."""
    for repeat in range(repeats):
        yield from ((repeat, point) for point in (points if repeat % 2 == 0 else points[::-1]))
