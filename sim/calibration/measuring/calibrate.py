"""All that is measured of a machine, part by part, within two minutes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from prefetch_sim.hardware_profiles.drafts import complete
from prefetch_sim.sim.calibration.link import findings as of_link
from prefetch_sim.sim.calibration.machine import (
    GIB,
    Machine,
    describe,
    free_gib,
    resident_mib,
    usable_cores,
)
from prefetch_sim.sim.calibration.measuring import (
    link,
    memory,
    operators,
    readback,
    runtime,
    storage,
)
from prefetch_sim.sim.calibration.measuring.bench import Bench, several
from prefetch_sim.sim.calibration.measuring.benches import check_device, open_bench
from prefetch_sim.sim.calibration.measuring.plan import Plan, shapes
from prefetch_sim.sim.calibration.measuring.runtime import Runs
from prefetch_sim.sim.calibration.memory import findings as of_memory
from prefetch_sim.sim.calibration.operators import TINY, Operator, layer_launch
from prefetch_sim.sim.calibration.operators import findings as of_operators
from prefetch_sim.sim.calibration.samples import Findings, Note, Stamp
from prefetch_sim.sim.calibration.storage import ENOUGH, WHOLE
from prefetch_sim.sim.calibration.storage import findings as of_storage
from prefetch_sim.sim.replay.device import Work
from prefetch_sim.sim.replay.weights import Layout
from prefetch_sim.traces.models.spec import ModelSpec

MIB = 2**20
Device = Literal["cpu", "cuda"]
Progress = Callable[
    [str, int, int], None
]  # what is being measured, which part that is, of how many

FIGURES = {"compute.memory_gb_s", "compute.launch_us", "host_link.gb_s"}
_EXPERT = 2048, 768  # hidden size and width of those in host memory
_PASSES = 16  # of a GPU over the pool, in one piece of work


@dataclass
class Measured:
    """``operators`` one by one; ``left_out``: models there was no time or memory for."""

    machine: Machine
    stamp: Stamp
    findings: Findings
    operators: list[Operator]
    left_out: list[str]


def measure(
    device: Device,
    folder: Path | None,
    plan: Plan,
    models: Sequence[ModelSpec] = (),
    runs: Runs | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure this machine; ``folder``: on the drive to measure, if any.

    ``models``: whose operators are measured, by default the paper's three, or a small shape where
    the plan is quick; the replay's own work is measured on the first that is given. ``runs``: the
    two ways to run a config, where that is to be measured. Raises ConfigError.
    """
    own = models[0] if models else runtime.SHAPE
    models = models or shapes(plan)
    check_device(device)
    if folder is not None:
        with storage.scratch(folder, MIB):  # said before minutes are spent
            pass
    machine = describe(torch, device)
    stamp = Stamp(datetime.now(UTC).strftime("%Y-%m-%d"), machine.name)
    done = Measured(machine, stamp, _sizes(machine, stamp), [], [])
    with open_bench(device) as bench:
        parts = _parts(bench, folder, plan, models, done)
        for i, (what, part) in enumerate(parts):
            if progress is not None:
                progress(what, i, len(parts) + 1)
            part()
    if runs is not None:
        if progress is not None:
            progress("the replay's own work", len(parts), len(parts) + 1)
        found = done.findings
        found.add(_own_work(runs, done, folder, plan, own))
    if progress is not None:
        progress("done", len(parts) + 1, len(parts) + 1)
    return done


def _own_work(
    runs: Runs, done: Measured, folder: Path | None, plan: Plan, like: ModelSpec
) -> Findings:
    figures = done.findings.hardware
    if not figures.keys() >= FIGURES:  # without these a simulation is not of this machine
        return Findings()
    one_memory = done.machine.device_gib is None  # a GPU gets no experts straight off a drive
    machines = {
        name: complete(name, "measured", figures, unified=name == "disk").profile
        for name in ("link", *(["disk"] if folder is not None and one_memory else []))
    }
    return runtime.measure(
        runs,
        machines,
        done.findings.runtime["routing_us"].value,
        done.stamp,
        folder,
        like=like,
        precision="f32" if one_memory else "bf16",
        repeats=plan.runs,
        decode=plan.decode,
    )


def _sizes(machine: Machine, stamp: Stamp) -> Findings:
    said = "as the system says"
    found = Findings()
    found.hardware["compute.memory_gib"] = stamp.exact(
        machine.host_gib if machine.device_gib is None else machine.device_gib, said
    )
    found.hardware["host.memory_gib"] = stamp.exact(machine.host_gib, said)
    kept = resident_mib()
    if machine.device_gib is None and kept is not None:
        found.runtime["reserve_mib"] = stamp.exact(kept, "Python, torch and this project, loaded")
    return found


