"""Parts are taken into a kernel: what they call comes along, each once, and none may raise."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.errors import NumbaError

from prefetch_sim.sim.jit import jit
from prefetch_sim.sim.jit.jit import part


@part
def doubled(x: int) -> int:
    return 2 * x


@part
def odd(x: int) -> int:
    return doubled(x) + 1


@part
def checked(x: int) -> int:
    if x < 0:
        raise ValueError("too low")
    return x


def test_parts_call_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_kept_in", lambda _: None)

    def kernel(out: np.ndarray) -> None:  # type: ignore[type-arg]
        for i in range(3):
            out[i] = odd(i) + doubled(i)

    out = np.zeros(3, dtype=np.int64)
    jit.kernel(kernel)(out)
    assert out.tolist() == [1, 5, 9]


def test_a_part_that_raises_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_kept_in", lambda _: None)

    def kernel(x: int) -> int:
        return checked(x)

    with pytest.raises(NumbaError, match="checked is a part of a kernel"):
        jit.kernel(kernel)(1)
