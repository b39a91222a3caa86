"""A predictor's predictions, all of them, worked out before the run.

A predictor knows routing and never time, so what it says does not depend on the machine: it is
played once over the workload, and engines look predictions up. Runs that differ only in hardware
or cache share the table.
"""

from __future__ import annotations

import numpy as np

from sim.predictors.base import Predictor, Table
from sim.workload import Step, Workload


def tabulate(predictor: Predictor, workload: Workload) -> Table:
    """All that ``predictor`` says over ``workload``, asked in the order of a run."""
    if (at_once := predictor.table()) is not None:
        return at_once
    tokens, layers = len(workload.flat), workload.layers
    ids = np.full((tokens, layers, workload.top_k), -1, dtype=np.int32)
    scores = np.zeros(ids.shape, dtype=np.float32)

    def fire(step: Step, layer: int) -> None:
        nonlocal ids, scores
        target = layer + predictor.distance
        if target >= layers or (said := predictor.predict(step, target)) is None:
            return
        rows = list(step.rows)
        named = np.array(said.ids, dtype=np.int32).reshape(len(rows), -1)
        m = named.shape[1]
        if m > ids.shape[2]:
            more = ((0, 0), (0, 0), (0, m - ids.shape[2]))
            ids, scores = np.pad(ids, more, constant_values=-1), np.pad(scores, more)
        ids[rows, target, :m] = named
        scores[rows, target, :m] = np.array(said.scores, dtype=np.float32).reshape(len(rows), m)

    after = predictor.trigger == "routed"
    for step in workload.steps():
        for layer in range(layers):
            if not after:
                fire(step, layer)
            predictor.observe(step, layer)
            if after:
                fire(step, layer)
    return Table(ids, scores)
