"""``prefetch-sim validate``: the same policies simulated and run for real, side by side."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefetch_sim.experiments.commands.replay import Device, Storage, check_storage, left_in
from prefetch_sim.experiments.commands.run import Config, place
from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.experiments.validation.machines import Machine
    from prefetch_sim.experiments.validation.tables import Tables

_POINTS = 24  # as many as a screen shows


def validate(
    config: Config,
    device: Annotated[Device, typer.Option(help="What computes.")] = Device.cpu,
    repeats: Annotated[int, typer.Option(min=1, help="Real runs of each point.")] = 5,
    storage: Storage = None,
    hardware: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="This machine's profile; else it is calibrated before and after."
        ),
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The replay's own costs, as calibrated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            parser=place,
            metavar="DIR",
            help="Results.",
            show_default="validation/DEVICE/MODEL",
        ),
    ] = None,
) -> None:
    """Run a matrix of policies for real beside its simulation; a stopped one goes on where it was.

    Of CONFIG, `hardware` is `disk` or `memory`: where experts come from on this machine.
    """
    from prefetch_sim.experiments.output import check_folder, need_extra, say, stopping

    if out is not None:
        check_folder("--out", out)
    check_storage(storage)
    with nothing_to_keep(), need_extra("capture", "torch"):
        import torch  # noqa: F401 - missing, it is said before anything is read

        from prefetch_sim.experiments.validation import accuracy, machines
        from prefetch_sim.experiments.validation.study import Study
        from prefetch_sim.sim.config.errors import ConfigError
        from prefetch_sim.sim.run import replay

        tree = machines.check_alone(config)
        if (hardware is None) != (runtime is None):
            raise ConfigError("--hardware and --runtime go together: one calibration wrote both")
    given = None if hardware is None or runtime is None else machines.given(hardware, runtime)
    # What calibrates cleans up after itself if it is stopped.
    machine = given or _calibrated(device, storage, out, "before")
    with nothing_to_keep():
        study = Study(tree, config, machine, out or Path("validation") / machine.name, device.value)
        if out is None:
            study.out /= study.model
        study.begin()
    total = repeats * len(study.points)

    def kept() -> str:
        done = total - len(study.left(repeats))
        return f"stopped: {done} of {total} replays kept; run the same command again to go on"

    if study.left(repeats):
        _forget(device, out, "after")
    with stopping(kept):
        study.measure(repeats, storage, replay)
    if given is None:
        after = _calibrated(device, storage, out, "after")
        study = study.on(machines.between(machine, after, study.out / "calibrated" / "mean"))
    tables = study.summarise(repeats)
    _show(tables)
    for line in accuracy.told(accuracy.errors(study.ran_on(), study.model, tables)):
        say(line)
    for line in left_in(storage):
        say(line)
    say(f"{total} replays in {study.out}: summary.csv, points.csv, measured.csv and more")


def _files(device: Device, out: Path | None, when: str) -> tuple[Path, Path]:
    """Of the machine and of its runtime, as calibrated ``before`` or ``after`` the replays."""
    file = (out or Path("validation")) / "calibrated" / when / f"{device.value}.yaml"
    return file, file.with_name(f"{file.stem}.runtime.yaml")


def _forget(device: Device, out: Path | None, when: str) -> None:
    for path in _files(device, out, when):
        path.unlink(missing_ok=True)


def _calibrated(device: Device, storage: Path | None, out: Path | None, when: str) -> Machine:
    """This machine, measured now, or by an earlier start of the same validation."""
    from prefetch_sim.experiments.commands import calibrate
    from prefetch_sim.experiments.output import say
    from prefetch_sim.experiments.validation import machines

    file, costs = _files(device, out, when)
    folder = file.parent
    if not costs.is_file():
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        say(f"calibrating {when} the replays: about two minutes")
        try:
            kind = calibrate.Device(device.value)
            calibrate.calibrate(file, kind, storage, False, [], None, True)
        except BaseException as error:
            with suppress(OSError):  # of a folder that is not empty
                for path in made:
                    path.rmdir()
            if isinstance(error, KeyboardInterrupt):
                say("stopped: a calibration is kept whole or not at all")
                raise typer.Exit(130) from None
            raise
    return machines.given(file, costs)


def _show(tables: Tables) -> None:
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.experiments.text import number

    out = console()
    labels = list(tables.points.columns[: list(tables.points.columns).index("repeats")])
    points = grid(*labels, "measured, ms", "simulated, ms", "error, %", right=3)
    for row in tables.points.head(_POINTS).to_dict("records"):
        error = 100 * row["error.tpot_ms.mean"]
        numbers = number(row["measured_ms"]), number(row["simulated_ms"]), f"{error:+.1f}"
        points.add_row(*(str(row[label]) for label in labels), *numbers)
    policies = grid("policy", "TPOT: median error, %", "most off, %", "spread, %", right=3)
    for row in tables.policies.to_dict("records"):
        name = ", ".join(str(v) for k, v in row.items() if k in tables.policies.columns[:-5])
        policies.add_row(
            name, *(number(row.get(k)) for k in ("median_error", "most_off", "spread"))
        )
    summary = grid("what", "holds", "target", "value", right=2)
    for row in tables.summary.to_dict("records"):
        summary.add_row(row["what"], row["holds"], row["target"], number(row["value"]))
    out.print(points)
    if (more := len(tables.points) - _POINTS) > 0:
        out.print(f"and {more} more in points.csv", markup=False)
    out.print()
    out.print(policies)
    out.print()
    out.print(summary)
