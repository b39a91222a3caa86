"""``prefetch-sim trace score``: how well recorded predictors guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.commands.trace import File, ignored, too_early

if TYPE_CHECKING:
    from prefetch_sim.traces.lab.scoring import Interval


def score(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How well each recorded predictor guessed: with intervals, prefill, decode, layer 0 apart."""
    import json

    from prefetch_sim.experiments.output import console, grid, say
    from prefetch_sim.experiments.text import percent
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.sim.setup.traces import trace_path
    from prefetch_sim.traces.format import read_trace
    from prefetch_sim.traces.lab.scoring import count_hits

    path = trace_path(file)
    found = read_trace(path)
    unread = ignored(path)
    if not found.predictions:
        why = unread[0] if unread else "no predictor was recorded in it"
        raise ConfigError(f"{file}: {why}")
    for line in [*unread, *too_early(found)]:
        say(f"{file}: {line}")
    hits = {name: count_hits(found, name) for name in found.predictions}
    if as_json:
        from prefetch_sim.traces.lab.scoring import summary

        print(json.dumps({name: summary(h) for name, h in hits.items()}, indent=2, allow_nan=False))
        return
    k = found.model.top_k
    for phase in ("decode", "prefill"):
        table = grid(
            f"{phase}, layers 1 and on, %",
            f"slots in {k}",
            "exact set",
            "top-1",
            "loaded",
            "slots",
            "exact",
            "layer 0 slots",
            "calibration error",
            "documents",
            right=9,
        )
        for name, h in hits.items():
            later, first = h.later, h.first_layer
            table.add_row(
                name,
                _cell(h.slot_recall(k, later, phase)),
                _cell(h.exact_set(k, later, phase)),
                _cell(h.top_1(later, phase)),
                str(h.width),
                _cell(h.slot_recall(h.width, later, phase)),
                _cell(h.exact_set(h.width, later, phase)),
                _cell(h.slot_recall(k, first, phase)),
                percent(h.calibration[phase]),
                str(h.documents),
            )
        console().print(table)
        console().print()
    console().print(
        f"slots in {k}: the share of the routed experts among the first {k} that it names; exact "
        f"set: of routed sets that these {k} cover; top-1: of sets that hold the first. slots and "
        "exact: the same of all that it names, loaded experts a token. ±: half of the 95 % "
        "interval over documents."
    )


def _cell(share: Interval | None) -> str:
    """Value and half the width of its interval, in percent."""
    if share is None:
        return "–"
    value = f"{100 * share.value:.1f}"
    if share.low is None or share.high is None:
        return value
    return f"{value} ± {50 * (share.high - share.low):.1f}"
