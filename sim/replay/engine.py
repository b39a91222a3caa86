"""Puts a replay together: experts, memories, engines and lanes, for the parts of a run."""

from __future__ import annotations

import gc
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.cost.model import CostModel
from prefetch_sim.sim.cost.reserve import longest
from prefetch_sim.sim.cost.transfers import LoadPath, Storage
from prefetch_sim.sim.engine.active_predictor import ActivePredictor
from prefetch_sim.sim.engine.garbage import no_collection
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords, StepRecords, Totals
from prefetch_sim.sim.engine.tier import Tier
from prefetch_sim.sim.replay.device import Clock, RealDevice
from prefetch_sim.sim.replay.experts import (
    Experts,
    ExpertsInFile,
    ExpertsInMemory,
    Progress,
    aligned,
)
from prefetch_sim.sim.replay.forward_pass import ReplayPass
from prefetch_sim.sim.replay.host import HostDevice
from prefetch_sim.sim.replay.load_path import connect
from prefetch_sim.sim.replay.products import Products
from prefetch_sim.sim.replay.slots import Slots, fill
from prefetch_sim.sim.replay.weights import PAGE, Layout
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.parts import decisions

Kind = Literal["cpu", "cuda"]
Watch = Callable[[RealDevice, Loader], None]


class Measured(NamedTuple):
    """What a replay leaves behind; times are ns since it began.

    ``outputs``: float32 [layer-steps, hidden], the last token's state after each MoE layer.
    """

    layers: LayerRecords
    steps: StepRecords
    loads: LoadRecords
    totals: Totals
    outputs: npt.NDArray[np.float32]
    machine: dict[str, str]


def check(inputs: Inputs, path: LoadPath) -> Layout:
    """How the experts of a run lie in memory. Raises ConfigError where it cannot be replayed."""
    first = path.stages[0]
    if isinstance(first, Storage) and first.chunk % PAGE:
        raise ConfigError(
            f"hardware.storage.read_mib: {first.chunk:,} bytes; what is read past the page cache "
            f"is a multiple of {PAGE:,}"
        )
    if inputs.cpu_computes:
        raise ConfigError(
            f"misses.policy: {inputs.config.misses.policy}: a replay loads what is missing; its "
            "CPU has no experts to compute"
        )
    for i, (name, _, params) in enumerate(inputs.predictors):
        if params.cost_us is not None:
            raise ConfigError(
                f"predictor.{i}.cost_us: a replay runs the network of {name!r}, and takes no other "
                "cost"
            )
    return Layout.of(inputs)


def replay(
    inputs: Inputs,
    cost: CostModel,
    predictors: Sequence[ActivePredictor],
    path: LoadPath,
    tiers: tuple[Tier, Tier | None],
    kind: Kind,
    storage: Path | None,
    watch: Watch | None,
    progress: Progress | None,
) -> Measured:
    """Run the whole workload on the device of ``kind``.

    ``storage``: a folder for the file of experts, where they come from storage. Raises ConfigError
    and ReplayError.
    """
    layout = check(inputs, path)
    cache, host = tiers
    loader = Loader(cache, host, LoadRecords())
    with ExitStack() as stack:
        experts = _experts(layout, path, storage, stack, progress)
        device = stack.enter_context(HostDevice(Clock()))
        slots = _slots(cache, layout)
        staging = None if host is None else _slots(host, layout)
        device.stages = connect(device, path, loader, experts, slots, staging)
        for tier, held in ((cache, slots), (host, staging)):
            if tier is not None and held is not None:
                fill(tier, held, partial(_bring, experts, layout))
        products = Products(
            inputs.model,
            inputs.workload,
            layout.dtype,
            torch.device("cpu"),
            inputs.config.seed,
            longest(inputs.workload),
        )
        forward = ReplayPass(
            inputs.workload,
            products,
            device,
            loader,
            slots,
            predictors,
            decisions(inputs, loader, path, len(predictors)),
            cost,
            grouped=inputs.runtime.overlap == "grouped",
        )
        if watch is not None:
            watch(device, loader)
        with no_collection(), torch.inference_mode():
            forward.run()
    steps, layers, loads = forward.step_records, forward.layer_records, loader.records
    totals = Totals(
        layers.totals(steps.column("prefill"), inputs.workload.layers),
        forward.own_ns,
        loader.proposed,
        loader.counts,
        loads.landed,
        loader.moved_bytes,
    )
    outputs = products.outputs.float().cpu().numpy()
    del slots, staging, forward, device, products
    gc.collect()  # gigabytes, in cycles, that the next replay needs
    return Measured(layers, steps, loads, totals, outputs, machine())


def _slots(tier: Tier, layout: Layout) -> Slots:
    memory = aligned(Slots.needed(tier, layout) * layout.stride)
    return Slots(tier, memory.view(-1, layout.stride), layout)


def _bring(experts: Experts, layout: Layout, x: int, slot: torch.Tensor) -> None:
    experts.read(x, 0, layout.nbytes, slot)


def _experts(
    layout: Layout,
    path: LoadPath,
    storage: Path | None,
    stack: ExitStack,
    progress: Progress | None,
) -> Experts:
    if path.stages[0].name != "storage":
        return _in_memory(layout, progress)
    if storage is None:
        raise ConfigError(
            "--storage: experts come off storage on this machine: name a folder for their file of "
            f"{layout.experts * layout.stride / 2**30:.1f} GiB"
        )
    found = ExpertsInFile(layout, storage, progress)
    stack.callback(found.close)
    return found


@lru_cache(maxsize=1)
def _in_memory(layout: Layout, progress: Progress | None) -> ExpertsInMemory:
    """Kept for the next replay, which most often has the same."""
    memory = aligned(layout.experts * layout.stride)
    return ExpertsInMemory(layout, memory.view(-1, layout.stride), progress)


def machine() -> dict[str, str]:
    """What a replay ran on, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
