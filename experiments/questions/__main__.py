"""``python -m prefetch_sim.experiments.questions``: every sweep, the figure, the page."""

from __future__ import annotations

from prefetch_sim.experiments import studies
from prefetch_sim.experiments.questions import report
from prefetch_sim.experiments.questions.figure import draw

if __name__ == "__main__":
    studies.main("questions", __doc__, report.SWEEPS, report.read, draw, report.tables)
