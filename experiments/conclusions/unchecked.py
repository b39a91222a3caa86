"""Predictors of the user's own: nothing that ran here kept them from looking into the future."""

from __future__ import annotations

from collections.abc import Iterable

from prefetch_sim.sim.config.foreign import is_file, is_own


def unchecked(names: Iterable[str]) -> list[str]:
    """What is said of those predictors of ``names`` that are a user's own."""
    own = [name for name in dict.fromkeys(names) if is_file(name) or is_own(name)]
    if not own:
        return []
    files = [name for name in own if is_file(name)]
    how = f"prefetch-sim check {files[0]}" if files else "prefetch_sim.check"
    verb = "is" if len(own) == 1 else "are"
    return [
        f"{' and '.join(own)} {verb} not checked here for looking ahead, which no engine can do: "
        f"{how} tells."
    ]
