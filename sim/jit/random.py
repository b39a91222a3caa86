"""Draws of ``rng`` for compiled code: Python's integers have no size, these have 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from prefetch_sim.sim.jit import rng
from prefetch_sim.sim.jit.jit import PART, part


@part
def mix(z: Any) -> Any:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@part
def draw(seed: Any, a: Any, b: Any, c: Any) -> Any:
    z = np.uint64(seed)
    for key in (np.uint64(a), np.uint64(b), np.uint64(c)):
        z = mix(z) ^ key
    return mix(z)


@overload(rng.bits, jit_options=PART)  # type: ignore[untyped-decorator]
def bits(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
    def bits(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
        return np.int64(draw(seed, a, b, c) >> np.uint64(11))

    return bits


@overload(rng.uniform, jit_options=PART)  # type: ignore[untyped-decorator]
def uniform(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
    def uniform(seed: Any, a: Any, b: Any = 0, c: Any = 0) -> Any:
        return (draw(seed, a, b, c) >> np.uint64(11)) * (1.0 / 9007199254740992.0)

    return uniform


@overload(rng.pick, jit_options=PART)  # type: ignore[untyped-decorator]
def pick(seed: Any, a: Any, b: Any, c: Any, rows: Any, columns: Any) -> Any:
    def pick(seed: Any, a: Any, b: Any, c: Any, rows: Any, columns: Any) -> Any:
        bits = draw(seed, a, b, c)
        row = bits % np.uint64(rows)
        column = (bits >> np.uint64(40)) % np.uint64(columns)
        return np.int64(row), np.int64(column)

    return pick
