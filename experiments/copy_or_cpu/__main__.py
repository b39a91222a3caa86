"""``python -m prefetch_sim.experiments.copy_or_cpu``: every sweep, the figures, the page."""

from __future__ import annotations

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.copy_or_cpu import report
from prefetch_sim.experiments.copy_or_cpu.figure import draw

if __name__ == "__main__":
    studies.main("copy_or_cpu", __doc__, report.SWEEPS, report.read, draw, report.tables)
