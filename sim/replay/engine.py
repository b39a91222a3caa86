"""Puts a replay together: experts, memories, engines and lanes, for the parts of a run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
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
from prefetch_sim.sim.replay.cuda import CudaDevice
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
from prefetch_sim.sim.replay.load_path import checks, connect
from prefetch_sim.sim.replay.machine import machine, memory_errors
from prefetch_sim.sim.replay.products import Products
from prefetch_sim.sim.replay.slots import Slots, check_held, fill
from prefetch_sim.sim.replay.warm_up import warm_up
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
    model, plain = inputs.model, {"gated": False, "value_dim": None, "shared_kv": False}
    odd = [
        name for name in ("other_attention", "bare_layers", "expert_input") if getattr(model, name)
    ]
    odd += [name for name, usual in plain.items() if getattr(model.attention, name, usual) != usual]
    if odd:
        raise ConfigError(f"model: {model.name} has {odd[0]}, which a replay does not compute")
    return Layout.of(inputs)


def replay(
    inputs: Inputs,
    cost: CostModel,
    predictors: Sequence[ActivePredictor],
    path: LoadPath,
    tiers: tuple[Tier, Tier | None],
    kind: Kind,
    storage: Path | None,
    pinned: int | None,
    watch: Watch | None,
    progress: Progress | None,
) -> Measured:
    """Run the whole workload on the device of ``kind``.

    ``storage``: a folder for the file of experts, where they come from storage; ``pinned``: the
    most bytes of host memory that a GPU's experts may take. Raises ConfigError and ReplayError.
    """
    gc.collect()  # gigabytes of the replay before, which lie in cycles
    layout = check(inputs, path)
    cache, host = tiers
    loader = Loader(cache, host, LoadRecords(), inputs.workload.table.prefill.tolist())
    # What reads a file ends before the file is closed.
    with memory_errors(), ExitStack() as files, _device(kind, path) as device:
        experts = _experts(layout, path, storage, device, pinned, files, progress)
        slots = _slots(cache, layout, device.memory)
        staging = None if host is None else _slots(host, layout, device.host_memory)
        device.stages = connect(device, path, loader, experts, slots, staging)
        held_by = [(cache, slots)]
        if host is not None and staging is not None:
            held_by.append((host, staging))
        for tier, held in held_by:
            fill(tier, held, partial(_bring, experts, layout))
        products = Products(
            inputs.model,
            inputs.workload,
            layout.dtype,
            device.computes_on,
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
            overlap=inputs.runtime.overlap,
        )
        with no_collection(), torch.inference_mode():
            warm_up(device, inputs.workload, products, slots.first, forward.networks)
            if watch is not None:
                watch(device, loader)
            device.begin()
            forward.run()
        for tier, held in held_by:
            check_held(tier, checks(experts, held))
        ran_on = machine() | device.about() | experts.about()
    steps, layers, loads = forward.step_records, forward.layer_records, loader.records
    totals = loader.totals(layers, steps, forward.own_ns)
    outputs = products.outputs.float().cpu().numpy()
    return Measured(layers, steps, loads, totals, outputs, ran_on)


def _device(kind: Kind, path: LoadPath) -> HostDevice | CudaDevice:
    if kind == "cpu":
        return HostDevice(Clock())
    if path.last.name != "host_link":
        raise ConfigError(
            "hardware.unified_memory: a GPU gets its experts over a link: --device cuda takes a "
            "machine with two memories"
        )
    return CudaDevice(Clock())


def _slots(tier: Tier, layout: Layout, memory: Callable[[int], torch.Tensor]) -> Slots:
    found = memory(Slots.needed(tier, layout) * layout.stride)
    return Slots(tier, found.view(-1, layout.stride), layout)


def _bring(experts: Experts, layout: Layout, x: int, slot: torch.Tensor) -> None:
    if slot.is_cpu:
        experts.read(x, 0, layout.nbytes, slot)
    else:  # a drive reads to host memory alone
        here = aligned(layout.stride)
        experts.read(x, 0, layout.nbytes, here)
        slot.copy_(here)


def _experts(
    layout: Layout,
    path: LoadPath,
    storage: Path | None,
    device: HostDevice | CudaDevice,
    pinned: int | None,
    files: ExitStack,
    progress: Progress | None,
) -> Experts:
    if path.stages[0].name != "storage":
        return _in_memory(layout, device, pinned, progress)
    if storage is None:
        raise ConfigError(
            "--storage: experts come off storage on this machine: name a folder for their file of "
            f"{layout.experts * layout.stride / 2**30:.1f} GiB"
        )
    found = ExpertsInFile(layout, storage, progress)
    files.callback(found.close)
    return found


_kept: dict[tuple[Layout, str], ExpertsInMemory] = {}  # of the last replay, for the next


def _in_memory(
    layout: Layout, device: HostDevice | CudaDevice, pinned: int | None, progress: Progress | None
) -> ExpertsInMemory:
    """Kept for the next replay, which most often has the same."""
    key = layout, f"{device.computes_on.type}, {pinned}"
    if key not in _kept:
        _kept.clear()  # before as much again is asked for
        blocks = max(1, min(layout.experts, device.most_pinned(pinned) // layout.stride))
        memory = device.host_memory(blocks * layout.stride).view(-1, layout.stride)
        _kept[key] = ExpertsInMemory(layout, memory, progress)
    return _kept[key]
