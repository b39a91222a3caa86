"""Chooses the experts that are in the cache from the start and never leave (``cache.static``)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.config.errors import ConfigError, did_you_mean
from prefetch_sim.sim.config.schema import StaticConfig
from prefetch_sim.sim.config.values import Capacity
from prefetch_sim.sim.setup.coli_usage import is_usage, read_usage
from prefetch_sim.sim.workload.workload import Workload
from prefetch_sim.traces.errors import looked_for
from prefetch_sim.traces.models.spec import ModelSpec

Counts = npt.NDArray[np.int64]  # [layers, experts]: how much each is used


def static_experts(
    static: StaticConfig | None, workload: Workload, sizes: Sequence[int], total: int
) -> tuple[int, ...]:
    """Flat ids, in order; ``total`` bytes has the cache. Raises ConfigError.

    Whether they fit there is for ``capacities.cache_bytes`` to say.
    """
    if static is None:
        return ()
    shape = workload.layers, workload.experts
    if static.layers is not None:
        layers = _layers(static.layers, [shape[1] * size for size in sizes], total)
        first = [layer * shape[1] for layer in layers]
        return tuple(x for begin in first for x in range(begin, begin + shape[1]))
    if static.experts is not None:
        return _named(static.experts, shape)
    counts = workload.popularity
    if static.counts is not None:
        counts = _counts(static.counts, shape, workload.trace.model)
    if static.popular is not None:
        return _popular(counts, sizes, _bytes(static.popular, shape[1], sizes, total))
    assert static.uniform is not None
    return _uniform(counts, sizes, _bytes(static.uniform, shape[1], sizes, total))


def _layers(named: str | Sequence[int], sizes: Sequence[int], room: int) -> list[int]:
    """``sizes``: bytes of each layer's experts."""
    layers = len(sizes)
    if isinstance(named, str):
        side, count = named.split()
        if count == "fill":
            ordered = sizes if side == "first" else sizes[::-1]
            fit = sum(so_far <= room for so_far in accumulate(ordered))
            if fit == 0:
                _too_little("layers", room, f"the {side} layer", ordered[0])
            count = str(fit)
        if int(count) > layers:
            raise ConfigError(f"cache.static.layers: {named!r}, but the model has {layers}")
        begin = 0 if side == "first" else layers - int(count)
        return list(range(begin, begin + int(count)))
    for i, layer in enumerate(named):
        if layer >= layers:
            raise ConfigError(
                f"cache.static.layers: there is no MoE layer {layer}, the model has {layers} "
                f"(0 to {layers - 1})"
            )
        if layer in named[:i]:
            raise ConfigError(f"cache.static.layers: {layer} is named twice")
    return sorted(named)


def _bytes(wanted: Capacity, experts: int, sizes: Sequence[int], total: int) -> int:
    return total if wanted.fill else wanted.resolve(np.repeat(sizes, experts).tolist(), total)


def _popular(counts: Counts, sizes: Sequence[int], room: int) -> tuple[int, ...]:
    """The most used of all, as far as they fit in ``room``."""
    layers, experts = counts.shape
    least = min(sizes)
    # Those used alike: the layers evenly, the lowest ids first.
    order = np.argsort(-counts.T.ravel(), kind="stable")
    chosen = []
    for i in order.tolist():
        if room < least:
            break
        e, layer = divmod(i, layers)
        if sizes[layer] <= room:
            room -= sizes[layer]
            chosen.append(layer * experts + e)
    if not chosen:
        _too_little("popular", room, "one expert", least)
    return tuple(sorted(chosen))


def _uniform(counts: Counts, sizes: Sequence[int], room: int) -> tuple[int, ...]:
    """The most used of each layer, as many of each as fit in ``room``."""
    experts, lap = counts.shape[1], sum(sizes)
    each = min(room // lap, experts)
    if each == 0:
        _too_little("uniform", room, "one expert of each layer", lap)
    order = np.argsort(-counts, axis=1, kind="stable")[:, :each]
    chosen: list[int] = (order + np.arange(len(sizes))[:, None] * experts).ravel().tolist()
    return tuple(sorted(chosen))


def _too_little(way: str, room: int, what: str, needed: int) -> None:
    raise ConfigError(
        f"cache.static.{way}: {room / 2**20:.1f} MiB cannot hold {what} ({needed / 2**20:.1f} MiB)"
    )


# Experts by layer and number.


def _named(named: str | Sequence[tuple[int, int]], shape: tuple[int, int]) -> tuple[int, ...]:
    if isinstance(named, str):
        pairs: Iterable[tuple[str, Sequence[int]]] = _rows(
            "cache.static.experts", named, ("layer", "expert")
        )
    else:
        pairs = ((f"cache.static.experts: {list(pair)}", pair) for pair in named)
    found: dict[int, None] = {}
    for where, (layer, e) in pairs:
        _add(found, where, layer, e, shape)
    return tuple(sorted(found))


def _counts(file: str, shape: tuple[int, int], model: ModelSpec) -> Counts:
    key, (layers, experts) = "cache.static.counts", shape
    if is_usage(file):
        return read_usage(key, file, model)
    found: dict[int, None] = {}
    counts = np.zeros(shape, dtype=np.int64)
    for where, (layer, e, count) in _rows(key, file, ("layer", "expert", "count")):
        _add(found, where, layer, e, shape)
        counts[layer, e] = count
    for x in range(layers * experts):
        if x not in found:
            raise ConfigError(
                f"{key}: {file}: no row for layer {x // experts}, expert {x % experts}: "
                f"{len(found)} of {layers} MoE layers x {experts} experts are there"
            )
    return counts


def _add(found: dict[int, None], where: str, layer: int, e: int, shape: tuple[int, int]) -> None:
    for what, given, limit in (("layer", layer, shape[0]), ("expert", e, shape[1])):
        if given >= limit:
            raise ConfigError(
                f"{where}: there is no {what} {given}, the model has {shape[0]} MoE layers x "
                f"{shape[1]} experts, counted from 0"
            )
    x = layer * shape[1] + e
    if x in found:
        raise ConfigError(f"{where}: layer {layer}, expert {e} is named twice")
    found[x] = None


def _rows(key: str, file: str, columns: tuple[str, ...]) -> list[tuple[str, list[int]]]:
    """(where it is, the numbers) of each row of a CSV."""
    try:
        with Path(file).expanduser().open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened)
            names = [name.strip() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            for column in columns:
                if column not in names:
                    near = did_you_mean(column, names)
                    raise ConfigError(f"{key}: {file}: no column {column!r}{near}")
            found = list(rows)
    except ConfigError:
        raise
    # Beside what is no text: no such user's home, a path with a NUL.
    except (OSError, RuntimeError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        looked = looked_for(file) if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{key}: {file}: cannot be read ({reason}){looked}") from error
    if not found:
        raise ConfigError(f"{key}: {file}: no rows")
    numbers = []
    for i, row in enumerate(found, start=1):
        where = f"{key}: {file}: row {i}"
        for column in columns:
            text = (row[column] or "").strip()
            if not (text.isascii() and text.isdecimal() and len(text) < 19):
                raise ConfigError(f"{where}: {text!r} is no number ({column})")
        numbers.append((where, [int(row[column]) for column in columns]))
    return numbers
