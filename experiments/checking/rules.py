"""What a rule of a contract is, and how it says that it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from prefetch_sim.sim.config.foreign import BrokenContractError

Rule = Callable[[ModuleType], None]


class BrokenRuleError(Exception):
    """A rule is broken. The message is a counterexample, in one line."""


def need(held: bool, counterexample: str) -> None:
    """Raise BrokenRuleError with ``counterexample`` unless ``held``."""
    if not held:
        raise BrokenRuleError(counterexample)


@contextmanager
def in_case(case: object) -> Iterator[None]:
    """A rule that runs hold it to, too, is tried in ``case``, which its counterexample names."""
    try:
        yield
    except BrokenContractError as broken:
        raise BrokenRuleError(f"{broken.said}; {case}") from broken


def says(rule: Callable[..., None]) -> str:
    """The rule in words."""
    return (rule.__doc__ or "").strip().splitlines()[0].rstrip(".")


def says_what_it_does(module: ModuleType) -> None:
    """Its docstring's first line says what it does, and ends with a full stop."""
    first = (module.__doc__ or "").strip().partition("\n")[0]
    need(bool(first), "it has no docstring")
    need(first.endswith((".", ":", ")")), f"the first line is {first!r}")
