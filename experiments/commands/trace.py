"""``prefetch-sim trace``: look into, check, import and export traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefetch_sim.traces.trace import Trace

trace = typer.Typer(help="Routing traces.")

File = Annotated[str, typer.Argument(metavar="FILE", help="A trace, or a bundled one's name.")]


@trace.command("info")
def info(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What is in a trace: model, tokens, how routing is spread, how well predictors guessed."""
    import json

    from prefetch_sim.sim.setup.traces import trace_path
    from prefetch_sim.traces.format import read_trace
    from prefetch_sim.traces.info import trace_info

    found = trace_info(read_trace(trace_path(file)))
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        _print(found)


@trace.command("validate")
def validate(file: File) -> None:
    """Check a whole trace; the first broken rule is named with its row and layer."""
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.setup.traces import trace_path
    from prefetch_sim.traces.format import read_trace

    path = trace_path(file)
    found = read_trace(path)
    layers, experts, k = found.model.topology
    print(
        f"{file}: good: {count(len(found.requests), 'request')}, {count(found.tokens, 'token')}, "
        f"{layers} MoE layers x {experts} experts, top-{k}"
    )
    for line in [*ignored(path), *too_early(found)]:
        print(line)
    unrouted = int((found.experts < 0).all(axis=(1, 2)).sum())
    if unrouted:
        print(f"{count(unrouted, 'token')} that no layer routed: padding costs attention in a run")
    if found.missing:
        wanted = len(found.requests) + found.missing
        print(
            f"unfinished: {wanted:,} requests were to be captured; run the capture again to go on"
        )


def ignored(path: Path) -> list[str]:
    """A line for each predictor whose columns are not read, as the metadata says nothing of it."""
    from prefetch_sim.traces.parts import META_KEY, undescribed

    return [
        f"prediction.{name}.experts is ignored: the file's metadata has no predictions.{name} "
        f"under the key {META_KEY.decode()!r}; docs/trace-format.md says what goes there"
        for name in undescribed(path)
    ]


def too_early(trace: Trace) -> list[str]:
    """A line for each predictor that names experts of layers at which it cannot have spoken yet."""
    from prefetch_sim.experiments.text import count

    told = []
    for name, said in trace.predictions.items():
        distance = said.info.distance
        if (said.experts[:, :distance] >= 0).any():
            told.append(
                f"prediction {name!r} speaks {count(distance, 'layer')} ahead: what it names in "
                f"layers below {distance} counts nowhere"
            )
    return told


@trace.command("import")
def import_trace(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Another tool's recordings, or folders of them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The trace to write.")],
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="Its format.", show_default="recognised from the content"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model it was recorded on, where the file leaves that open."),
    ] = None,
    passes: Annotated[
        str | None,
        typer.Option(
            metavar="prompts|chunks",
            help="What a pass of several tokens after another is: a further prompt, or more of it.",
        ),
    ] = None,
) -> None:
    """Turn another tool's recordings into one trace."""
    from prefetch_sim.experiments.output import check_target
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.config.models import load_model
    from prefetch_sim.traces.format import write_trace
    from prefetch_sim.traces.importers import import_trace as read_other

    check_target("--out", out, *files, new=True)
    found = read_other(files, file_format, load_model(model) if model else None, passes)
    write_trace(out, found)
    requests, tokens = count(len(found.requests), "request"), count(found.tokens, "token")
    print(f"{out}: {requests}, {tokens}, {found.model.name}")
    if "notes" in found.meta.recorded:
        print(f"  {found.meta.recorded['notes']}")


@trace.command("export")
def export_trace(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The file to write.")],
    file_format: Annotated[str, typer.Option("--format", help="Its format.")] = "oracle-general",
) -> None:
    """Write a trace's routing for another tool; oracle-general is libCacheSim's."""
    from prefetch_sim.experiments.output import check_target
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.setup.traces import trace_path
    from prefetch_sim.traces.exporters import export_trace as write_other
    from prefetch_sim.traces.format import read_trace

    path = trace_path(file)
    check_target("--out", out, path, new=True)
    found = read_trace(path, predictions=(), weights=False)
    write_other(out, found, file_format)
    print(f"{out}: {count(int((found.experts >= 0).sum()), 'routed expert')}, {found.model.name}")


def _print(found: dict[str, Any]) -> None:
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.experiments.text import number, percent

    out = console()
    model, tokens = found["model"], found["tokens"]
    facts = grid("trace", found["file"] or "")
    facts.add_row(
        "model",
        f"{model['name']}: {found['moe_layers']} MoE layers x {model['experts']} experts, "
        f"top-{model['top_k']}",
    )
    missing = found["missing_requests"]
    unfinished = f", {missing:,} more were to be captured" if missing else ""
    facts.add_row("requests", f"{found['requests']:,}{unfinished}")
    unrouted = f", {tokens['unrouted']:,} that no layer routed" if tokens["unrouted"] else ""
    facts.add_row(
        "tokens",
        f"{tokens['all']:,}: {tokens['prefill']:,} prefill, {tokens['decode']:,} decode{unrouted}",
    )
    for key, text in found["recorded"].items():
        if key == "requests":
            continue
        facts.add_row(key, text)
    measures = ("routing_entropy", "reuse", "top_tenth_share", "gini")
    layers = grid("layer", *(m.replace("_", " ") for m in measures), right=4)
    for layer in range(found["moe_layers"]):
        layers.add_row(str(layer), *(number(found[m]["by_layer"][layer]) for m in measures))
    layers.add_row("mean", *(number(found[m]["mean"]) for m in measures))
    quality = grid(
        "predictor", "trigger", "distance", "slot recall", "exact set", "layer 0 slots", right=4
    )
    for name, p in found["predictions"].items():
        shares = (p["slot_recall"], p["exact_set"], p["layer0_slot_recall"])
        quality.add_row(name, p["trigger"], str(p["distance"]), *map(percent, shares))
    for table in (facts, layers, quality) if found["predictions"] else (facts, layers):
        out.print(table)
        out.print()
