"""``prefetch-sim list``, ``hardware`` and ``runtime``: what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prefetch_sim.hardware_profiles.schema import Profile

hardware = typer.Typer(help="Hardware profiles.")
runtime = typer.Typer(help="Serving engines: how they work, and what their own work costs.")


class Kind(StrEnum):
    predictors = "predictors"
    prefetch = "prefetch"
    evictions = "evictions"
    misses = "misses"
    hardware = "hardware"
    runtimes = "runtimes"
    models = "models"
    traces = "traces"


_KINDS = {
    Kind.predictors: "what says early which experts a layer will need",
    Kind.prefetch: "policies that turn predictions into loads",
    Kind.evictions: "who leaves a full cache",
    Kind.misses: "whether a missing expert is loaded, or computed on the CPU",
    Kind.hardware: "machines, and CPUs and drives to put into them",
    Kind.runtimes: "serving engines",
    Kind.models: "shapes of published models",
    Kind.traces: "bundled recordings of routing",
}


def list_names(
    kind: Annotated[
        Kind | None, typer.Argument(help="What to list.", show_default="the kinds")
    ] = None,
) -> None:
    """List what a config can name, with one line on each."""
    from prefetch_sim.experiments.output import console, grid

    if kind is None:
        table = grid("prefetch-sim list ...", "what it lists")
        for one, summary in _KINDS.items():
            table.add_row(one.value, summary)
        console().print(table)
        return
    if kind is Kind.hardware:
        _hardware()
        return
    table = grid("name", "what it is")
    for name, summary in _entries(kind):
        table.add_row(name, summary)
    console().print(table)


@hardware.callback()
def _group() -> None:
    """Hardware profiles."""


@runtime.callback()
def _runtimes() -> None:
    """Serving engines: how they work, and what their own work costs."""


Name = Annotated[str, typer.Argument(help="A profile's name, or a YAML file.")]


@hardware.command("show")
def show(name: Name) -> None:
    """Every number of a machine, or of a part, with where it comes from."""
    from prefetch_sim.hardware_profiles import PARTS, HardwareProfile, load_any

    profile = load_any(name)
    words: list[str] = []
    if isinstance(profile, HardwareProfile):
        words += [f"chip: {profile.chip}"] if profile.chip else []
        sections = {section: getattr(profile, section) for section in PARTS}
        parts = [f"{word} {part.name}" for word, part in sections.items() if part and part.name]
        words += [f"parts: {', '.join(parts)}"] if parts else []
    _show(profile, *words)


@runtime.command("show")
def show_runtime(name: Name) -> None:
    """How a runtime works, and every number of it, with where it comes from."""
    from prefetch_sim.hardware_profiles import load_runtime

    profile = load_runtime(name)
    lacks = f", lacks {' and '.join(profile.lacks)}" if profile.lacks else ""
    where = "runs on any machine"
    if profile.runs_on is not None:
        where = f"runs on {', '.join(profile.runs_on.chips)} ({profile.runs_on.source})"
    _show(profile, f"kernels {profile.kernels}, overlap {profile.overlap}{lacks}", where)


def _show(profile: Profile, *words: str) -> None:
    from prefetch_sim.experiments.output import console, grid

    out = console()
    for line in (f"{profile.name}: {profile.description}", *words):
        out.print(line, markup=False)
    table = grid("figure", "value", "±", "kind", "source")
    for path, figure in profile.flat().items():
        table.add_row(
            path, f"{figure.value:g}", f"{100 * figure.uncertainty:g} %", figure.kind, figure.source
        )
    out.print(table)
    out.print(
        "gb_s: 1e9 bytes/s; gib, mib: binary; us: µs; tflops: 1e12 operations/s", markup=False
    )


def _hardware() -> None:
    """Machines, and the parts that can be put into them, by the figure that matters most."""
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.hardware_profiles import (
        CpuPart,
        list_parts,
        list_profiles,
        load_part,
        load_profile,
    )

    out = console()
    table = grid("machine", "what it is", "GiB", "GB/s", "link GB/s", right=3)
    for name in list_profiles():
        machine = load_profile(name)
        link = machine.host_link
        row = (machine.compute.memory_gib, machine.compute.memory_gb_s, link.gb_s if link else None)
        numbers = (f"{figure.value:g}" if figure else "–" for figure in row)
        table.add_row(name, machine.description, *numbers)
    out.print(table)
    for section, headings in (("cpu", ("threads", "experts GB/s")), ("storage", ("GB/s",))):
        table = grid(section, "what it is", *headings, right=len(headings))
        for name in list_parts(section):
            part = load_part(section, name)
            if isinstance(part, CpuPart):
                figures = [part.cpu.threads, part.cpu.expert_gb_s.bf16]
            else:
                figures = [part.storage.gb_s]
            table.add_row(name, part.description, *(f"{figure.value:g}" for figure in figures))
        out.print()
        out.print(table)
    out.print(
        "\nhardware: {gpu: MACHINE, cpu: CPU, storage: STORAGE} puts them together", markup=False
    )


def _entries(kind: Kind) -> list[tuple[str, str]]:
    from prefetch_sim.hardware_profiles import list_runtimes, load_runtime
    from prefetch_sim.sim.config import registry
    from prefetch_sim.sim.config.models import load_model
    from prefetch_sim.sim.setup.traces import shape
    from prefetch_sim.traces.models import catalogue

    if kind is Kind.runtimes:
        return [(name, load_runtime(name).description) for name in list_runtimes()]
    if kind is Kind.traces:
        return _traces()
    if kind is Kind.models:
        specs = [(name, load_model(name)) for name in catalogue.names()]
        return [(name, f"{shape(model)}, {model.precision}") for name, model in specs]
    package = "eviction" if kind is Kind.evictions else kind.value
    found = [(name, registry.summary(package, name)) for name in registry.names(package)]
    if kind is Kind.predictors:
        found = [("none", "No prediction: every expert is loaded on demand."), *found]
        found += _recorded()
    return found


def _traces() -> list[tuple[str, str]]:
    from prefetch_sim.experiments.text import count
    from prefetch_sim.sim.setup.traces import shape
    from prefetch_sim.traces.format import read_trace
    from prefetch_sim.traces.samples import sample_path, samples
    from prefetch_sim.traces.trace import DECODE

    found = []
    for name in samples():
        trace = read_trace(sample_path(name), predictions=(), weights=False)
        decoded = [
            int((trace.phase[start:end] == DECODE).sum()) for _, start, end in trace.requests
        ]
        prompts = [end - start - n for (_, start, end), n in zip(trace.requests, decoded)]
        said = (
            f"{shape(trace.model)}; {count(len(decoded), 'request')} with prompts of "
            f"{_span(prompts)} tokens and {_span(decoded)} decoded; predictors "
            f"{', '.join(trace.meta.predictions) or 'none'}"
        )
        found.append((name, said))
    return found


def _span(lengths: list[int]) -> str:
    """The least and the most."""
    least, most = min(lengths), max(lengths)
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def _recorded() -> list[tuple[str, str]]:
    """The predictors whose outputs are in the bundled traces."""
    from prefetch_sim.traces.format import read_meta
    from prefetch_sim.traces.samples import sample_path, samples

    places: dict[tuple[str, str, int], list[str]] = {}
    for sample in samples():
        for name, info in read_meta(sample_path(sample)).predictions.items():
            places.setdefault((name, info.trigger, info.distance), []).append(sample)
    return [
        (name, f"Recorded in {', '.join(found)}: {trigger}, distance {distance}")
        for (name, trigger, distance), found in sorted(places.items())
    ]
