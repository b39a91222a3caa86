"""Each kind of work is done once before time counts: what it is done by is loaded only then."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from prefetch_sim.sim.replay.device import RealDevice, Work
from prefetch_sim.sim.replay.products import Matrices, Products
from prefetch_sim.sim.workload.step import Step
from prefetch_sim.sim.workload.workload import Workload


def warm_up(
    device: RealDevice,
    workload: Workload,
    products: Products,
    expert: Matrices,
    networks: Sequence[Matrices],
) -> None:
    """Compute the first layer of the first step of each phase, whose numbers are computed again.

    ``expert`` stands for each that is routed; ``networks``: of predictors.
    """
    first: dict[str, Step] = {}
    for step in workload.steps():
        first.setdefault(str(step.phase), step)
    predict = [partial(products.predict, network) for network in networks]
    for step in first.values():
        routed, _ = workload.routed(step, 0)
        works: list[Work] = [
            partial(products.begin, step),
            partial(products.dense, 0),
            products.norm,
            partial(products.attention, 0),
            partial(products.gate, 0),
            partial(products.shared, 0, routed),
            *(partial(products.expert, x, expert) for x in routed),
            partial(products.combine, 0),
            *predict,
            products.head,
        ]
        mark = device.compute("warm-up", partial(_each, works))
        device.until(device.beside("warm-up", partial(_each, predict), _nothing, mark))
        device.until(mark)
        products.forget()


def _each(works: Sequence[Work]) -> None:
    for work in works:
        work()


def _nothing(_: int) -> None:
    """It was for the doing."""
