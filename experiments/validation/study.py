"""One validation from its config to its folder: simulate, replay, compare, write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from prefetch_sim.experiments.output import check_folder
from prefetch_sim.experiments.sweeps import points as sweeps
from prefetch_sim.experiments.sweeps.points import Point
from prefetch_sim.experiments.sweeps.progress import progress
from prefetch_sim.experiments.validation import figures, machines, runs
from prefetch_sim.experiments.validation.machines import Machine
from prefetch_sim.experiments.validation.runs import Kept, Kind, Replay, Run
from prefetch_sim.experiments.validation.tables import (
    TABLES,
    Row,
    Tables,
    axes,
    compared,
    times,
)
from prefetch_sim.experiments.validation.targets import OF_GPUS, TARGETS
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree, set_path
from prefetch_sim.sim.setup import inputs as setup

RUNS = "runs"  # the folder of finished replays, which is not committed
CONFIG = "validation.yaml"
PROFILES = "profiles"
FIGURES = ("predicted.png", "token.png")


class Study:
    """A validation's points and its folder, ``out``.

    ``tree`` is the config as written, ``source`` its file. Raises ConfigError for whatever cannot
    run, before anything does.
    """

    def __init__(self, tree: Tree, source: Path, machine: Machine, out: Path, device: Kind) -> None:
        check_folder("--out", out)
        self.out, self.device = out, device
        self._tree, self._source, self.machine = tree, source, machine
        placed = machines.placed(tree, machine, source)
        self.points = sweeps.plan({**placed, "engine": "simpy"}, str(source))
        self._keys = [runs.key(point, device) for point in self.points]
        if len(set(self._keys)) < len(self._keys):
            raise ConfigError(f"{source}: sweep: two points are the same measurement")
        self.model = self.points[0].model

    def on(self, machine: Machine) -> Study:
        """The same replays, whatever they were told of times and sizes, beside ``machine``."""
        other = Study(self._tree, self._source, machine, self.out, self.device)
        other._keys = self._keys
        other.begin()
        return other

    def begin(self) -> None:
        """Make the folder: the config as it is run, and the profiles."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self._tree, sort_keys=False, allow_unicode=True)
        (self.out / CONFIG).write_text(text, encoding="utf-8")
        machines.kept(self.machine, self.out / PROFILES)
        self._kept = Kept(self.out / RUNS)

    def left(self, repeats: int) -> list[tuple[int, Point]]:
        return [
            (repeat, point)
            for repeat, point in runs.order(self.points, repeats)
            if not self._kept.has(self._key(point), repeat)
        ]

    def measure(self, repeats: int, storage: Path | None, replay: Replay) -> None:
        """Replay what has not been, each kept as it ends. Raises KeyboardInterrupt."""
        left, total = self.left(repeats), repeats * len(self.points)
        if not left:
            return
        for name in (*(f"{table}.csv" for table in (*TABLES, "machine")), *FIGURES):
            (self.out / name).unlink(missing_ok=True)  # of fewer replays: they would look whole

        def reference() -> npt.NDArray[np.float32]:
            whole = self._whole()
            return runs.measured(whole, self.device, storage, replay)[1]

        wanted = self._kept.reference(runs.outputs_key(self.points[0], self.device), reference)
        with progress("replays", total, total - len(left)) as advance:
            for repeat, point in left:
                inputs = setup.load(point.config)
                run, outputs = runs.measured(inputs, self.device, storage, replay)
                same = runs.compared(outputs, wanted)
                done = Run(run.layers, run.steps, run.loads, run.log, run.about, same)
                self._kept.put(self._key(point), repeat, done)
                advance()

    def summarise(self, repeats: int) -> Tables:
        """Simulate every point, and write all tables and figures of what has been measured."""
        measured, simulated = [], []
        shown: tuple[Point, Run, list[Run]] | None = None
        with progress("comparing", len(self.points)) as advance:
            for point, key in zip(self.points, self._keys):
                inputs, label = setup.load(point.config), self._label(point)
                ours, table = runs.simulated(inputs), inputs.workload.table
                prefetches = bool(inputs.predictors)
                simulated.append({**label, **times(table, ours)})
                real = [self._kept.get(key, repeat) for repeat in range(repeats)]
                for repeat, run in enumerate(real):
                    found = {**times(table, run), **compared(ours, run)}
                    row = {**label, "repeat": repeat, "prefetches": prefetches, **found}
                    measured.append(row)
                if shown is None or (prefetches and not _prefetches(shown[0])):
                    shown = point, ours, real
                advance()
        labels = list(self._label(self.points[0]))
        targets = OF_GPUS if self.device == "cuda" else TARGETS
        tables = Tables.of(labels, measured, simulated, targets)
        tables.write(self.out)
        about = {"machine": self.machine.name, "model": self.model, "repeats": str(repeats)}
        about |= self._kept.get(self._keys[0], 0).about
        pd.Series(about, name="is").rename_axis("what").to_csv(self.out / "machine.csv")
        figures.predicted(tables, f"{self.machine.name}, {self.model}", self.out)
        if shown is not None:
            point, ours, real = shown
            title = ", ".join(self._label(point).values())
            inputs = setup.load(point.config)
            figures.token(title, inputs.workload.table, ours, real, self.out)
        return tables

    def ran_on(self) -> str:
        """The device that was measured, as it names itself; a profile may be called anything."""
        about = self._kept.get(self._keys[0], 0).about
        return about.get("gpu") or about.get("processor") or self.machine.name

    def _label(self, point: Point) -> Row:
        return axes(point, {str(path): way for way, path in self.machine.hardware.items()})

    def _key(self, point: Point) -> str:
        return self._keys[self.points.index(point)]

    def _whole(self) -> setup.Inputs:
        """The first point with every expert resident from the start."""
        point = self.points[0]
        tree = point.config.model_dump(mode="json", exclude_defaults=True)
        for path, value in (
            ("predictor", []),
            ("cache.static", None),
            ("cache.capacity", "100%"),
            ("cache.warm", "first"),
        ):
            tree = set_path(tree, path, value)
        where = "the reference, with every expert resident"
        try:
            return setup.load(type(point.config).model_validate(tree))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def _prefetches(point: Point) -> bool:
    return bool(point.config.predictor)
