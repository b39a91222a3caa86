"""All steps of a workload as arrays: what bounds, metrics and the compiled engine read of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.workload.mapped_arrays import mapped
from prefetch_sim.sim.workload.step import Step

Integers = npt.NDArray[np.int64]


class StepTable(NamedTuple):
    """S steps of L layers. A kind is all steps whose own costs are the same."""

    kinds: tuple[Step, ...]  # one step of each
    kind: Integers  # [S]
    prefill: Integers  # [S]: 0 or 1
    requests: Integers  # [S]: how many
    rows: Integers  # [tokens]: of the trace, by step
    first_row: Integers  # [S + 1]
    routed: npt.NDArray[np.int32]  # [routed experts]: the routed sets, by step and layer
    tokens: npt.NDArray[np.int32]  # [routed experts]: how many each serves
    first_routed: Integers  # [S L + 1]
    served: tuple[int, ...]  # the numbers of tokens that experts serve, and 1
    several: Integers  # layer-steps of steps of several tokens
    # Tokens that come out, one a request and step: of a decode step, and the request's step before
    # it, the same one where it is the request's first; and of a prefill. Whose they are, by
    # the request's place in the workload.
    out: Integers  # [tokens out of decode]
    before: Integers  # [tokens out of decode]
    owner: Integers  # [tokens out of decode]
    first_out: Integers  # [requests with a prompt]
    first_owner: Integers  # [requests with a prompt]


def step_table(steps: Sequence[Step], flat: npt.NDArray[np.int32]) -> StepTable:
    """``flat`` [tokens, layers, k] expert ids, -1 where a layer did not route."""
    kinds: dict[Any, int] = {}
    kind = [kinds.setdefault((s.prefill, s.tokens, s.contexts), len(kinds)) for s in steps]
    out, before, owner, first_out, first_owner = [], [], [], [], []
    last: dict[int, int] = {}
    for step in steps:
        for request in step.requests:
            if step.prefill:
                first_out.append(step.number)
                first_owner.append(request)
            else:
                out.append(step.number)
                owner.append(request)
                before.append(last.get(request, step.number))
            last[request] = step.number
    lengths = [len(step.rows) for step in steps]
    routed, tokens, first_routed = _routed_sets(steps, flat, np.array(lengths))
    first_of_kind = np.unique(kind, return_index=True)[1]
    return StepTable(
        kinds=tuple(steps[i] for i in first_of_kind.tolist()),
        kind=integers(kind),
        prefill=integers([step.prefill for step in steps]),
        requests=integers([len(step.requests) for step in steps]),
        rows=integers([row for step in steps for row in step.rows]),
        first_row=integers([0, *np.cumsum(lengths)]),
        routed=mapped(routed),
        tokens=mapped(tokens),
        first_routed=mapped(first_routed),
        served=tuple(sorted({1, *np.flatnonzero(np.bincount(tokens)).tolist()})),
        several=np.flatnonzero(np.repeat(np.array(lengths) > 1, flat.shape[1])),
        out=integers(out),
        before=integers(before),
        owner=integers(owner),
        first_out=integers(first_out),
        first_owner=integers(first_owner),
    )


def integers(values: Any) -> Integers:
    return np.array(values, dtype=np.int64)


def union(chosen: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.integer], ...]:
    """(experts that any token chose, how many tokens each serves), the most used first.

    ``chosen`` are ids, -1 for none; ties go by the lowest id.
    """
    values, counts = np.unique(chosen[chosen >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return values[order], counts[order]


def _routed_sets(
    steps: Sequence[Step], flat: npt.NDArray[np.int32], lengths: Integers
) -> tuple[Any, Any, Any]:
    """(ids, tokens each serves, where each layer-step's begin)."""
    layers = flat.shape[1]
    alone = lengths == 1
    firsts = flat[[step.rows[0] for step in steps]]  # [steps, layers, k]
    counts = np.where(alone[:, None], (firsts >= 0).sum(axis=2), 0)
    several = {}
    for number in np.flatnonzero(~alone).tolist():
        for layer in range(layers):
            ids, served = union(flat[list(steps[number].rows), layer])
            several[number, layer] = ids, served
            counts[number, layer] = len(ids)
    first = integers(np.concatenate([[0], np.cumsum(counts)]))
    routed = np.empty(int(first[-1]), dtype=np.int32)
    tokens = np.ones(len(routed), dtype=np.int32)
    of_one = np.repeat(np.repeat(alone, layers), counts.ravel())
    routed[of_one] = firsts[alone][firsts[alone] >= 0]
    for (number, layer), (ids, served) in several.items():
        at = int(first[number * layers + layer])
        routed[at : at + len(ids)] = ids
        tokens[at : at + len(ids)] = served
    return routed, tokens, first
