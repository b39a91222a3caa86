"""Experts computed where they lie, in host memory, by the host's threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from prefetch_sim.sim.calibration.measuring.bench import Bench, Pool
from prefetch_sim.sim.calibration.memory import MANY, MemoryTimes
from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.replay.device import Engine, Mark, Work
from prefetch_sim.sim.replay.products import mlp

MIB = 2**20
_AHEAD = 1.5  # times as long as experts take alone, that transfers beside them are to last


def measure(
    bench: Bench,
    hidden: int,
    width: int,
    *,
    repeats: int,
    pool: int,
    threads: Sequence[int],
    reading: tuple[Engine, Work] | None = None,
) -> MemoryTimes:
    """Experts of ``hidden`` × ``width`` in ``pool`` bytes of host memory.

    ``reading``: an engine that reads off storage, and a read, where there is one.
    """
    times = MemoryTimes()
    expert = 3 * hidden * width
    nbytes = expert * bench.dtype.itemsize
    weights = torch.randn(max(2, pool // nbytes), expert).to(bench.dtype) * 0.02
    flat = weights.view(-1)
    run = _experts(weights, hidden, width, 1)
    for count in threads:
        with _threads(count):
            times.experts[count] = _us(run, repeats).through(lambda us: nbytes / us / 1e3)
            whole = _us(flat.max, max(3, repeats // 4))
            times.reads[count] = whole.through(lambda us: flat.nbytes / us / 1e3)
    with _threads(times.threads):
        flops = 6.0 * hidden * width * MANY
        many = _us(_experts(weights, hidden, width, MANY), max(3, repeats // 4))
        times.many = many.through(lambda us: flops / us / 1e6)
        tiny = torch.randn(8, 4096).to(bench.dtype)
        times.start = _us(_tiny(tiny), 10 * repeats)
        size = max(nbytes, 4 * MIB)
        room = max(pool, 2 * size)
        copy = bench.copying(
            Pool(bench.memory(room, "pinned"), size), Pool(bench.memory(room, "device"), size)
        )
        each = bench.queued_us(bench.incoming, [copy] * 8)
        times.copies = Samples.of(
            [size / bench.queued_us(bench.incoming, [copy] * 4) / 1e3 for _ in range(repeats)]
        )
        both = _beside(bench, bench.incoming, copy, each, run, repeats)
        times.experts_beside["copies"] = both[0].through(lambda us: nbytes / us / 1e3)
        times.copies_beside = both[1].through(lambda us: size / us / 1e3)
        if reading is not None:
            engine, read = reading
            each = bench.queued_us(engine, [read] * 4)
            beside, _ = _beside(bench, engine, read, each, run, repeats)
            times.experts_beside["reads"] = beside.through(lambda us: nbytes / us / 1e3)
    return times


def _beside(
    bench: Bench, engine: Engine, work: Work, each_us: float, run: Callable[[], object], n: int
) -> tuple[Samples, Samples]:
    """µs of ``run`` here while ``engine`` does ``work``, and of ``work`` meanwhile."""
    span = n * _us(run, 3).median * _AHEAD
    marks = [Mark("beside") for _ in range(max(4, min(4096, round(span / each_us))))]
    for mark in marks:
        engine.put(work, mark)
    ours = []
    for _ in range(n):
        begun = bench.device.now
        run()
        if marks[-1].end >= 0:  # nothing goes on beside any more
            break
        ours.append((bench.device.now - begun) / 1e3)
    now = bench.device.now
    for mark in marks:
        bench.device.until(mark)
    theirs = [(mark.end - mark.start) / 1e3 for mark in marks if mark.end <= now]
    return Samples.of(ours or [_us(run, 3).median]), Samples.of(theirs or [each_us])


def _experts(weights: torch.Tensor, hidden: int, width: int, tokens: int) -> Callable[[], object]:
    """Computes the next expert of ``weights`` [experts, elements] on ``tokens`` tokens."""
    both = 2 * width * hidden
    matrices = itertools.cycle(
        [(one[:both].view(2 * width, hidden), one[both:].view(hidden, width)) for one in weights]
    )
    x = torch.randn(tokens, hidden).to(weights.dtype)
    return lambda: mlp(x, next(matrices))


def _tiny(x: torch.Tensor) -> Callable[[], object]:
    """So little that what it takes is to start threads, and to join them again."""
    return lambda: x.add_(1.0)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _us(run: Callable[[], object], repeats: int) -> Samples:
    """By the clock of whoever calls: nothing of this is a device's."""
    run()
    found = []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        run()
        found.append((time.perf_counter_ns() - begun) / 1e3)
    return Samples.of(found)