def _context(stamp: Stamp) -> Findings:
    """What a GPU's memory holds that is no tensor of ours."""
    free, total = torch.cuda.mem_get_info()
    kept = (total - free - torch.cuda.memory_reserved()) / MIB
    note = "CUDA's context, and what else uses this GPU"
    return Findings(runtime={"reserve_mib": stamp.exact(max(0.0, kept), note)})


def _parts(
    bench: Bench, folder: Path | None, plan: Plan, models: Sequence[ModelSpec], done: Measured
) -> list[tuple[str, Work]]:
    """What to measure, in order."""
    begun, stamp, found = time.monotonic(), done.stamp, done.findings
    n = plan.repeats

    def copies() -> None:
        busy = _busy(bench, plan.pool)
        found.add(of_link(link.measure(bench, plan.copies, n, plan.pool, busy), stamp))

    def experts_in_host_memory() -> None:
        with ExitStack() as stack:
            reading = None
            if folder is not None:
                file = stack.enter_context(storage.scratch(folder, 64 * MIB))
                lane = bench.lanes("storage", 1)[0]
                reading = lane, file.reading(MIB)
            threads = _powers(usable_cores())
            times = memory.measure(
                bench, *_EXPERT, repeats=n, pool=plan.pool, threads=threads, reading=reading
            )
        found.add(of_memory(times, stamp))

    def drive() -> None:
        assert folder is not None
        depths, blocks, usual, least = list(plan.depths), set(plan.blocks), MIB, ENOUGH
        if not bench.two_memories:  # each lane is a thread beside the one that computes
            depths = [1, *(n for n in depths if 1 < n < done.machine.cores)]
            whole = _stride(models[0])  # and each read costs whoever decides
            if whole <= plan.file:
                usual, least = whole, WHOLE
                blocks.add(whole)
        with storage.scratch(folder, plan.file) as file:
            times = storage.measure(
                bench, file, sorted(blocks), depths, repeats=4 * n, window=plan.window
            )
        found.add(of_storage(times, stamp, usual, least))

    def launches() -> None:
        found.add(_launches(bench, stamp, n))

    def routing() -> None:
        found.add(readback.measure(bench, stamp, 10 * n))
        if bench.where == "cuda":
            found.add(_context(stamp))

    def shape(model: ModelSpec) -> Work:
        def run() -> None:
            head = 2 * model.hidden * model.vocab * 4 / GIB  # drawn in float32, and kept
            fits = 2 * head + 4 * plan.sizes.pool / GIB < free_gib()
            if time.monotonic() - begun > plan.seconds or not fits:
                done.left_out.append(model.name)
                return
            done.operators += operators.measure(bench, model, plan.sizes, bench.captured)
            if bench.captured is not None:
                eager = operators.measure(bench, model, plan.sizes)
                found.notes += [Note(f"{op.model}, {op.name}, eager", op.us, "µs") for op in eager]

        return run

    def rates() -> None:
        launch = found.hardware["compute.launch_us"]
        if done.operators:
            found.add(of_operators(done.operators, launch.value, stamp))

    parts = [("copies", copies), ("experts in host memory", experts_in_host_memory)]
    if folder is not None:
        parts.append(("storage", drive))
    parts += [("launches", launches), ("the routing's way", routing)]
    parts += [(f"operators of {model.name}", shape(model)) for model in models]
    return [*parts, ("rates", rates)]


def _powers(most: int) -> list[int]:
    """1, 2, 4, … up to ``most``, and that."""
    return sorted({most, *(2**i for i in range(most.bit_length()))})


def _stride(model: ModelSpec) -> int:
    """Bytes from one expert of ``model`` to the next in a file of them, in 32 bits."""
    layout = Layout(1, model.hidden, model.expert_hidden, "f32")
    return layout.stride


def _launches(bench: Bench, stamp: Stamp, repeats: int) -> Findings:
    """Of one small operator after another, and of a layer too small to count."""
    alone = operators.launches(bench, repeats)
    sizes = operators.Sizes((1,), (), 4 * repeats, MIB, 1, head=False)
    layer = layer_launch(operators.measure(bench, TINY, sizes, bench.captured))
    notes = (
        [Note("a small operator in a graph of many", alone.captured, "µs")]
        if alone.captured
        else []
    )
    return Findings(
        hardware={
            "compute.launch_us": stamp.figure(
                layer, "a layer too small to count, over its launches"
            ),
            "compute.eager_launch_us": stamp.figure(
                alone.eager, "a small operator right behind another"
            ),
        },
        notes=notes,
    )


def _busy(bench: Bench, pool: int) -> Work:
    """Reads weights of the device's memory, as products do."""
    rows = max(1, pool // (2048 * bench.dtype.itemsize))
    weights, x = bench.random(rows, 2048), bench.random(2048)
    if bench.two_memories:  # a GPU is through with a piece before there is another
        return several(lambda: operators.drop(weights.mv(x)), _PASSES)
    pieces = itertools.cycle(weights.split(2048))
    return lambda: operators.drop(next(pieces).mv(x))
