"""``prefetch-sim compare``: two runs of the same requests, and whether they really differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefetch_sim.experiments.commands import run
from prefetch_sim.experiments.commands.run import Assignments
from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.experiments.comparing.comparison import Comparison, Figure
    from prefetch_sim.experiments.comparing.swept import Place
    from prefetch_sim.sim.setup.inputs import Inputs


def compare(
    config: Annotated[
        Path | None,
        typer.Argument(help="YAML file of both, unless they name their own.", metavar="CONFIG"),
    ] = None,
    in_a: Annotated[
        list[str] | None,
        typer.Option(
            "--a",
            metavar="PATH=VALUE",
            help="What A has in place of CONFIG's, or a config FILE of its own. May be repeated.",
        ),
    ] = None,
    in_b: Annotated[
        list[str] | None,
        typer.Option("--b", metavar="PATH=VALUE", help="The same for B. May be repeated."),
    ] = None,
    assignments: Assignments = None,
    swept: Annotated[
        Path | None,
        typer.Option(
            "--sweep", metavar="DIR", help="Compare points of a finished sweep; nothing runs."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the comparison as one JSON object.")
    ] = False,
) -> None:
    """Run two configurations over the same requests: how far apart, whether really, and why.

    A is CONFIG with what --a says, B with what --b says; --set is of both. Of a sweep, --a and --b
    name values of its axes, and points that are alike in all other axes are compared.
    """
    from prefetch_sim.experiments.output import working
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.config.errors import ConfigError

    if not in_a and not in_b:
        raise ConfigError(
            "nothing to compare: say what differs, as with --b predictor=none, or name files"
        )
    if swept is not None:
        if config is not None or assignments:
            raise ConfigError("--sweep: its points are finished; give no CONFIG and no --set")
        _points(swept, in_a or [], in_b or [], as_json)
        return
    with nothing_to_keep():
        from prefetch_sim.experiments.comparing.comparison import compare_inputs
        from prefetch_sim.experiments.comparing.requests import check_same_requests
        from prefetch_sim.sim.config.files import parse_assignment

        for assignment in assignments or []:
            parse_assignment(assignment)  # its error is not of --a
        a, b = (
            _side(option, given or [], config, assignments or [])
            for option, given in (("--a", in_a), ("--b", in_b))
        )
        check_same_requests(a, b)
    for name, inputs in (("A", a), ("B", b)):
        run.warn(inputs, f"{name}: ")
    with working(f"simulating {count(a.workload.trace.tokens, 'token')} twice"):
        found = compare_inputs(a, b)
    if as_json:
        _print_json(_told(found))
    else:
        show(found)


def _side(option: str, given: Sequence[str], config: Path | None, common: list[str]) -> Inputs:
    """The checked inputs of A or B. Raises ConfigError naming ``option``."""
    from prefetch_sim.sim.config.errors import ConfigError

    files = [text for text in given if "=" not in text]
    for text in files:
        if not Path(text).exists():
            raise ConfigError(
                f"{option} {text!r}: write {option} path=value, or name a config file"
            )
    if len(files) > 1:
        raise ConfigError(f"{option}: one config file, not both {files[0]} and {files[1]}")
    base = Path(files[0]) if files else config
    if base is None:
        raise ConfigError(f"{option}: of which config? Give CONFIG, or {option} FILE")
    own = [text for text in given if "=" in text]
    instead = "run it with 'prefetch-sim sweep', then 'prefetch-sim compare --sweep DIR'"
    return run.load(base, [*common, *own], option if own else "--set", instead)


def _points(folder: Path, in_a: Sequence[str], in_b: Sequence[str], as_json: bool) -> None:
    with nothing_to_keep():
        from prefetch_sim.experiments.comparing import own, words
        from prefetch_sim.experiments.comparing.swept import compare_points
        from prefetch_sim.experiments.sweeps.points import label
        from prefetch_sim.sim.config.files import parse_assignment, spelled

    def labels(option: str, given: Sequence[str]) -> dict[str, str]:
        pairs = (parse_assignment(text, option) for text in given)
        return {spelled(path): label(value) for path, value in pairs}

    places = compare_points(folder, labels("--a", in_a), labels("--b", in_b))
    if as_json:
        _print_json({"places": [{"at": dict(p.at), **_told(p.comparison)} for p in places]})
    elif len(places) == 1:
        show(places[0].comparison)
    elif not any(words.has_tokens(place.comparison) for place in places):
        axes = " and ".join(f"--a and --b {axis}=…" for axis in places[0].at)
        _say(f"{words.NO_TOKENS} For times to the first token, give {axes}.")
    else:
        _show_places(places, " ".join(in_a), " ".join(in_b))
        found = [place.comparison for place in places]
        for sentence in (words.over_places(found), *own.of_policies(found)):
            _say(sentence)


def _told(found: Comparison) -> dict[str, Any]:
    from prefetch_sim.experiments.comparing import words

    return {**found.as_json(), "says": words.said(found)}


def _print_json(told: dict[str, Any]) -> None:
    import json

    print(json.dumps(told, indent=2, allow_nan=False))


def _say(sentence: str) -> None:
    from prefetch_sim.experiments.output import console

    console().print(sentence, markup=False)


def show(found: Comparison) -> None:
    """Print a comparison for people."""
    from prefetch_sim.experiments.comparing import words
    from prefetch_sim.experiments.comparing.changed import changes
    from prefetch_sim.experiments.comparing.signed import change, signed
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.experiments.text import count, number

    out = console()
    given = [side["as_given"] for side in (found.a, found.b)]
    a, b = (f"{of['model']} on {of['hardware']}, runtime {of['runtime']}" for of in given)
    requests = count(len(found.a["by_request"]["output_tokens"]), "request")
    sides = f"A and B: {a}" if a == b else f"A: {a}; B: {b}"
    out.print(f"{sides} (the same {requests})\n", markup=False)
    differ = grid("what differs", "A", "B")
    for row in changes(found):
        differ.add_row(*row)
    speed = grid("", "A", "B", "B - A", "95 % interval", "change", right=5)
    for label, figure in (
        ("decode tokens/s", found.decode_tokens_per_s),
        ("tokens/s, prefill too", found.tokens_per_s),
        ("ms per output token", found.tpot_ms),
        ("ms to first token", found.ttft_ms),
    ):
        speed.add_row(label, *_cells(figure))
    time = grid("what it is made of", "A, ms", "B, ms", "B - A", "share", right=4)
    whole = found.total.difference
    for label, part in found.parts.items():
        if part.a or part.b:
            share = change(part.difference, whole)
            ms = number(part.a / 1e6), number(part.b / 1e6), signed(part.difference / 1e6)
            time.add_row(label.replace("_", " "), *ms, share)
    total = found.total
    time.add_row("total", number(total.a / 1e6), number(total.b / 1e6), signed(whole / 1e6))
    why = grid("what explains it", "A", "B", right=2)
    for row in words.facts(found):
        why.add_row(*row)
    for table in (differ, speed, time, why):
        if table.row_count:
            out.print(table)
            out.print()
    for sentence in words.said(found):
        _say(sentence)


def _cells(figure: Figure) -> list[str]:
    """A, B, their difference, its interval and its share of A."""
    from prefetch_sim.experiments.comparing.signed import change, signed
    from prefetch_sim.experiments.text import number

    a, b, pairs = figure.a, figure.b, figure.paired
    apart = None if a is None or b is None else b - a
    interval = "–"
    if pairs is not None and pairs.enough:
        interval = f"{signed(pairs.low)} to {signed(pairs.high)}"
    return [number(a), number(b), signed(apart), interval, change(apart, a)]


def _show_places(places: Sequence[Place], a: str, b: str) -> None:
    from prefetch_sim.experiments.comparing import words
    from prefetch_sim.experiments.output import console, grid

    columns = "A", "B", "B - A", "95 % interval", "change", "B is"
    shown = grid(*places[0].at, *columns, right=len(columns))
    shown.title = f"ms per output token, A: {a}, B: {b}"
    for place in places:
        found = place.comparison
        shown.add_row(*place.at.values(), *_cells(found.tpot_ms), words.in_short(found))
    out = console()
    out.print(shown)
    out.print()
