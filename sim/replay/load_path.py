"""The load path on a real device: what each stage moves, from where to where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from prefetch_sim.sim.cost.transfers import HostLink, LoadPath
from prefetch_sim.sim.engine.loader import Loader
from prefetch_sim.sim.engine.transfer_queue import TransferQueue
from prefetch_sim.sim.replay.device import Engine, ReplayError, Work
from prefetch_sim.sim.replay.experts import Experts
from prefetch_sim.sim.replay.lanes import Lanes, Move, Piece
from prefetch_sim.sim.replay.slots import Slots


class Mover(Protocol):
    """What a device has for moving experts."""

    looks: bool  # at what lands in its own memory
    ahead: int  # copies asked of an engine at once

    def lanes(self, stage: str, count: int) -> Sequence[Engine]:
        """The engines that empty the queue of ``stage``."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy, on an engine of the host link."""


def connect(
    device: Mover,
    path: LoadPath,
    loader: Loader,
    experts: Experts,
    cache: Slots,
    host: Slots | None,
) -> list[Lanes]:
    """Connect ``loader`` with the stages of ``path``; ``host``: slots of what passes through it."""
    stages: list[Lanes] = []
    for number, stage in enumerate(path.stages):
        queue = TransferQueue(number, stage.chunk, loader.start)
        engines = device.lanes(stage.name, stage.lanes)
        if isinstance(stage, HostLink):
            engines = [*engines] * device.ahead
            move, target = _copies(device, experts, cache, host), cache
        else:
            target = host or cache
            move = _reads(experts, target)
        before = stages[-1] if stages else None
        looks = device.looks or target is host
        check = checks(experts, target) if looks else _passes
        stages.append(Lanes(stage.name, queue, engines, move, check, loader, before))
    loader.connect(stages)
    return stages


def _reads(experts: Experts, target: Slots) -> Move:
    def move(x: int, pieces: Sequence[Piece]) -> Work:
        slot = target.take(x)

        def work() -> None:
            for offset, nbytes in pieces:
                experts.read(x, offset, nbytes, slot)

        return work

    return move


def _copies(device: Mover, experts: Experts, cache: Slots, host: Slots | None) -> Move:
    def move(x: int, pieces: Sequence[Piece]) -> Work:
        slot = cache.take(x)
        source = experts.of(x) if host is None else host.take(x)

        def work() -> None:
            for offset, nbytes in pieces:
                end = offset + nbytes
                device.copy(slot[offset:end], source[offset:end])

        return work

    return move


def _passes(_: int) -> None:
    """It is looked at when all is over."""


def checks(experts: Experts, slots: Slots) -> Callable[[int], None]:
    """Raises ReplayError for an expert whose slot does not hold what it should."""
    digests = experts.digests

    def check(x: int) -> None:
        if not slots.holds(x, digests[x]):
            raise ReplayError(
                f"{experts.where}: expert {x} came as something else than was written: has it "
                "been changed since?"
            )

    return check
