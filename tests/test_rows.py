"""Tables with named columns are the same memory to the host, to a kernel and to plain Python."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit

from prefetch_sim.sim.compiled.progress import LayerRow, LoadRow, StepRow
from prefetch_sim.sim.engine.records import LayerRecords, LoadRecords, StepRecords
from prefetch_sim.sim.jit.pointers import bare
from prefetch_sim.sim.jit.rows import Grid, Row, Table, cells, column, layout, plain, table


class Load(Row):
    key: int
    started: int
    rate: float


class Pair(Row):
    one: int
    other: int


class State(NamedTuple):
    loads: Table[Load]
    lanes: Grid[Load]
    at: Load
    small: Any  # int8
    costs: Any  # of two axes


def state() -> State:
    return State(
        loads=table(Load, 3, started=-1, key=[5, 6, 7]),
        lanes=table(Load, (2, 3), started=[[1, 2, 3], [4, 5, 6]]),
        at=table(Load, rate=0.5),
        small=np.array([1, -1, 3], dtype=np.int8),
        costs=np.arange(6).reshape(3, 2),
    )


def work(given: State) -> float:
    """It reads and writes all there is; each line's result depends on those before."""
    s = bare(given)
    for i in range(3):
        load = s.loads[i]
        load.started += 10 * load.key + s.small[i]
        s.costs[i][1] += load.started
        s.at.key += s.costs[i][0] + s.costs[i][1]
    s.small[0] -= 3
    first, last = s.lanes[0][2], s.lanes[1][2]
    first.rate = s.at.rate + last.started
    s.at.rate *= 2
    first.key, last.key = last.started, first.started
    return float(first.rate + s.small[0])


def test_a_kernel_writes_what_plain_python_does() -> None:
    compiled, python = state(), state()
    assert njit(_nrt=False)(work)(compiled) == work(python) == 6.5 - 2
    for one, other in zip(compiled, python):
        assert one.tolist() == other.tolist()
    assert python.loads.started.tolist() == [50, 58, 72]  # type: ignore[attr-defined]
    assert python.at.rate == 1.0
    assert python.at.key == 50 + 58 + 72 + 9 + 6
    assert [row.key for row in python.lanes[0]] == [0, 0, 6]  # type: ignore[attr-defined]


def test_a_column_that_is_not_there_is_no_column() -> None:
    def reads(given: State) -> Any:
        return bare(given).loads[0].began  # type: ignore[attr-defined]

    with pytest.raises(AttributeError):
        reads(state())
    with pytest.raises(Exception, match="began"):
        njit(_nrt=False)(reads)(state())


def test_a_kernel_needs_no_gaps() -> None:
    gaps = state()._replace(small=np.zeros(6, dtype=np.int8)[::2])
    with pytest.raises(Exception, match=r"State\.small has gaps"):
        njit(_nrt=False)(work)(gaps)


def test_rows_are_what_their_table_is_told() -> None:
    class Strict(list):  # type: ignore[type-arg]
        def __getitem__(self, i: Any) -> Any:
            assert 0 <= i < len(self)
            return super().__getitem__(i)

    strict = plain(state(), array=Strict, rows=Strict)
    for part in (strict.loads, strict.lanes, strict.lanes[0], strict.small, strict.costs):
        with pytest.raises(AssertionError):
            part[-1]
        assert part[0] is not None


def test_the_host_reads_columns() -> None:
    lanes = table(Load, 2, key=[1, 2], started=3)
    column(lanes, "key")[0] = 4
    assert lanes.key.tolist() == [4, 2]
    whole = table(Pair, (2, 2), one=[[1, 2], [3, 4]])
    cells(whole)[1, 1, 1] = 7
    assert whole[1][1].other == 7
    assert cells(whole)[..., 0].tolist() == [[1, 2], [3, 4]]
    assert cells(table(Pair, one=5)).tolist() == [5, 0]


def test_a_layout_has_the_columns_in_order() -> None:
    assert layout(Load).names == ("key", "started", "rate")
    assert layout(Load).itemsize == 24
    assert layout(Load) is layout(Load)
    assert len(plain(table(Load, 0))) == 0


@pytest.mark.parametrize(
    ("row", "records"),
    [(LayerRow, LayerRecords), (StepRow, StepRecords), (LoadRow, LoadRecords)],
)
def test_a_kernel_s_records_have_the_columns_of_those_it_fills(row: Any, records: Any) -> None:
    assert layout(row).names == records().columns
