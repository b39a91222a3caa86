"""The contract of a predictor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prefetch_sim.experiments.checking.predictor import (
    EXPERTS,
    LOOKS_AHEAD,
    RULES,
    K,
    play,
    recording,
)
from prefetch_sim.sim.config import registry

__all__ = ["EXPERTS", "K", "PredictorContract", "play", "recording"]


class PredictorContract:
    """``policy`` is a built-in name or an import path; ``params`` its keys in the config."""

    policy: str
    params: dict[str, Any] = {}  # noqa: RUF012 - read only
    # True only for a predictor whose docstring says that it looks ahead.
    looks_ahead = False

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
    def test_keeps(self, rule: Callable[..., None]) -> None:
        rule(registry.find("predictors", self.policy), self.params)

    def test_looks_ahead_only_if_it_says_so(self) -> None:
        module = registry.find("predictors", self.policy)
        assert self.looks_ahead == (LOOKS_AHEAD in (module.__doc__ or ""))
