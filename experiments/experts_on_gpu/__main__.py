"""``python -m prefetch_sim.experiments.experts_on_gpu``: every sweep, the figures, the page."""

from __future__ import annotations

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.experts_on_gpu import report
from prefetch_sim.experiments.experts_on_gpu.figure import draw

if __name__ == "__main__":
    studies.main("experts_on_gpu", __doc__, report.SWEEPS, report.read, draw, report.tables)
