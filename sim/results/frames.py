"""A finished run as pandas DataFrames: a row a request, a token, a layer-step or a load.

Each is a pure function of a Simulation. Times are ms of the run's clock, which begins at 0, and
NaN where that point was not reached. ``COLUMNS`` says what each column holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.engine.load import DISPOSITIONS, ORIGINS
from prefetch_sim.sim.engine.records import COUNTS, Rows
from prefetch_sim.sim.results.metrics import MS, by_request, latencies
from prefetch_sim.sim.results.simulation import Simulation

ENDS = (*DISPOSITIONS, "used", "landed")  # how a load ends, by its number in the records
STALLS = {  # as results name them, and as records do
    "demand_miss": "stall_demand",
    "late_prefetch": "stall_late",
    "queueing": "stall_queue",
    "storage": "stall_storage",
    "cpu": "stall_cpu",
}

COLUMNS: dict[str, dict[str, str]] = {
    "requests": {
        "request": "its place in the run, from 0",
        "request_id": "its number in the trace",
        "prompt_tokens": "tokens of its prompt",
        "output_tokens": "tokens that came out of decode steps",
        "start_ms": "when its first step began",
        "end_ms": "when its last step ended",
        "ttft_ms": "time to first token: its prefill; NaN without a prompt",
        "tpot_ms": "mean time per output token; NaN without any",
        "hit_rate": "share of its experts that were resident; NaN if steps had several requests",
    },
    "tokens": {
        "request": "as in requests",
        "token": "its place among what came out for the request, from 0",
        "step": "the forward pass that it came out of, from 0",
        "phase": "decode; prefill, of the first token after a prompt",
        "end_ms": "when it was out",
        "latency_ms": "since the request's last token; in prefill, since the step began (TTFT)",
    },
    "layer_steps": {
        "step": "the forward pass, from 0",
        "request": "whose step it was; none where it was of several",
        "layer": "the MoE layer, from 0",
        "phase": "prefill or decode",
        "tokens": "tokens that the step computes",
        "experts": "size of the routed set: different experts that its tokens use",
        "hits": "of them, resident when the layer was routed",
        "late": "of those missing, how many a prefetch had begun to load",
        "cpu": "of those missing, how many the CPU computed",
        "start_ms": "when the layer began",
        "routed_ms": "when its router had chosen",
        "end_ms": "when the layer was through",
        "stall_demand_miss_ms": "waiting for experts that nothing had asked for",
        "stall_late_prefetch_ms": "waiting for experts that a prefetch had begun to load",
        "stall_queueing_ms": "waiting because the link was busy with other loads",
        "stall_storage_ms": "waiting for storage",
        "stall_cpu_ms": "waiting for the CPU",
    },
    "loads": {
        "layer": "MoE layer of the expert",
        "expert": "its number in that layer",
        "bytes": "its size",
        "origin": "demand; prefetch; behind: the CPU computed it, and it is loaded for later",
        "predictor": "what proposed a prefetch; none for others",
        "for_step": "the forward pass that it was asked for",
        "for_layer": "and the layer",
        "request": "whose step that was; none where it was of several",
        "ended": "used or landed; of a prefetch, timely, late, useless, cancelled or dropped",
        "issued_ms": "when it was queued",
        "started_ms": "when it began to move",
        "landed_ms": "when it was in the cache",
        "needed_ms": "when its layer was routed to it",
        "settled_ms": "when it was known how it ended",
    },
}


def requests(done: Simulation) -> pd.DataFrame:
    """One row a request, in the trace's order. Columns: ``COLUMNS["requests"]``."""
    workload, table = done.inputs.workload, done.inputs.workload.table
    found = by_request(table, *latencies(table, done.steps))
    bounds = np.array([(first, last) for _, first, last in workload.requests]).reshape(-1, 2)
    prompt = np.concatenate([[0], np.cumsum(workload.trace.phase == 0)])
    step_of = np.empty(len(table.rows), dtype=np.int64)  # of each row of the trace
    step_of[table.rows] = np.repeat(np.arange(len(table.kind)), np.diff(table.first_row))
    first, last = step_of[bounds[:, 0]], step_of[bounds[:, 1] - 1]
    return _frame(
        "requests",
        request=np.arange(len(bounds)),
        request_id=[number for number, _, _ in workload.requests],
        prompt_tokens=prompt[bounds[:, 1]] - prompt[bounds[:, 0]],
        output_tokens=found["output_tokens"],
        start_ms=_ms(done.steps, "start")[first],
        end_ms=_ms(done.steps, "end")[last],
        ttft_ms=np.array(found["ttft_ms"], dtype=float),
        tpot_ms=np.array(found["tpot_ms"], dtype=float),
        hit_rate=_hit_rates(done, len(bounds)),
    )


