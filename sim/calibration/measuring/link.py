"""Copies over the host link, by size: alone, queued, and beside traffic and compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prefetch_sim.sim.calibration.link import LinkTimes
from prefetch_sim.sim.calibration.measuring.bench import Bench, Pool, several
from prefetch_sim.sim.calibration.samples import Samples
from prefetch_sim.sim.replay.device import Work

_QUEUED = 8  # copies right behind one another


def measure(
    bench: Bench, sizes: Sequence[int], repeats: int, pool: int, busy: Work | None = None
) -> LinkTimes:
    """Copies of each of ``sizes`` bytes, between two buffers of ``pool`` bytes.

    ``busy`` is what computes where copies are measured beside that.
    """
    times = LinkTimes()
    device, pinned = bench.memory(pool, "device"), bench.memory(pool, "pinned")
    pageable = bench.memory(pool, "pageable") if bench.two_memories else None
    for size in sizes:
        copy = bench.copying(Pool(pinned, size), Pool(device, size))
        back = bench.copying(Pool(device, size), Pool(pinned, size))

        def each(us: Callable[[], float]) -> Samples:
            return Samples.of([us() for _ in range(repeats)])

        def queued(work: Work = copy) -> float:
            return bench.queued_us(bench.incoming, [work] * _QUEUED)

        def alone(work: Work = copy) -> float:
            return bench.isolated_us(bench.incoming, work)

        def coming_back(work: Work = back) -> float:
            return bench.queued_us(bench.outgoing, [work] * _QUEUED)

        queued()
        coming_back()
        times.isolated[size] = each(alone)
        times.queued[size] = each(queued)
        times.back[size] = each(coming_back)
        if pageable is not None:
            loose = bench.copying(Pool(pageable, size), Pool(device, size))
            times.pageable[size] = each(lambda work=loose: alone(work))  # type: ignore[misc]
        with bench.beside(bench.outgoing, several(back, _QUEUED)):
            times.both_ways[size] = each(queued)
        if busy is not None:
            with bench.beside(None, busy):
                times.computing[size] = each(queued)
    return times
