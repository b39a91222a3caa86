"""The one error a user's input may raise, and how it names what was probably meant."""

from __future__ import annotations

from prefetch_sim.traces.errors import did_you_mean

__all__ = ["ConfigError", "did_you_mean"]


class ConfigError(ValueError):
    """A run's input is wrong. The message is one line: where, what, and the nearest match."""
