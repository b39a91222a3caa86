"""``prefetch-sim hardware calibrate``: profiles of this machine, or of what others measured."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.commands.replay import check_storage
from prefetch_sim.experiments.commands.run import place

if TYPE_CHECKING:
    from prefetch_sim.hardware_profiles.drafts import Draft
    from prefetch_sim.hardware_profiles.schema import Figure
    from prefetch_sim.sim.calibration.measuring.calibrate import Measured
    from prefetch_sim.sim.calibration.profile import Profiles


BUSY = 0.5  # processes beside ours, from which on measurements suffer


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


def calibrate(
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE.yaml", help="The machine; FILE.runtime.yaml beside it."
        ),
    ],
    device: Annotated[
        Device | None, typer.Option(help="What computes: cuda where there is one, else cpu.")
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="DIR",
            help="A folder on the drive that experts would come from.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds, for a first look; else up to two minutes.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Measure the operators of this one. May be repeated."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Measure nothing: take what gpu_probe.py, FreeToken, BigMoeOnEdge or a capture "
            "with --timing has measured.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files.")] = False,
) -> None:
    """Measure a machine and the replay's own work, and write both as profiles."""
    from prefetch_sim.experiments.output import say
    from prefetch_sim.sim.calibration.machine import load
    from prefetch_sim.sim.calibration.profile import profiles
    from prefetch_sim.sim.calibration.sources import read
    from prefetch_sim.sim.config.errors import ConfigError

    _check(out, source, force)
    if source is not None:
        given = {"--device": device, "--storage": storage, "--quick": quick, "--model": model}
        if beside := [option for option, value in given.items() if value]:
            raise ConfigError(f"{beside[0]} has no place beside --from, which measures nothing")
        found = read(source)
        say(f"{source}: {found.format}, of {found.machine}")
        made = profiles(out.stem, found.machine, found.findings, unified=found.unified)
        _write(out, made)
        _show(out, made)
        return
    check_storage(storage)
    busy = load()
    done = _measure(device, storage, quick, model or [])
    name, unified = done.machine.name, done.machine.device_gib is None
    made = profiles(out.stem, name, done.findings, unified=unified)
    _write(out, made)
    _show(out, made)
    for word, fact in done.machine.facts.items():
        say(f"{word}: {fact}")
    if busy > BUSY:
        say(f"other work was going on (load {busy:.1f}): figures are slower, and less sure")
    if done.left_out:
        say(f"no time or no memory for the operators of {', '.join(done.left_out)}")


def _check(out: Path, source: Path | None, force: bool) -> None:
    """Refuse before minutes are spent. Raises ConfigError."""
    from prefetch_sim.experiments.output import check_target
    from prefetch_sim.sim.calibration.profile import PARTS
    from prefetch_sim.sim.config.errors import ConfigError

    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out: {out} has to end in .yaml, by which profiles are known")
    for path in (out, *(_beside(out, part) for part in PARTS)):
        check_target("--out", path, *([source] if source else []))
        if path.exists() and not path.is_file():
            raise ConfigError(f"--out: {path} is no regular file")
        if path.exists() and not force:
            raise ConfigError(f"--out: {path} exists already; --force writes over it")


