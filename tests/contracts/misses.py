"""The contract of a miss policy."""

from __future__ import annotations

import pytest

from prefetch_sim.experiments.checking.misses import RULES, Case, choose
from prefetch_sim.experiments.checking.rules import Rule
from prefetch_sim.sim.config import registry

__all__ = ["Case", "MissContract", "choose"]


class MissContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
    def test_keeps(self, rule: Rule) -> None:
        rule(registry.find("misses", self.policy))
