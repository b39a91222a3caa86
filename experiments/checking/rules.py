"""What a rule of a contract is, and how it says that it is broken."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

Rule = Callable[[ModuleType], None]


class BrokenRuleError(Exception):
    """A rule is broken. The message is a counterexample, in one line."""


def need(held: bool, counterexample: str) -> None:
    """Raise BrokenRuleError with ``counterexample`` unless ``held``."""
    if not held:
        raise BrokenRuleError(counterexample)


def says(rule: Callable[..., None]) -> str:
    """The rule in words."""
    return (rule.__doc__ or "").strip().splitlines()[0].rstrip(".")


def says_what_it_does(module: ModuleType) -> None:
    """Its docstring's first line says what it does, and ends with a full stop."""
    first = (module.__doc__ or "").strip().partition("\n")[0]
    need(bool(first), "it has no docstring")
    need(first.endswith((".", ":", ")")), f"the first line is {first!r}")
