"""Host memory: what its cores read, and experts that they compute, alone and beside transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp

MANY = 64  # tokens whose products are bound by arithmetic
_ENOUGH = 0.95  # of the best rate: more threads than that needs are no gain


@dataclass
class MemoryTimes:
    """GB/s; ``reads`` and ``experts`` by threads, the rest at the threads that were best.

    ``many`` is tera-operations a second; ``start`` µs of a product too small to count.
    """

    reads: dict[int, Samples] = field(default_factory=dict)
    experts: dict[int, Samples] = field(default_factory=dict)
    many: Samples | None = None
    start: Samples | None = None
    copies: Samples | None = None
    experts_beside: dict[str, Samples] = field(default_factory=dict)  # copies, reads
    copies_beside: Samples | None = None

    @property
    def threads(self) -> int:
        """The fewest that come near the best rate."""
        best = max(samples.median for samples in self.experts.values())
        return min(n for n, one in self.experts.items() if one.median >= _ENOUGH * best)


def findings(times: MemoryTimes, stamp: Stamp) -> Findings:
    """Figures of ``cpu`` and ``contention``."""
    threads, many, start = times.threads, times.many, times.start
    alone, copies, beside = times.experts[threads], times.copies, times.copies_beside
    assert many is not None
    assert start is not None
    assert copies is not None
    assert beside is not None
    cpu = times.experts_beside["copies"]
    what = f"experts one by one out of host memory, {_count(threads)}"
    notes = [
        Note(f"host memory, reads by {_count(n)}", one, "GB/s") for n, one in times.reads.items()
    ]
    notes += [Note(f"CPU experts, {_count(n)}", one, "GB/s") for n, one in times.experts.items()]
    notes += [
        Note(f"CPU experts beside {name}", one, "GB/s")
        for name, one in times.experts_beside.items()
    ]
    notes += [Note("copies alone", copies, "GB/s"), Note("copies beside them", beside, "GB/s")]
    return Findings(
        hardware={
            "cpu.expert_gb_s.bf16": stamp.figure(alone, what),
            "cpu.tflops.bf16": stamp.figure(many, f"an expert on {MANY} tokens, {_count(threads)}"),
            "cpu.start_us": stamp.figure(start, f"an addition of 128 KiB, {_count(threads)}"),
            "cpu.threads": stamp.exact(
                threads, f"the fewest, of up to {max(times.experts)}, at {_ENOUGH:.0%} of the best"
            ),
            "contention.cpu": stamp.figure(
                _share(cpu, alone), "CPU experts beside copies, of what they reach alone"
            ),
            "contention.host_link": stamp.figure(
                _share(beside, copies), "copies beside CPU experts, of what they reach alone"
            ),
        },
        notes=notes,
    )


def _share(part: Samples, whole: Samples) -> Samples:
    return part.through(lambda rate: min(1.0, rate / whole.median))


def _count(threads: int) -> str:
    return f"{threads} thread{'' if threads == 1 else 's'}"
