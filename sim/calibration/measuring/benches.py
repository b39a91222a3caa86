"""A device to measure on: the host's threads, or a GPU's streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from prefetch_sim.sim.calibration.measuring.bench import Bench, Place
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.replay.device import Clock, Work
from prefetch_sim.sim.replay.experts import aligned
from prefetch_sim.sim.replay.host import HostDevice

_WARM = 3  # runs before a graph is captured, in which libraries choose and allocate


def check_device(device: str) -> None:
    """Raise ConfigError where there is no such device, ``cpu`` or ``cuda``."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here")


@contextmanager
def open_bench(device: str) -> Iterator[Bench]:
    """A bench on ``device``, ``cpu`` or ``cuda``."""
    with cuda_bench() if device == "cuda" else host_bench() as bench:
        yield bench


@contextmanager
def host_bench() -> Iterator[Bench]:
    """The CPU as a replay has it: one thread computes in float32, others copy and read."""
    with HostDevice(Clock()) as device, torch.inference_mode():
        yield Bench(device, torch.float32, device.lanes, _touched, device.copy)


@contextmanager
def cuda_bench() -> Iterator[Bench]:
    """The GPU as a replay has it: streams that compute and copy, in bfloat16."""
    from prefetch_sim.sim.replay.cuda import CudaDevice

    with CudaDevice(Clock()) as device, torch.inference_mode():
        device.begin()
        yield Bench(
            device,
            torch.bfloat16,
            device.lanes,
            on_gpu(torch),
            device.copy,
            where="cuda",
            two_memories=True,
            captured=capturing(torch.cuda),
        )


def on_gpu(module: Any) -> Callable[[int, Place], torch.Tensor]:
    """Memory of a GPU and of its host. ``module``: torch, or what stands in for it."""

    def memory(nbytes: int, place: Place) -> torch.Tensor:
        if place == "device":
            made = module.ones(nbytes, dtype=torch.uint8, device="cuda")
        else:
            made = module.ones(nbytes, dtype=torch.uint8, pin_memory=place == "pinned")
        return made

    return memory


def capturing(cuda: Any) -> Callable[[Work], Work]:
    """Makes CUDA graphs of work. ``cuda``: torch.cuda, or what stands in for it."""

    def captured(work: Work) -> Work:
        side = cuda.Stream()
        with cuda.stream(side):
            for _ in range(_WARM):
                work()
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            work()
        replay: Work = graph.replay
        return replay

    return captured


def _touched(nbytes: int, place: Place) -> torch.Tensor:
    return aligned(nbytes).fill_(1)
