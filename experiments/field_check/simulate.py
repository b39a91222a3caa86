"""What the simulator says of a row: its config run, or its copies or reads timed."""

from __future__ import annotations

import heapq
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefetch_sim.experiments.field_check.rows import Drive, Link, Quantity, Row, Study
from prefetch_sim.hardware_profiles import load_profile
from prefetch_sim.sim.config.files import Tree, parse, set_path
from prefetch_sim.sim.config.models import load_model
from prefetch_sim.sim.config.schema import SyntheticTrace
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs as read
from prefetch_sim.traces.synthetic import synthesise

READS = 4_000  # of a drive, until the queue's beginning no longer shows
MS, MIB = 1e6, 2**20

Values = dict[Quantity, float]


class Steps(NamedTuple):
    """Of each decode step."""

    wall_ms: npt.NDArray[np.float64]
    wait_ms: npt.NDArray[np.float64]
    mib: npt.NDArray[np.float64]  # of what was demanded


def row_values(study: Study, row: Row) -> Values:
    if row.link is not None:
        return _copies(row.link)
    if row.drive is not None:
        return _reads(row.drive)
    done = run(study.tree(row), row.id)
    steps = by_step(done)
    return _of_run(done, steps)


def run(tree: Tree, name: str) -> Simulation:
    with TemporaryDirectory() as folder:
        inputs = read.load(parse({**_with_counts(tree, Path(folder)), "name": name}, "rows.yaml"))
    return simulate(inputs)


def _with_counts(tree: Tree, folder: Path) -> Tree:
    """``cache.static.counts`` as a file: ``flat``, where nobody counted, so lowest ids are taken;
    ``another text``: of a trace whose experts are as popular, drawn anew."""
    static = (tree.get("cache") or {}).get("static") or {}
    if static.get("counts") not in ("flat", "another text"):
        return tree
    config = parse(tree, "rows.yaml")
    trace = config.trace
    assert isinstance(trace, SyntheticTrace)
    model = load_model(trace.synthetic)
    counts = np.zeros((model.moe_layers, model.experts), np.int64)
    if static["counts"] == "another text":
        drawn = synthesise(
            model, requests=2, prompt=0, decode=1000,
            skew=trace.skew, reuse=trace.reuse, seed=trace.seed,
        )  # fmt: skip
        for layer in range(model.moe_layers):
            counts[layer] = np.bincount(drawn.experts[:, layer].ravel(), minlength=model.experts)
    file = folder / "counts.csv"
    rows = (f"{at[0]},{at[1]},{count}" for at, count in np.ndenumerate(counts))
    file.write_text("\n".join(["layer,expert,count", *rows]), encoding="utf-8")
    return set_path(tree, "cache.static.counts", str(file))


def by_step(done: Simulation) -> Steps:
    """Of each decode step; a stall of any kind is a wait."""
    steps, layers = done.steps, done.layers
    decode = np.flatnonzero(steps.column("prefill") == 0)
    wall = (steps.column("end") - steps.column("start"))[decode] / MS
    of = layers.column("step")
    stalls = sum(layers.column(name) for name in layers.times if name.startswith("stall"))
    sizes = np.array(done.inputs.sizes)[layers.column("layer")]
    missed = (layers.column("experts") - layers.column("hits")) * sizes
    count = len(steps)
    return Steps(
        wall,
        np.bincount(of, stalls, count)[decode] / MS,
        np.bincount(of, missed, count)[decode] / MIB,
    )


def _of_run(done: Simulation, steps: Steps) -> Values:
    counts = done.totals.layers.counts  # [decode and prefill, layer, (experts, hits, late)]
    experts, hits = counts[:, :, 0], counts[:, :, 1] + counts[:, :, 2]
    prefill, start = done.steps.column("prefill"), done.steps.column("start")
    decode = start[prefill == 0]
    loads = done.loads
    during = (loads.column("landed") >= 0) & (loads.column("started") >= decode[0])
    per_layer = done.inputs.model.experts
    nbytes = np.array(done.inputs.sizes)[loads.column("expert")[during] // per_layer].sum()
    tokens = int(done.steps.column("tokens")[prefill == 0].sum())
    wall = float(steps.wall_ms.mean())
    wait = float(steps.wait_ms.mean())
    return {
        "tokens_s": 1e3 * tokens / float(steps.wall_ms.sum()),
        "ms": wall,
        "wait_ms": wait,
        "rest_ms": wall - wait,
        "hit": 100 * float(hits[0].sum() / experts[0].sum()),
        "hit_all": 100 * float(hits.sum() / experts.sum()),
        "mib_token": float(nbytes) / MIB / tokens,
    }


def _copies(of: Link) -> Values:
    """One after the other: the first finds the link idle."""
    link = load_profile(of.hardware).host_link
    assert link is not None
    us = link.isolated_us.value + (of.count - 1) * link.back_to_back_us.value
    us += of.count * of.bytes / link.gb_s.value / 1e3
    return {"us": us, "gb_s": of.count * of.bytes / us / 1e3}


def _reads(of: Drive) -> Values:
    """As docs/timing.md has it of storage, each lane's next read right behind its last."""
    drive = load_profile(of.hardware).storage
    lanes = [0.0] * of.lanes
    free = last = 0.0
    for _ in range(READS):
        now = heapq.heappop(lanes)
        free = max(now, free) + of.bytes / drive.gb_s.value / 1e3
        done = max(free, now + of.bytes / drive.stream_gb_s.value / 1e3) + drive.latency_us.value
        last = max(last, done)
        heapq.heappush(lanes, done)
    return {"gb_s": READS * of.bytes / last / 1e3}
