"""A device to measure on: the host's threads, or a GPU's streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from prefetch_sim.sim.calibration.measuring.bench import Bench, Place
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.replay.device import Clock
from prefetch_sim.sim.replay.experts import aligned
from prefetch_sim.sim.replay.host import HostDevice


@contextmanager
def open_bench(device: str) -> Iterator[Bench]:
    """A bench on ``device``, ``cpu`` or ``cuda``. Raises ConfigError where there is none."""
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("--device cuda: torch finds no CUDA device here")
        with cuda_bench() as bench:
            yield bench
    else:
        with host_bench() as bench:
            yield bench


@contextmanager
def host_bench() -> Iterator[Bench]:
    """The CPU as a replay has it: one thread computes in float32, others copy and read."""
    with HostDevice(Clock()) as device, torch.inference_mode():
        yield Bench(device, torch.float32, device.lanes, _touched, device.copy)


def _touched(nbytes: int, place: Place) -> torch.Tensor:
    return aligned(nbytes).fill_(1)


@contextmanager
def cuda_bench() -> Iterator[Bench]:
    raise NotImplementedError
    yield
