"""What the routers saw, beside a captured trace: the inputs that predictors learn from.

A part ``part-00000.parquet`` has ``part-00000.KIND.npy`` beside it, float16 [rows, L, width]:

- ``layer_input``: the output of the layer's input norm, which attention reads;
- ``gate_input``: what the router reads;
- ``logits``: the router's score of every expert, before anything is chosen.

``gates.npz`` holds the matrices of routers that are one linear map, as nearly all are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prefetch_sim.traces.arrays import map_npy, read_npz
from prefetch_sim.traces.files import remove_numbered, replacing
from prefetch_sim.traces.parts import open_parts
from prefetch_sim.traces.trace import Array, Trace, TraceError

KINDS = ("layer_input", "gate_input", "logits")
GATES = "gates.npz"
BESIDE = "beside the parts"  # how the metadata of a capture ends what it says of its states


@dataclass(frozen=True)
class States:
    """One kind of state of a whole trace, read from disk where it is asked for."""

    parts: tuple[Array, ...]  # memory maps, float16 [rows, L, width]

    @property
    def rows(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def width(self) -> int:
        return int(self.parts[0].shape[2])

    def layer(self, layer: int, rows: Array) -> Array:
        """The state of ``rows`` (bool [T]) in one MoE layer, float16 [N, width]."""
        ends = np.cumsum([len(part) for part in self.parts])
        wanted = np.split(rows, ends[:-1])
        chosen = [part[keep, layer] for part, keep in zip(self.parts, wanted) if keep.any()]
        joined: Array = np.concatenate(chosen) if chosen else self.parts[0][:0, layer]
        return joined


def write_states(part: Path, states: Mapping[str, Array]) -> None:
    """Write the states of the rows of ``part``; each file appears only when it is complete."""
    for kind, values in states.items():
        with replacing(_path(part, kind)) as temporary, temporary.open("wb") as file:
            narrow = np.ascontiguousarray(values, np.float16)
            # Not np.save, whose error on a full disk does not say what it is.
            header = np.lib.format.header_data_from_array_1_0(narrow)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(narrow.data)


def remove_states(folder: Path, first: int) -> None:
    """Those beside the parts from number ``first`` on, which are yet to be written."""
    for kind in KINDS:
        remove_numbered(folder, f"part-*.{kind}.npy", first)


def open_states(folder: Path) -> dict[str, States]:
    """The kinds of states there are for every part of the trace in ``folder``.

    Raises TraceError for a kind that some parts lack, or whose file is damaged or another part's.
    """
    parts = open_parts(folder) if folder.is_dir() else []
    found = {}
    for kind in KINDS:
        paths = [_path(part.path, kind) for part in parts]
        there = [path for path in paths if path.exists()]
        if not there:
            continue
        if len(there) < len(paths):
            lacking = next(path for path in paths if not path.exists())
            raise TraceError(f"{lacking}: missing, though other parts have theirs")
        found[kind] = States(tuple(map_npy(path) for path in there))
        for part, path, values in zip(parts, paths, found[kind].parts):
            if len(values) != part.rows:  # of a capture that was killed, then begun anew
                raise TraceError(f"{path}: {len(values)} rows, its part has {part.rows}")
    return found


def said_of_states(trace: Trace) -> str:
    """What a trace's metadata says of its states, true of a copy without them too; else nothing."""
    said = trace.meta.recorded.get("states", "")
    here = trace.path is not None and trace.path.is_dir()
    return (
        f"{said} of the capture, not in this file" if said.endswith(BESIDE) and not here else said
    )


def states_copied(recorded: dict[str, str], source: str) -> dict[str, str]:
    """``recorded`` of the trace in ``source`` as a copy without its states has it."""
    said = recorded.get("states", "")
    return {**recorded, "states": f"{said} of {source}"} if said.endswith(BESIDE) else recorded


def no_states(trace: Trace, kind: str, option: str) -> str:
    """Why a trace lacks a kind of states, and what to do: ``option`` of a capture keeps it."""
    assert trace.path is not None
    said = trace.meta.recorded.get("states", "")
    if kind not in said or trace.path.is_dir():
        return f"which was not recorded: capture with {option}"
    folder = said.partition(f"{BESIDE} of ")[2] or "the folder that was captured"
    return f"which lies {BESIDE} of the capture, not in this file: give {folder}"


def write_gates(folder: Path, weight: Array, bias: Array) -> None:
    """The routers' own matrices, float32 [L, E, hidden] and [L, E], beside the states."""
    with replacing(folder / GATES) as temporary, temporary.open("wb") as file:
        np.savez(file, weight=weight, bias=bias)


def read_gates(folder: Path) -> tuple[Array, Array] | None:
    """``(weight, bias)`` as they were written; None where the capture kept none."""
    path = folder / GATES
    if not path.is_file():
        return None
    saved = read_npz(path)
    if not saved.keys() >= {"weight", "bias"}:
        raise TraceError(f"{path}: damaged: has no weight and bias")
    return saved["weight"], saved["bias"]


def _path(part: Path, kind: str) -> Path:
    return part.with_name(f"{part.stem}.{kind}.npy")
