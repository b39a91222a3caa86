"""BigMoeOnEdge's metrics, one row a decode step: what its drive gave and its bookkeeping took.

Columns as in Helldez/BigMoeOnEdge, docs/bench-data; checked on its two runs of 2026-07-15. It reads
in lanes, whose number it does not write down: its default of four is taken.
"""

from __future__ import annotations

import csv

import numpy as np
from scipy.stats import theilslopes

from prefetch_sim.sim.calibration.samples import Findings, Note, Samples, Stamp
from prefetch_sim.sim.calibration.sources.broken import SourceError

_LANES = 4
_FEWEST = 8  # steps that say anything
_MIB = 2**20
_NEEDED = ("wall_ms", "io_ms", "read_bytes")
_OWN = "mgmt_ms"  # bookkeeping: older files have none
_UNSURE = 0.25  # of a rate that goes by the number of lanes, all of which need not be at work


def read(text: str, name: str, date: str) -> Findings:
    """Findings of the machine that ``name`` ran on. Raises SourceError."""
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    missing = [key for key in _NEEDED if not rows or key not in rows[0]]
    if missing:
        raise SourceError(f"no column {', '.join(missing)}, which every step has")
    if len(rows) < _FEWEST:
        raise SourceError(f"{len(rows)} steps are too few, {_FEWEST} are needed")
    wall, io, nbytes = (_column(rows, key) for key in _NEEDED)
    stamp = Stamp(date, f"the machine of {name}", "BigMoeOnEdge")
    read_at_all = (nbytes > 0) & (io > 0)
    if read_at_all.sum() < _FEWEST:
        raise SourceError("hardly a step has read anything: nothing to be learnt of the drive")
    lane = Samples.of((nbytes / io / 1e6)[read_at_all].tolist())
    together = lane.through(lambda rate: _LANES * rate)
    note = f"bytes over the time of reads, {_LANES} lanes: an upper bound"
    found = Findings(
        hardware={"storage.gb_s": stamp.figure(together, note, _UNSURE)},
        notes=[
            Note("a step", Samples.of(wall.tolist()), "ms"),
            Note("storage, one lane of several", lane, "GB/s"),
        ],
    )
    if _OWN in rows[0]:
        each, start, low, high = theilslopes(_column(rows, _OWN), nbytes / _MIB)
        slope = sorted(max(0.0, 1e3 * float(x)) for x in (low, each, high))
        fixed = max(0.0, 1e3 * float(start))
        found.runtime |= {
            "miss.us_per_mib": stamp.figure(
                Samples(len(rows), slope[0], slope[1], slope[2]),
                "bookkeeping against what was read, by step",
            ),
            "step_us": stamp.figure(
                Samples(len(rows), fixed, fixed, fixed),
                "bookkeeping of a step that reads nothing",
                _UNSURE,
            ),
        }
    return found


def _column(rows: list[dict[str, str]], key: str) -> np.ndarray:
    try:
        found = np.array([float(row[key]) for row in rows])
    except (TypeError, ValueError):
        raise SourceError(f"{key}: not a number in every step") from None
    if not np.isfinite(found).all() or (found < 0).any():
        raise SourceError(f"{key}: not a number of at least 0 in every step")
    return found
