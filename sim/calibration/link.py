"""The link from host memory to the device: α and β, isolated, queued, and beside other work."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp, fixed, line


@dataclass
class LinkTimes:
    """µs of one copy by its bytes. Those beside other work are queued ones."""

    isolated: dict[int, Samples] = field(default_factory=dict)
    queued: dict[int, Samples] = field(default_factory=dict)
    pageable: dict[int, Samples] = field(default_factory=dict)
    back: dict[int, Samples] = field(default_factory=dict)
    both_ways: dict[int, Samples] = field(default_factory=dict)
    computing: dict[int, Samples] = field(default_factory=dict)


def findings(times: LinkTimes, stamp: Stamp) -> Findings:
    """Figures of ``host_link``: β and α of queued copies, and α of isolated ones at that β."""
    queued = line(times.queued)
    isolated = fixed(times.isolated, queued.gb_s.median)
    sizes = f"copies of {_size(min(times.queued))} to {_size(max(times.queued))}"
    notes = [
        Note(f"host link, {what}", line(table).gb_s, "GB/s")
        for what, table in (
            ("pageable memory", times.pageable),
            ("the way back", times.back),
            ("with traffic the other way", times.both_ways),
            ("while the device computes", times.computing),
        )
        if table
    ]
    notes += [
        Note(f"host link, {_size(size)} queued", _rate(size, samples), "GB/s")
        for size, samples in times.queued.items()
    ]
    return Findings(
        hardware={
            "host_link.gb_s": stamp.figure(queued.gb_s, f"{sizes} right behind one another"),
            "host_link.isolated_us": stamp.figure(
                isolated, f"{sizes} that find the link idle, until whoever asked knows"
            ),
            "host_link.back_to_back_us": stamp.figure(
                queued.fixed_us, f"{sizes} right behind one another"
            ),
        },
        notes=notes,
    )


def _rate(size: int, samples: Samples) -> Samples:
    return samples.through(lambda us: size / us / 1e3)


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:g} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:g} KiB"
