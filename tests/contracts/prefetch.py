"""The contract of a prefetch policy."""

from __future__ import annotations

import pytest

from prefetch_sim.experiments.checking.prefetch import RULES, Case, chosen
from prefetch_sim.experiments.checking.rules import Rule
from prefetch_sim.sim.config import registry

__all__ = ["Case", "PrefetchContract", "chosen"]


class PrefetchContract:
    """``policy`` is a built-in name or an import path."""

    policy: str

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
    def test_keeps(self, rule: Rule) -> None:
        rule(registry.find("prefetch", self.policy))
