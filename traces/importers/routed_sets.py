"""Routed sets as a file gives them, one after another, put together to a trace.

For formats with one record a token and layer, in whatever order, that leave the model open. Each
record is checked as it is read, so that an error names its line.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from prefetch_sim.traces.errors import shown
from prefetch_sim.traces.importers.asked import Asked
from prefetch_sim.traces.importers.source import as_float
from prefetch_sim.traces.importers.tidy import NOTES, NUMBERED
from prefetch_sim.traces.trace import DECODE, PREFILL, Array, Trace, TraceError, TraceMeta

_APART = str.maketrans("[](),;", " " * 6)
_MOST = np.iinfo(np.int32).max  # of requests, positions and layers
_DIGITS = 9  # of numbers in text: fewer than _MOST has


class RoutedSets:
    """Records of one file; ``unit`` is what it counts them in, "line" or another word."""

    def __init__(self, path: Path, asked: Asked, unit: str = "line") -> None:
        self.path, self.model, self.unit = path, asked.require_model(path), unit
        self._requests: dict[int | str, int] = {}  # as the file has them, in order of first use
        self._keys = {key: array("q") for key in ("at", "request", "position", "layer", "phase")}
        self._experts, self._weights = array("h"), array("d")

    def add(
        self,
        at: int,
        request: Any,
        position: Any,
        layer: Any,
        experts: Any,
        *,
        phase: int = DECODE,
        weights: Any = None,
        absent: bool = False,
    ) -> None:
        """The set of one token in one layer, best first; ``absent`` where it did not route.

        A request is a number or a text.
        """
        if type(request) not in (int, str):
            raise self.wrong(at, f"request {shown(request)} is neither a whole number nor a text")
        for name, value in (("position", position), ("layer", layer)):
            if type(value) is not int or not 0 <= value <= _MOST:
                raise self.wrong(at, f"{name} {shown(value)} is not a whole number in 0..{_MOST}")
        width = self.model.top_k
        if not absent:
            self.check(at, experts, width)
        if weights is not None:
            if not isinstance(weights, list) or any(type(w) not in (int, float) for w in weights):
                raise self.wrong(at, "expected a list of numbers as weights")
            if len(weights) != width:
                raise self.wrong(at, f"{len(weights)} weights, expected {width}")
            self._weights.extend(map(as_float, weights))
        number = self._requests.setdefault(request, len(self._requests))
        for key, value in zip(self._keys, (at, number, position, layer, phase)):
            self._keys[key].append(value)
        if len(self._weights) not in (0, len(self._keys["at"]) * width):
            raise self.wrong(at, "weights are given in some records, not in others")
        self._experts.extend([-1] * width if absent else experts)

    def check(self, at: int, experts: Any, width: int, what: str = "experts") -> None:
        """Refuse anything but a list of ``width`` different experts of the model."""
        if not isinstance(experts, list) or any(type(expert) is not int for expert in experts):
            raise self.wrong(at, f"expected a list of whole numbers as {what}")
        if len(experts) != width:
            raise self.wrong(at, f"{len(experts)} {what}, expected {width}")
        for expert in experts:
            if not 0 <= expert < self.model.experts:
                last = self.model.experts - 1
                message = f"expert {shown(expert)} out of range 0..{last} of {self.model.name}"
                raise self.wrong(at, message)
        if len(set(experts)) < width:
            twice = next(expert for expert in experts if experts.count(expert) > 1)
            raise self.wrong(at, f"expert {twice} twice in one set")

    def trace(self, *, phased: bool = True, **recorded: str) -> Trace:
        """All records as a trace, requests and positions in rising order.

        Every token needs a record of every layer that routes, but for the last layer: many engines
        route only the last token of a prompt there. ``phased``: the file says which tokens are a
        prompt's; else any of a request's first tokens may be. Rows are known from here on:
        ``scatter`` and ``by_row`` put what else the file says beside them.
        """
        self.at, request, position, layer, phase = map(np.asarray, self._keys.values())
        if not len(self.at):
            raise TraceError(f"{self.path}: no routed sets in it")
        numbers = [name for name in self._requests if isinstance(name, int) and 0 <= name <= _MOST]
        if len(numbers) == len(self._requests):
            request = np.array(numbers)[request]
            self._requests = {number: number for number in numbers}
        else:
            recorded = {NOTES: NUMBERED, **recorded}
        keys, row = np.unique(np.stack([request, position], 1), axis=0, return_inverse=True)
        self.row, self.rows = row.reshape(-1), len(keys)
        names = self._layer_names(layer)
        self.place = self.row * self.model.moe_layers + np.searchsorted(names, layer)
        phases = self.by_row(phase, "phase").astype(np.int8)
        self._check_places(keys, names, phases if phased else np.full(len(keys), PREFILL))
        weights = self.scatter(np.asarray(self._weights), 0) if len(self._weights) else None
        return Trace(
            path=self.path,
            meta=TraceMeta(model=self.model, recorded={"source": self.path.name, **recorded}),
            request_id=keys[:, 0].astype(np.int32),
            position=keys[:, 1].astype(np.int32),
            phase=phases,
            token_id=None,
            experts=self.scatter(np.asarray(self._experts), -1),
            weights=weights,
        )

    def scatter(self, values: Array, missing: float) -> Array:
        """Values of the records, some for each, as [rows, layers, ...]."""
        values = values.reshape(len(self.place), -1)
        layers = self.model.moe_layers
        out = np.full((self.rows * layers, values.shape[1]), missing, values.dtype)
        out[self.place] = values
        return out.reshape(self.rows, layers, -1)

    def by_row(self, values: Array, what: str) -> Array:
        """One value a row, which all records of the row must agree on."""
        out = np.empty(self.rows, values.dtype)
        out[self.row[::-1]] = values[::-1]  # of several the first stays
        differs = out[self.row] != values
        if differs.any():
            raise self.wrong(self.at[np.argmax(differs)], f"{what} differs between layers")
        return out

    def number(self, at: int, name: str, text: str) -> int:
        """A whole number that a text file has as ``name``."""
        digits = text.strip()
        if not digits.isascii() or not digits.isdigit() or len(digits) > _DIGITS:
            raise self.wrong(
                at, f"{name} {shown(text)} is not a whole number in 0..{_DIGITS * '9'}"
            )
        return int(digits)

    def numbers(self, at: int, name: str, text: str) -> list[int]:
        """Whole numbers in one field: ``[1, 2]``, ``1,2``, ``1 2`` or ``1;2``."""
        return [self.number(at, name, word) for word in text.translate(_APART).split()]

    def floats(self, at: int, name: str, text: str) -> list[float]:
        """Numbers in one field, in the same forms; ``nan`` is one."""
        try:
            return [float(word) for word in text.translate(_APART).split()]
        except ValueError:
            raise self.wrong(at, f"{name} {shown(text)} are not numbers") from None

    def wrong(self, at: int, message: str) -> TraceError:
        return TraceError(f"{self.path}: {self.unit} {at}: {message}")

    def _layer_names(self, layer: Array) -> Array:
        """The layers that route, numbered as the file does: all layers, or these alone."""
        all_layers = np.array(self.model.moe_layer_indices)
        for names in (all_layers, np.arange(len(all_layers))):
            if np.isin(layer, names).all():
                return names
        first = int(np.argmin(np.isin(layer, all_layers)))
        message = f"layer {layer[first]} is none of the routers of {self.model.name}"
        found = len(np.unique(layer))
        if found > len(all_layers):
            message += f": the file has {found} layers, the model {len(all_layers)} that route"
        raise self.wrong(self.at[first], message)

    def _check_places(self, keys: Array, names: Array, phase: Array) -> None:
        count = np.bincount(self.place, minlength=self.rows * len(names))
        if count.max() > 1:
            again = np.ones(len(self.place), bool)
            again[np.unique(self.place, return_index=True)[1]] = False
            raise self.wrong(self.at[np.argmax(again)], "the same token and layer again")
        lacks = count.reshape(self.rows, -1) == 0
        lacks[:, -1] &= ~self._before_the_last(keys[:, 0], lacks[:, -1], phase)
        found = len(np.unique(self.place % len(names)))
        if lacks.any() and found < len(names):
            raise TraceError(
                f"{self.path}: the file has {found} layer{'s'[: found - 1]}, {self.model.name} has "
                f"{len(names)} that route"
            )
        if lacks.any():
            row, layer = np.argwhere(lacks)[0].tolist()
            number, position = keys[row].tolist()
            name = next((name for name, n in self._requests.items() if n == number), number)
            raise TraceError(
                f"{self.path}: request {shown(name)}, position {position}: no experts of layer "
                f"{names[layer]}"
            )

    @staticmethod
    def _before_the_last(request: Array, lacks: Array, phase: Array) -> Array:
        """Rows of a prompt before the first row of their request that the last layer routed."""
        has = np.flatnonzero(~lacks)
        after = np.searchsorted(has, np.arange(len(lacks)))  # the next row that has it
        first = np.searchsorted(request, request)  # of each row's request
        none_yet = np.searchsorted(has, first) == after
        follows = after < len(has)
        follows[follows] = request[has[after[follows]]] == request[follows]
        return np.asarray(none_yet & follows & (phase == PREFILL))