def tokens(done: Simulation) -> pd.DataFrame:
    """One row a token that came out, by request. Columns: ``COLUMNS["tokens"]``.

    The mean ``latency_ms`` of ``phase == "decode"`` is the mean TPOT of the results, that of
    ``phase == "prefill"`` the mean TTFT.
    """
    table = done.inputs.workload.table
    between, first = latencies(table, done.steps)
    step = np.concatenate([table.first_out, table.out])
    request = np.concatenate([table.first_owner, table.owner])
    prefill = np.arange(len(step)) < len(first)
    latency = np.concatenate([first, between])
    order = np.lexsort((step, request))
    step, request, prefill = step[order], request[order], prefill[order]
    begins = np.searchsorted(request, request)  # where the rows of each one's request begin
    return _frame(
        "tokens",
        request=request,
        token=np.arange(len(request)) - begins,
        step=step,
        phase=_words(np.where(prefill, 1, 0), ("decode", "prefill")),
        end_ms=_ms(done.steps, "end")[step],
        latency_ms=latency[order] / MS,
    )


def layer_steps(done: Simulation) -> pd.DataFrame:
    """One row an MoE layer of a forward pass, in order. Columns: ``COLUMNS["layer_steps"]``.

    Raises ConfigError where the run kept no records.
    """
    records = done.layers
    _need(len(records) == len(done.steps) * done.inputs.workload.layers)
    step = records.column("step")
    return _frame(
        "layer_steps",
        step=step,
        request=_whole(_request_of(done)[step]),
        layer=records.column("layer"),
        phase=_words(done.steps.column("prefill")[step], ("decode", "prefill")),
        tokens=done.steps.column("tokens")[step],
        **{name: records.column(name) for name in COUNTS},
        **{f"{name}_ms": _ms(records, name) for name in ("start", "routed", "end")},
        **{f"stall_{name}_ms": _ms(records, recorded) for name, recorded in STALLS.items()},
    )


def loads(done: Simulation) -> pd.DataFrame:
    """One row a load that was queued, in the order in which they ended. ``COLUMNS["loads"]``.

    Proposals of experts that are resident or on their way queue nothing, and have no row. Raises
    ConfigError where the run kept no records.
    """
    records, layers = done.loads, done.inputs.workload.layers
    _need(records.keep)
    layer, expert = np.divmod(records.column("expert"), done.inputs.workload.experts)
    target = records.column("target")
    names = [name for name, _, _ in done.inputs.predictors]
    predictor = records.column("predictor")
    said = pd.array([None if i < 0 else names[i] for i in predictor.tolist()], dtype=object)
    times = ("issued", "started", "landed", "needed", "settled")
    return _frame(
        "loads",
        layer=layer,
        expert=expert,
        bytes=np.array(done.inputs.sizes, dtype=np.int64)[layer],
        origin=_words(records.column("origin"), ORIGINS),
        predictor=said,
        for_step=target // layers,
        for_layer=target % layers,
        request=_whole(_request_of(done)[target // layers]),
        ended=_words(records.column("disposition"), ENDS),
        **{f"{name}_ms": _ms(records, name) for name in times},
    )


def _request_of(done: Simulation) -> npt.NDArray[np.int64]:
    """The request of each step, -1 where it is of several."""
    workload, table = done.inputs.workload, done.inputs.workload.table
    starts = np.array([first for _, first, _ in workload.requests], dtype=np.int64)
    request = np.searchsorted(starts, table.rows, side="right") - 1  # of each row
    # A step has the rows of a request together.
    first, last = request[table.first_row[:-1]], request[table.first_row[1:] - 1]
    return np.where(first == last, first, -1)


def _whole(numbers: npt.NDArray[np.int64]) -> Any:
    """Whole numbers, none where they are negative."""
    return pd.arrays.IntegerArray(numbers, numbers < 0)


def _hit_rates(done: Simulation, requests: int) -> npt.NDArray[np.float64]:
    """Of each request, the share of routed experts that were resident."""
    of_step, records = _request_of(done), done.layers
    if (of_step < 0).any() or len(records) != len(done.steps) * done.inputs.workload.layers:
        return np.full(requests, np.nan)
    request = of_step[records.column("step")]
    hits, experts = (
        np.bincount(request, weights=records.column(name), minlength=requests)
        for name in ("hits", "experts")
    )
    rates: npt.NDArray[np.float64] = np.full(requests, np.nan)
    np.divide(hits, experts, out=rates, where=experts > 0)
    return rates


def _frame(name: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, columns=list(COLUMNS[name]))


def _ms(records: Rows, name: str) -> npt.NDArray[np.float64]:
    ns = records.column(name)
    found: npt.NDArray[np.float64] = np.where(ns < 0, np.nan, ns / MS)
    return found


def _words(numbers: npt.NDArray[np.integer], words: tuple[str, ...]) -> Any:
    """The word of each number, as a category."""
    codes: list[int] = numbers.tolist()
    return pd.Categorical.from_codes(codes, categories=pd.Index(words))


def _need(kept: bool) -> None:
    if not kept:
        raise ConfigError("this run kept no records of layers and loads: run it with records=True")
