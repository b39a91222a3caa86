"""A drive, read past the page cache by block size and by how many reads are under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp, line

MIB = 2**20
WHOLE = 0.85  # of the best rate: enough for larger reads where each is much work
ENOUGH = 0.95  # of the best rate: deeper queues and larger reads than that need are no gain


@dataclass
class StorageTimes:
    """``single`` [bytes]: µs of a read by itself; ``rate`` [bytes, depth]: GB/s of all together."""

    single: dict[int, Samples] = field(default_factory=dict)
    rate: dict[tuple[int, int], Samples] = field(default_factory=dict)


def findings(
    times: StorageTimes, stamp: Stamp, usual: int = MIB, least: float = ENOUGH
) -> Findings:
    """Figures of ``storage``, in which one formula has rates by size and depth.

    ``usual``: the most bytes of a read, as smaller ones are more work for whoever issues them;
    ``least``: the share of the best rate at the chosen depth that a size has to reach.
    """
    alone = line(times.single)
    best = max(samples.median for samples in times.rate.values())
    enough = [key for key, samples in times.rate.items() if samples.median >= ENOUGH * best]
    depth = min(depth for _, depth in enough)
    most = max(times.rate[key].median for key in times.rate if key[1] == depth)
    good = [
        block for (block, at), us in times.rate.items() if at == depth and us.median >= least * most
    ]
    block = max([block for block in good if block <= usual] or [min(good)])
    rate = times.rate[block, depth]
    deepest = max(depth for _, depth in times.rate)
    sizes = f"reads of {_size(min(times.single))} to {_size(max(times.single))}"
    return Findings(
        hardware={
            "storage.gb_s": stamp.figure(rate, f"{depth} reads of {_size(block)} at once"),
            "storage.stream_gb_s": stamp.figure(alone.gb_s, f"{sizes}, one at a time"),
            "storage.latency_us": stamp.figure(alone.fixed_us, f"{sizes}, one at a time"),
            "storage.queue_depth": stamp.exact(
                depth, f"the fewest reads at once, of up to {deepest}, at {ENOUGH:.0%} of the best"
            ),
            "storage.read_mib": stamp.exact(
                block / MIB,
                f"the largest up to {_size(usual)} with {least:.0%} of the best rate at that depth",
            ),
        },
        notes=[
            Note(f"storage, {_size(block)}, {depth} at once", samples, "GB/s")
            for (block, depth), samples in times.rate.items()
        ],
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / MIB:g} MiB" if nbytes >= MIB else f"{nbytes / 2**10:g} KiB"
