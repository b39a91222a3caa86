"""A run as a timeline: Chrome trace-event JSON, which ui.perfetto.dev opens as it is.

Tracks: the forward pass (step, layer and operator slices, nested; a gap is a stall), each lane of
storage and host link (a slice is one chunk), the loads from issue to end, grouped by why they
were issued, and counters of the cache's occupancy and of the bytes asked for and not landed.
Times are µs with the nanoseconds as their fraction.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.engine.load import DEMAND, DISPOSITIONS, ORIGINS, PREFETCH, Load
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.records import COUNTS
from prefetch_sim.sim.machine.device import CPU_EXPERTS
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.files import replacing

# A layer-step takes 1.5 to 15 kB, by how many loads it makes and of how many chunks, which only
# the run will tell: 40 to 350 MB. Perfetto gets slow from 100 MB on.
MAX_LAYER_STEPS = 24_000
COMPUTE, LINKS, LOADS, MEMORY = 1, 2, 3, 4  # process ids: the groups of tracks
FORWARD, CPU = (COMPUTE, 1), (COMPUTE, 2)  # tracks: the forward pass; experts on the CPU

Event = dict[str, Any]


def check(workload: Workload, path: Path) -> None:
    """Refuse, before anything runs, a timeline too long to open or with nowhere to go.

    Raises ConfigError.
    """
    most = MAX_LAYER_STEPS // workload.layers
    if len(list(islice(workload.steps(), most + 1))) > most:
        raise ConfigError(
            f"--timeline: the run has more than {most:,} steps of {workload.layers} layers; "
            "choose fewer requests (requests: '0:1')"
        )
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--timeline: {path} cannot be written")


class _Stage(Protocol):
    log: Callable[[str, Load, int, int], None] | None


class Watched(Protocol):
    """A device, simulated or real, that says what it does."""

    on_compute: Callable[[int, int, str], None] | None

    @property
    def now(self) -> int: ...

    @property
    def stages(self) -> Sequence[_Stage]: ...


class Recorder:
    """Watches one run; ``simulate(inputs, recorder.watch)``, then ``write``."""

    def __init__(self) -> None:
        self._operators: list[tuple[int, int, str]] = []  # start, duration, what
        self._on_cpu: list[tuple[int, int, str]] = []  # likewise
        self._chunks: list[tuple[str, int, int, int, str]] = []  # server, start, end, expert, why
        self._held: dict[int, int] = {}  # time: bytes of the cache that are taken from then on

    def watch(self, device: Watched, loader: Loader) -> None:
        cache = loader.cache
        capacity = sum(cache.capacities)

        def sample(now: int) -> None:
            self._held[now] = capacity - sum(cache.free)

        def computing(start: int, duration: int, what: str) -> None:
            # Told of ahead of the clock or behind it: not when to look at the cache.
            spans = self._on_cpu if what == CPU_EXPERTS else self._operators
            spans.append((start, duration, what))

        def moving(name: str, load: Load, start: int, finish: int) -> None:
            # A promoted prefetch is demand from then on.
            why = ORIGINS[DEMAND if load.needed >= 0 else load.origin]
            self._chunks.append((name, start, finish, load.expert, why))
            sample(device.now)  # room is taken, and victims leave, as a load's first chunk starts

        sample(device.now)
        device.on_compute = computing
        for server in device.stages:
            server.log = moving

    def write(self, path: Path, done: Simulation) -> None:
        """The timeline as one file, which appears only when it is complete."""
        with replacing(path) as whole, whole.open("w", encoding="utf-8") as file:
            file.write('{"displayTimeUnit":"ns","traceEvents":[\n')
            for i, event in enumerate(self.events(done)):
                file.write((",\n" if i else "") + json.dumps(event, separators=(",", ":")))
            file.write("\n]}\n")

    def events(self, done: Simulation) -> Iterator[Event]:
        width = done.inputs.workload.experts
        yield from _names()
        yield from _forward_pass(done, self._operators)
        for start, duration, what in self._on_cpu:
            yield _slice(what, CPU, start, start + duration, {})
        yield from _link_chunks(sorted(self._chunks, key=lambda chunk: chunk[1]), width)
        yield from _loads(done, width)
        yield from _counter("cache held, MiB", self._held.items())
        yield from _counter("loads pending, MiB", _pending(done))


def _names() -> Iterator[Event]:
    groups = {COMPUTE: "compute", LINKS: "links", LOADS: "loads", MEMORY: "memory"}
    for pid, name in groups.items():
        yield _event("M", "process_name", pid, args={"name": name})
        yield _event("M", "process_sort_index", pid, args={"sort_index": pid})
    for (pid, tid), name in {FORWARD: "forward pass", CPU: "CPU"}.items():
        yield _event("M", "thread_name", pid, tid=tid, args={"name": name})


def _event(phase: str, name: str, pid: int, **rest: Any) -> Event:
    return {"ph": phase, "name": name, "pid": pid, **rest}


def _slice(name: str, track: tuple[int, int], start: int, end: int, args: Event) -> Event:
    times = {"ts": start / 1000, "dur": (end - start) / 1000}
    return _event("X", name, track[0], tid=track[1], **times, args=args)


def _forward_pass(done: Simulation, operators: list[tuple[int, int, str]]) -> Iterator[Event]:
    """Step, layer and operator slices; an operator belongs to the layer it starts in."""
    steps, layers = done.steps, done.layers
    for step, prefill, requests, tokens, start, end, compute in steps.table().tolist():
        kind = "prefill" if prefill else "decode"
        args = {"requests": requests, "tokens": tokens, "compute_us": compute / 1000}
        yield _slice(f"step {step} ({kind})", FORWARD, start, end, {"step": step, **args})
    names = layers.columns
    for row in layers.table().tolist():
        cells = dict(zip(names, row))
        stalls = {k: v / 1000 for k, v in cells.items() if k.startswith("stall_")}
        args = {k: cells[k] for k in ("step", "layer", *COUNTS)}
        args["routed_us"] = cells["routed"] / 1000
        title = f"layer {cells['layer']}"
        yield _slice(title, FORWARD, cells["start"], cells["end"], args | stalls)
    starts = layers.column("start")
    of_layer = np.searchsorted(starts, [start for start, _, _ in operators], side="right") - 1
    step, layer = layers.column("step").tolist(), layers.column("layer").tolist()
    for (start, duration, what), i in zip(operators, of_layer.tolist()):
        where = {"step": step[i]} if what == "head" else {"step": step[i], "layer": layer[i]}
        yield _slice(what, FORWARD, start, start + duration, where)


def _link_chunks(chunks: list[tuple[str, int, int, int, str]], width: int) -> Iterator[Event]:
    """One track per lane in use: reads of storage overlap, slices of a track may not."""
    lanes: dict[str, list[tuple[int, int]]] = {}  # server → (busy until, track) of each lane
    tracks = 0
    for name, start, end, expert, why in chunks:
        busy = lanes.setdefault(name, [])
        free = next((i for i, (until, _) in enumerate(busy) if until <= start), len(busy))
        if free == len(busy):
            tracks += 1
            busy.append((0, tracks))
            title = f"{name} {free}"
            yield _event("M", "thread_name", LINKS, tid=tracks, args={"name": title})
        track = busy[free][1]
        busy[free] = (end, track)
        args = {"why": why, "layer": expert // width, "expert": expert % width}
        yield _slice(f"{why} {_title(expert, width)}", (LINKS, track), start, end, args)


def _loads(done: Simulation, width: int) -> Iterator[Event]:
    """Each load, from its issue to its landing, or to its end if it never landed."""
    predictors = [name for name, _, _ in done.inputs.predictors]
    layers = done.inputs.workload.layers
    names = done.loads.columns
    for number, row in enumerate(done.loads.table().tolist()):
        load = dict(zip(names, row))
        why = ORIGINS[load["origin"]]
        if load["origin"] == PREFETCH:
            why += f": {predictors[load['predictor']]}"
        ended = load["disposition"]
        args = {
            "why": why,
            "layer": load["expert"] // width,
            "expert": load["expert"] % width,
            "for_step": load["target"] // layers,
            "for_layer": load["target"] % layers,
            "ended": (*DISPOSITIONS, "used", "landed")[ended],
        }
        for key in ("started", "needed"):
            if load[key] >= 0:
                args[f"{key}_us"] = load[key] / 1000
        end = load["landed"] if load["landed"] >= 0 else load["settled"]
        # Perfetto puts slices of one name on one track; which expert it is stands in args.
        both = {"cat": "load", "id": number, "tid": 1}
        yield _event("b", why, LOADS, ts=load["issued"] / 1000, args=args, **both)
        yield _event("e", why, LOADS, ts=end / 1000, **both)


def _pending(done: Simulation) -> Iterator[tuple[int, int]]:
    """(time, bytes asked for and not landed from then on), from the records of the loads."""
    column = done.loads.column
    landed = column("landed")
    ended = np.where(landed >= 0, landed, column("settled"))
    nbytes = np.array(done.inputs.sizes)[column("expert") // done.inputs.workload.experts]
    times, at = np.unique(np.concatenate([column("issued"), ended]), return_inverse=True)
    change = np.zeros(len(times), dtype=np.int64)
    np.add.at(change, at, np.concatenate([nbytes, -nbytes]))
    yield from zip(times.tolist(), change.cumsum().tolist())


def _counter(name: str, samples: Iterable[tuple[int, int]]) -> Iterator[Event]:
    last = -1
    for now, nbytes in samples:
        if nbytes != last:
            last = nbytes
            yield _event("C", name, MEMORY, ts=now / 1000, args={"MiB": round(nbytes / 2**20, 3)})


def _title(expert: int, width: int) -> str:
    return f"L{expert // width} E{expert % width}"
