"""``prefetch-sim run``: one simulation, for people or as JSON."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.hardware_profiles import RuntimeProfile
    from prefetch_sim.sim.config.schema import RunConfig
    from prefetch_sim.sim.setup.inputs import Inputs

Config = Annotated[Path, typer.Argument(help="YAML file.", metavar="CONFIG")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Replace one key, by its dotted path. May be repeated."
    ),
]


def place(text: str) -> Path:
    """The path that an option names. An empty one, as of a shell's unset variable, is no folder."""
    if not text:
        raise typer.BadParameter("is empty; '.' is the working directory")
    return Path(text)


def run(
    config: Config,
    assignments: Assignments = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the results as one JSON object. Nothing is run again without prediction.",
        ),
    ] = False,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a timeline that opens in ui.perfetto.dev."),
    ] = None,
) -> None:
    """Simulate one configuration and print its results."""
    import json

    from prefetch_sim.experiments.output import check_target, conclude, engine_note, say, working
    from prefetch_sim.experiments.text import count

    with nothing_to_keep():
        from prefetch_sim.experiments.conclusions.one_run import of_run
        from prefetch_sim.experiments.runs import said_nothing, without
        from prefetch_sim.sim.results import timeline as timelines
        from prefetch_sim.sim.results.summary import results
        from prefetch_sim.sim.run import run_inputs, simulate
        from prefetch_sim.sim.setup import engine_choice

        inputs = load(config, assignments or [])
    warn(inputs)
    if timeline is not None:
        check_target("--timeline", timeline, config, *files_of(inputs.config))
        timelines.check(inputs.workload, timeline)
    watched = timeline is not None
    compiles = engine_choice.choose(inputs, watched=watched) == "compiled"
    tokens = count(inputs.workload.trace.tokens, "token")
    with working(f"simulating {tokens}{engine_note() if compiles else ''}"):
        if timeline is None:
            found = run_inputs(inputs)
        else:
            recorder = timelines.Recorder()
            done = simulate(inputs, recorder.watch)
            recorder.write(timeline, done)
            found = results(done)
        said = of_run(found, None if as_json else without(inputs))
    for line in said_nothing(found):
        say(line)
    if as_json:
        print(json.dumps({**found, "conclusion": said}, indent=2, allow_nan=False))
    else:
        summary(inputs, found)
        conclude(said)


def load(
    config: Path,
    assignments: list[str],
    option: str = "--set",
    instead: str = "use 'prefetch-sim sweep'",
) -> Inputs:
    """The checked inputs of a config file. Every error names the file, and ``option`` if set.

    ``instead``: what is said of a config that is a sweep.
    """
    from prefetch_sim.experiments.runs import checked, of_one_run
    from prefetch_sim.sim.config import files

    tree = files.read_config(config)
    for assignment in assignments:
        tree = files.set_path(tree, *files.parse_assignment(assignment, option))
    tree = of_one_run(tree, str(config), instead)
    return checked(tree, source(config, assignments, option))


def source(config: Path, assignments: list[str], option: str = "--set") -> str:
    """What errors of a config name."""
    return f"{config} with {option}" if assignments else str(config)


def _costless(runtime: RuntimeProfile) -> bool:
    """Whether it takes no time of its own; one copy is what any engine makes."""
    costs = {path: figure.value for path, figure in runtime.flat().items()}
    del costs["reserve_mib"]
    return costs.pop("load.copies") == 1 and not any(costs.values())


def files_of(config: RunConfig) -> list[Path]:
    """What a config may name as a file; of a folder, what is in it too."""
    static, trace, machine = config.cache.static, config.trace, config.hardware
    names: list[Any] = [config.model.name, machine.name, config.runtime.name]
    if trace is None or isinstance(trace, str):
        names.append(trace)
    else:
        names += [trace.synthetic, trace.loads_per_step]
    names += [static.counts, static.experts] if static else []
    parts = (machine.params.get(section) for section in ("cpu", "storage"))
    names += [part.get("name") for part in parts if isinstance(part, dict)]
    found = []
    for name in names:
        if isinstance(name, str):
            with suppress(RuntimeError, ValueError, OSError):  # of ~nobody; a name that is no path
                path = Path(name).expanduser()
                found += [path, *(path.iterdir() if path.is_dir() else ())]
    return found


