"""``prefetch-sim check``: a policy of one's own against its contract."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.experiments.checking.checks import Checked


class Kind(StrEnum):
    """As ``registry.CONTRACTS`` has them."""

    eviction = "eviction"
    prefetch = "prefetch"
    misses = "misses"
    predictors = "predictors"


def check(
    policy: Annotated[
        str,
        typer.Argument(
            help="A Python file, an import path, or a built-in policy's name.", metavar="FILE"
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="What it is, where what it has does not say.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter of a predictor. May be repeated."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was found as one JSON object.")
    ] = False,
) -> None:
    """Try a policy against its contract: each rule kept, or broken with a counterexample.

    Exit code 0 if every rule is kept, 1 if one is broken, 2 if it is no policy. It is run as code.
    """
    import json
    from dataclasses import asdict

    from prefetch_sim.experiments.output import working

    with nothing_to_keep():
        from prefetch_sim.experiments.checking import checks
        from prefetch_sim.sim.config.files import parse_assignment

        params = dict(map(parse_assignment, assignments or []))
    with working(f"checking {policy}"):
        found = checks.check(policy, kind=kind and kind.value, params=params)
    if as_json:
        print(json.dumps({**asdict(found), "held": found.held}, indent=2))
    else:
        _show(found, policy)
    if not found.held:
        raise typer.Exit(1)


def _show(found: Checked, policy: str) -> None:
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.sim.config import registry

    out = console()
    out.print(found.title, markup=False)
    shown = grid("", "rule")
    for verdict in found.verdicts:
        shown.add_row(verdict.word.replace("broken", "BROKEN"), verdict.rule)
        if verdict.counterexample is not None:
            shown.add_row("", f"  {verdict.counterexample}")
    out.print(shown)
    out.print(f"Called are: {', '.join(found.hooks)}", markup=False)
    for line in found.doubts:
        out.print(f"warning: {line}", markup=False)
    if found.held:
        (place,) = (path for path, kind in registry.PLACES.items() if kind == found.kind)
        out.print(f"In a config: {place}: {policy}", markup=False)
