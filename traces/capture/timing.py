"""How long attention, gate and experts of each layer take, by events on the device itself.

Events of its stream on a GPU, ``perf_counter`` on a CPU. What a hardware profile can be calibrated
from: one row a forward pass and layer that routes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from prefetch_sim.traces.capture.hooks import Hooks
from prefetch_sim.traces.capture.roles import Roles
from prefetch_sim.traces.files import replacing

PARTS = ("attention", "gate", "experts")


class TimingRecorder(Hooks):
    """A context manager; ``end_pass`` says what the forward pass just timed was."""

    def __init__(self, roles: Roles, device: torch.device) -> None:
        super().__init__()
        self._roles = roles
        self._backend = torch.get_device_module(device)
        self._events = device.type != "cpu"
        self._mark: Callable[[], Any] = self._event if self._events else time.perf_counter
        self._marks: dict[tuple[int, str], list[Any]] = {}
        self._passes: list[tuple[dict[str, int], dict[tuple[int, str], list[Any]]]] = []

    def __enter__(self) -> TimingRecorder:
        for layer, part in enumerate(self._roles.moe):
            for name, module in zip(PARTS, (part.mixer, part.router, part.experts)):
                if module is not None:
                    self._watch(module, (layer, name))
        return self

    def _watch(self, module: Any, key: tuple[int, str]) -> None:
        def note(*_: Any) -> None:
            self._marks.setdefault(key, []).append(self._mark())

        self._handles.append(module.register_forward_pre_hook(note))
        self._handles.append(module.register_forward_hook(note))

    def end_pass(self, **what: int) -> None:
        marks, self._marks = self._marks, {}
        self._passes.append((what, marks))

    def write(self, path: Path) -> pd.DataFrame:
        """Write what was timed since the last call, whole or not at all, and return it.

        Columns: those of ``end_pass``, ``context`` (tokens that attention looks at, padding
        included), ``layer``, and ``attention_us``, ``gate_us``, ``experts_us``.
        """
        self._backend.synchronize()
        rows, context = [], 0
        for what, marks in self._passes:
            context = what["tokens"] + (0 if what["prefill"] else context)
            for layer in range(len(self._roles.moe)):
                row: dict[str, float] = {**what, "context": context, "layer": layer}
                for name in PARTS:
                    pair = marks.get((layer, name), [])
                    row[f"{name}_us"] = self._micros(*pair) if len(pair) == 2 else float("nan")
                rows.append(row)
        self._passes = []
        frame = pd.DataFrame(rows)
        with replacing(path) as temporary:
            frame.to_parquet(temporary)
        return frame

    def _micros(self, start: Any, end: Any) -> float:
        seconds = start.elapsed_time(end) / 1e3 if self._events else end - start
        return round(1e6 * float(seconds), 3)

    def _event(self) -> Any:
        made = self._backend.Event(enable_timing=True)
        made.record()
        return made