def warn(inputs: Inputs, of: str = "") -> None:
    """Say what is likely no intention; ``of`` is said first."""
    from prefetch_sim.experiments.output import say
    from prefetch_sim.experiments.runs import doubts

    for line in doubts(inputs, of):
        say(line)


def summary(inputs: Inputs, found: dict[str, Any], measured_on: str = "") -> None:
    """Print the results of a run, simulated, or measured on a machine of that name."""
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.experiments.runs import headline
    from prefetch_sim.experiments.text import count, number, percent, size

    out = console()
    static = f"with {size(found['cache']['static']['bytes'])} static " if inputs.static else ""
    out.print(
        f"{headline(inputs, measured_on)} {static}"
        f"({count(len(inputs.workload.requests), 'request')}, {count(found['steps'], 'step')})",
        markup=False,
        soft_wrap=True,
    )
    speed = grid("speed", "tokens/s", right=1)
    speed.add_row("decode", number(found["decode_tokens_per_s"]))
    speed.add_row("whole run, prefill included", number(found["tokens_per_s"]))
    latency = grid("latency, ms", "mean", "p50", "p95", "p99", right=4)
    for label, key in (("per output token", "tpot_ms"), ("to first token", "ttft_ms")):
        latency.add_row(label, *(number(found[key][p]) for p in ("mean", "p50", "p95", "p99")))
    total = found["total_ms"]
    time = grid("where the time goes", "ms", "share", right=2)
    parts = {"compute": found["compute_ms"], "runtime": found["runtime_ms"]}
    parts |= {f"stall: {label.replace('_', ' ')}": ms for label, ms in found["stall_ms"].items()}
    for label, ms in parts.items():
        time.add_row(label, number(ms), percent(ms / total if total else None))
    time.add_row("total", number(total), "")
    none = "no policy" if inputs.cpu_computes else "no eviction or prefetch"
    bounds = grid(f"{none} can be faster than", "ms", right=1)
    simulated = found["bounds_ms"] is not None  # what is measured is below no bound of a model
    shared = {"compute": "compute, shared out to GPU and CPU"} if inputs.cpu_computes else {}
    for label, ms in (found["bounds_ms"] or {}).items():
        bounds.add_row(shared.get(label, label), number(ms))
    bounds.add_row("regret (total - clairvoyant)", number(found["regret_ms"]))
    cache = grid("hit rate", "all", "decode", "prefill", right=3)
    cache.add_row("", *(percent(found["hit_rate"][p]) for p in ("all", "decode", "prefill")))
    behind = ("behind",) if inputs.cpu_computes else ()
    origins = "demand", "prefetch", *behind
    moved = grid("moved", *origins, right=len(origins))
    for label, by_origin in found["bytes"].items():
        moved.add_row(label, *(size(by_origin[origin]) for origin in origins))
    prefetch = grid("prefetch", "proposals", "for decode", right=2)
    for label, proposals in found["prefetch"].items():
        prefetch.add_row(label, f"{proposals:,}", f"{found['decode_prefetch'][label]:,}")
    quality = grid("predictor", "predicted", "slot recall", "exact set", "layer 0 slots", right=4)
    shares = ("predicted", "slot_recall", "exact_set", "layer0_slot_recall")
    for label, q in found["predictors"].items():
        quality.add_row(label, *(percent(q[share]) for share in shares))
    tables = [speed, latency, time, *([bounds] if simulated else []), cache, moved]
    for table in [*tables, prefetch, quality] if found["predictors"] else tables:
        out.print()
        out.print(table)
    out.print(f"\n{count(found['loads'], 'load')}", markup=False)
    if inputs.cpu_computes:
        share = percent(found["cpu_rate"])
        out.print(f"{share} of routed experts computed on the CPU", markup=False)
    if inputs.lacking and simulated:
        words = {
            "prefetch": "prefetches nothing",
            "loads": "loads no expert that a token misses",
            "cpu": "computes no expert on the CPU",
        }
        does = " and ".join(words[what] for what in inputs.lacking)
        out.print(f"{inputs.runtime.name} {does}: this is what it might take.", markup=False)
    if simulated and inputs.runtime.known_to_run_on(inputs.profile.chip) is False:
        where = f"{inputs.profile.name} ({inputs.profile.chip})"
        out.print(
            f"{inputs.runtime.name} does not run on {where}: this is what it might take there.",
            markup=False,
        )
    if simulated and _costless(inputs.runtime):
        out.print("This runtime's own work costs nothing: real engines take longer.", markup=False)
