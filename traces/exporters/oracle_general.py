"""libCacheSim's oracleGeneral: every access with the index of the next to the same object.

24 bytes an access, little-endian, no header: ``u32 time, u64 obj_id, u32 size,
i64 next_access_vtime``, the last -1 where there is none. It is the only format of which
libCacheSim's Belady counts right.

An access is one expert of one routed set, in the order of tokens, layers and slots. The object is
the expert's flat id, ``layer * experts + e``; its time the token's row, its size the expert's
bytes. Sets are taken apart: libCacheSim may evict one expert of a set for another of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefetch_sim.traces.files import replacing
from prefetch_sim.traces.trace import Array, Trace, TraceError

ACCESS = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])


def write(path: Path, trace: Trace) -> None:
    """Every routed expert of ``trace``, at the sizes its model gives."""
    layers, experts, _ = trace.model.topology
    size = np.array(trace.model.bytes_per_expert())
    if size.max() > np.iinfo(np.uint32).max:
        raise TraceError(f"{path}: an expert of {size.max()} bytes; the format ends at 4 GiB")
    routed = trace.experts >= 0
    ids = trace.experts + np.arange(layers, dtype=np.int32)[:, None] * experts

    def of_accesses(values: Array) -> Array:
        return np.broadcast_to(values.astype(np.uint32), routed.shape)[routed]

    row = np.arange(trace.tokens)
    write_accesses(path, ids[routed], of_accesses(size[:, None]), of_accesses(row[:, None, None]))


def write_accesses(path: Path, ids: Array, size: Array | int = 1, time: Array | int = 0) -> None:
    """Accesses to ``ids`` in this order, as one file that appears only when it is complete."""
    accesses = np.empty(len(ids), ACCESS)
    accesses["time"], accesses["id"], accesses["size"] = time, ids, size
    accesses["next"] = next_accesses(ids)
    with replacing(path) as whole:
        accesses.tofile(whole)


def next_accesses(ids: Array) -> Array:
    """Index of the next access to the same id, -1 for none."""
    order = np.argsort(ids, kind="stable")
    following = np.full(len(ids), -1, np.int64)
    same = ids[order][1:] == ids[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    return following
