"""From a trace to forward passes: which tokens run together, and what each layer routes.

Requests run in file order in ``batch_size`` places; a request that ends frees its place. Those
admitted together are prefilled in one step; a decode step feeds one token of every running
request. Nothing here depends on time, so a run's steps are the same on any hardware.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.workload.future import Future
from prefetch_sim.sim.workload.mapped_arrays import mapped
from prefetch_sim.sim.workload.memos import Memos
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.step_table import StepTable, step_table, union
from prefetch_sim.traces.format import Trace

_BLOCK = 64  # rows turned into Python lists at a time: scalar access to lists is 5x faster


class RowLists:
    """Rows of an array as nested Python lists, converted a block at a time.

    ``blocks`` are kept: as many as there are places in the array that are read in turn.
    """

    def __init__(self, array: npt.NDArray[Any], blocks: int) -> None:
        self._array, self._keep = array, blocks
        self._blocks: dict[int, list[Any]] = {}

    def __getitem__(self, row: int) -> Any:
        number, offset = divmod(row, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) == self._keep:
                del self._blocks[next(iter(self._blocks))]  # rows are read upwards: the oldest
            first = number * _BLOCK
            block = self._blocks[number] = self._array[first : first + _BLOCK].tolist()
        return block[offset]


class Workload:
    """The steps of one trace at one batch size, and the routed set of each layer of each."""

    def __init__(self, trace: Trace, batch_size: int) -> None:
        self.trace = trace
        self.batch_size = batch_size
        self.layers, self.experts, self.top_k = trace.meta.model.topology
        self.requests = trace.requests
        self.memos = Memos()
        self._lists = self.lists(self.flat)
        self._row = -1  # the row last asked for, whose sets are kept at hand
        self._row_sets: list[list[int]] = []
        self._all_routed = bool((trace.experts[:, :, 0] >= 0).all())

    @cached_property
    def flat(self) -> npt.NDArray[np.int32]:
        """[tokens, layers, k] flat expert ids (layer · E + e), -1 where a layer did not route."""
        flat = mapped(self.flatten(self.trace.experts))
        flat.flags.writeable = False  # runs share it, and users' own predictors read it
        return flat

    @cached_property
    def table(self) -> StepTable:
        """Every step, as arrays."""
        return step_table(list(self.steps()), self.flat)

    @cached_property
    def popularity(self) -> npt.NDArray[np.int64]:
        """[layers, experts]: how many tokens each serves."""
        used = np.bincount(self.flat[self.flat >= 0], minlength=self.layers * self.experts)
        return used.reshape(self.layers, self.experts)

    def lists(self, array: npt.NDArray[Any]) -> RowLists:
        """Rows of a [tokens, ...] array for reading at the running requests' places."""
        return RowLists(array, 2 * self.batch_size + 2)

    def flatten(self, experts: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
        """Experts within their layer, [tokens, layers, m], to flat ids; negative ones to -1."""
        base = np.arange(self.layers, dtype=np.int32)[None, :, None] * self.experts
        flat: npt.NDArray[np.int32] = np.where(experts < 0, np.int32(-1), experts + base)
        return flat

    def steps(self) -> Iterator[Step]:
        """Every forward pass, in order."""
        waiting = iter(range(len(self.requests)))
        running: list[tuple[int, int, int]] = []  # (request, next row, end row)
        index = 0
        while True:
            admitted: list[tuple[int, int, int]] = []
            for request in islice(waiting, self.batch_size - len(running)):
                _, start, end = self.requests[request]
                admitted.append((request, start, end))
            prompts = [(r, s, self._prompt_end(s, e), e) for r, s, e in admitted]
            prefills = [p for p in prompts if p[2] > p[1]]
            if prefills:
                yield self._step(index, True, [(r, s, decode) for r, s, decode, _ in prefills])
                index += 1
            running += [(r, decode, end) for r, _, decode, end in prompts if decode < end]
            if not running:
                if not admitted:
                    return
                continue
            yield self._step(index, False, [(r, row, row + 1) for r, row, _ in running])
            index += 1
            running = [(r, row + 1, end) for r, row, end in running if row + 1 < end]

    def _prompt_end(self, start: int, end: int) -> int:
        return start + int(np.count_nonzero(self.trace.phase[start:end] == 0))

    def _step(self, index: int, prefill: bool, parts: list[tuple[int, int, int]]) -> Step:
        position = self.trace.position
        return Step(
            index,
            prefill,
            tuple(r for r, _, _ in parts),
            tuple(row for _, start, end in parts for row in range(start, end)),
            tuple(end - start for _, start, end in parts),
            tuple(int(position[start]) for _, start, _ in parts),
        )

    def routed(self, step: Step, layer: int) -> tuple[list[int], list[int] | None]:
        """(flat ids of the layer's routed set, tokens each serves).

        One token: best first, and None for the all-ones counts. Several: their union, the most
        used first (ties: lowest id).
        """
        if len(step.rows) == 1:
            row = step.rows[0]
            if row != self._row:
                self._row, self._row_sets = row, self._lists[row]
            ids = self._row_sets[layer]
            if self._all_routed or ids[0] >= 0:
                return ids, None
            return [], None
        ids_of_all, counts = union(self.token_sets(step, layer))
        return ids_of_all.tolist(), counts.tolist()

    def token_sets(self, step: Step, layer: int) -> npt.NDArray[np.int32]:
        """[tokens of the step, k] flat ids, -1 for a token that the layer did not route."""
        return self.flat[list(step.rows), layer]

    def future(self) -> Future:
        """The uses of every expert, once per routed set, for evictions that look ahead."""
        positions, start = self.uses
        return Future(positions, start.tolist(), start[:-1].tolist())

    @cached_property
    def uses(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The uses of every expert, (positions, start) as in ``Future``."""
        lengths = np.diff(self.table.first_row)
        step_of = np.empty(len(self.flat), dtype=np.int32)
        step_of[self.table.rows] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        layers = np.arange(self.layers, dtype=np.int32)
        when = np.add(step_of[:, None] * self.layers, layers, dtype=np.int32)
        used = self.flat >= 0
        ids = self.flat[used]
        when = np.broadcast_to(when[:, :, None], self.flat.shape)[used]
        if (lengths == 1).all():  # rows are in order, and no set repeats an expert
            few = self.layers * self.experts <= 1 << 16  # numpy sorts 16 bits ten times faster
            order = np.argsort(ids.astype(np.uint16) if few else ids, kind="stable")
        else:
            keys = ids.astype(np.int64) << 32 | when
            order = np.unique(keys, return_index=True)[1]
        count = np.bincount(ids[order], minlength=self.layers * self.experts)
        start = np.concatenate([[0], np.cumsum(count)])
        return mapped(when[order]), start
