"""Eager decoding as the paper times it: a layer's experts are all loaded, then its loop runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sim.attention_cost import Phase
from sim.cost import CostModel, StepCost
from sim.inputs import Inputs


class BlockingLoop(CostModel):
    """The eager cost model with the loop over experts behind the loads instead of beside them.

    ``CostModel`` starts the loop's launches when routing is known, so they run while experts
    load: right for a loop that visits absent experts last. A module whose missing experts are
    fetched before it is called pays the loop afterwards. The engine pays ``expert_launch_ns``
    once per group (``overlap: grouped``), so the loop moves there. All experts resident, both
    cost the same.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(
            inputs.model,
            inputs.profile,
            precision=inputs.config.precision or inputs.model.precision,
            kernels="eager",
        )
        self.expert_launch_ns = super().step("decode", [1], [0]).moe_fixed_ns

    def step(self, phase: Phase, token_counts: Sequence[int], contexts: Sequence[int]) -> StepCost:
        return replace(super().step(phase, token_counts, contexts), moe_fixed_ns=0)