def _measure(
    device: Device | None, storage: Path | None, quick: bool, names: list[str]
) -> Measured:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from prefetch_sim.experiments.output import console, need_extra
    from prefetch_sim.sim.config.errors import ConfigError
    from prefetch_sim.sim.config.models import load_model

    with need_extra("capture", "torch"):
        import torch

        from prefetch_sim.sim.calibration.measuring.calibrate import measure
        from prefetch_sim.sim.calibration.measuring.plan import FULL, QUICK
        from prefetch_sim.sim.calibration.measuring.runtime import Runs
        from prefetch_sim.sim.replay.device import ReplayError
        from prefetch_sim.sim.run import replay, simulate
    models = [load_model(name) for name in names]
    chosen = device or (Device.cuda if torch.cuda.is_available() else Device.cpu)
    err = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("measuring", total=None)

        def advance(what: str, part: int, of: int) -> None:
            bar.update(task, description=f"measuring {what}", completed=part, total=of)

        runs = Runs(
            lambda inputs, folder: replay(inputs, device=chosen.value, storage=folder).simulation,
            simulate,
        )
        try:
            return measure(chosen.value, storage, QUICK if quick else FULL, models, runs, advance)
        except (ReplayError, MemoryError) as error:
            raise ConfigError(f"--device {chosen.value}: {error or 'no memory left'}") from error
        except RuntimeError as error:  # torch's, on whatever device
            if "memory" not in str(error):
                raise
            said = str(error).partition("\n")[0]
            raise ConfigError(f"--device {chosen.value}: {said}") from error


def _write(out: Path, made: Profiles) -> None:
    from prefetch_sim.traces.files import replacing

    for part, text in made.files().items():
        with replacing(_beside(out, part)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    names = ", ".join(str(_beside(out, part)) for part in made.files())
    print(f"written: {names}")


def _beside(out: Path, part: str) -> Path:
    return out.with_name(f"{out.stem}{part}{out.suffix}")


def _show(file: Path, made: Profiles) -> None:
    """This machine beside the one that is nearest; ``file``: where it was written."""
    from prefetch_sim.experiments.output import console, grid, say
    from prefetch_sim.hardware_profiles import load_profile
    from prefetch_sim.sim.calibration.profile import COPIES, RUNTIME

    out = console()
    first, *others = made.machines.values()
    draft = others[-1] if others else first  # with a link, where that was measured
    near = load_profile(draft.like).flat()
    table = grid("figure", "here", "±", draft.like, "kind", "file", right=0)
    own, drafted = first.profile.flat(), draft.profile.flat()
    name, copies = file.name, _beside(file, COPIES).name
    rows = [
        (path, figure, name if draft is first else "both" if own.get(path) == figure else copies)
        for path, figure in drafted.items()
    ]
    rows += [(path, own[path], name) for path in own if drafted.get(path) != own[path]]
    costs = made.runtime.flat() if made.runtime else {}
    rows += [(path, figure, _beside(file, RUNTIME).name) for path, figure in costs.items()]
    for path, figure, where in rows:
        other = f"{near[path].value:g}" if path in near else "–"
        spread = f"{100 * figure.uncertainty:g} %"
        table.add_row(path, f"{figure.value:g}", spread, other, _kind(figure), where)
    out.print(table)
    out.print()
    say(_rest(first))
    notes = grid("measured too", "median", "10th–90th percentile", "n")
    for note in made.notes:
        one = note.samples
        spread = f"{one.p10:.4g}–{one.p90:.4g}"
        notes.add_row(note.what, f"{one.median:.4g} {note.unit}", spread, str(one.n))
    if made.notes:
        out.print(notes)


def _kind(figure: Figure) -> str:
    """How a figure is known, and whether it is a bound, as its source says."""
    bounds = {"a lower bound": "at least", "an upper bound": "at most"}
    return ", ".join([figure.kind, *(say for of, say in bounds.items() if of in figure.source)])


def _rest(draft: Draft) -> str:
    """What is not this machine's own in a profile, and whose it is."""
    from prefetch_sim.hardware_profiles.drafts import TELLING

    figures = draft.profile.flat()
    own = [path for path, figure in figures.items() if figure.kind == "measured"]
    rest = f"{len(own)} of {len(figures)} figures of the machine were measured"
    if len(own) == len(figures):
        return rest
    near = "the nearest machine" if set(TELLING) & set(own) else "as nothing tells which is near"
    memory = figures["compute.memory_gib"]
    its = "" if memory.kind == "measured" else f", with its {memory.value:g} GiB of memory"
    return f"{rest}; the rest is taken from {draft.like}, {near}{its}"
