"""``prefetch-sim replay``: the run of a config on a real device."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefetch_sim.experiments.commands.run import Assignments, Config, place
from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.sim.engine.loader import Loader
    from prefetch_sim.sim.setup.inputs import Inputs


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


Storage = Annotated[
    Path | None,
    typer.Option(
        parser=place,
        metavar="DIR",
        help="Folder for the file of experts, where they come off a drive; the file stays.",
    ),
]


def replay(
    config: Config,
    device: Annotated[Device, typer.Option(help="What computes.")],
    storage: Storage = None,
    assignments: Assignments = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as one JSON object.")
    ] = False,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a timeline that opens in ui.perfetto.dev."),
    ] = None,
) -> None:
    """Run one configuration for real, and print what was measured.

    Routing and predictions are the trace's; attention, experts and predictors are computed with
    random weights of the model's shape, and experts come from where the hardware has them.
    """
    import json

    from prefetch_sim.experiments.commands import run
    from prefetch_sim.experiments.output import (
        check_target,
        conclude,
        need_extra,
        say,
        stopping,
        working,
    )

    check_storage(storage)
    with nothing_to_keep(), need_extra("capture", "torch"):
        import torch  # noqa: F401 - missing, it is said before anything is read

        from prefetch_sim.experiments.conclusions.one_run import of_run
        from prefetch_sim.sim import run as door
        from prefetch_sim.sim.results import timeline as timelines
        from prefetch_sim.sim.results.summary import results

        inputs = run.load(config, assignments or [])
    recorder = None
    if timeline is not None:
        check_target("--timeline", timeline, config, *run.files_of(inputs.config))
        timelines.check(inputs.workload, timeline)
        recorder = timelines.Recorder()

    def watch(real: Any, loader: Loader) -> None:
        if recorder is not None:
            recorder.watch(real, loader)

    def stopped() -> str:
        return "; ".join(["stopped: a replay is kept whole or not at all", *left_in(storage)])

    with stopping(stopped), working("replaying") as tell:

        def progress(what: str, done: int, of: int) -> None:
            tell("replaying" if done == of else f"{what}: {done:,} of {of:,}")

        found = door.replay(
            inputs, device=device.value, storage=storage, watch=watch, progress=progress
        )
    if recorder is not None and timeline is not None:
        recorder.write(timeline, found.simulation)
    shown = results(found.simulation)
    said = of_run(shown)
    ran_on = found.machine.get("gpu") or found.machine["processor"]
    if as_json:
        whole = {**shown, "machine": found.machine, "conclusion": said}
        print(json.dumps(whole, indent=2, allow_nan=False))
    else:
        run.summary(inputs, shown, ran_on)
        conclude(said)
        say("measured: " + ", ".join(_told(*fact) for fact in found.machine.items()))
    for line in [*not_its_own(inputs, ran_on), *left_in(storage)]:
        say(line)


def _told(what: str, value: str) -> str:
    """A fact of a machine, called by its name where it is a mere number."""
    return f"{what} {value}" if what in ("python", "torch", "driver", "cuda", "pcie") else value


def check_storage(folder: Path | None) -> None:
    """Refuse a folder that is not there, and say so where its files are in memory.

    Raises ConfigError: a mistyped path would get gigabytes that nobody looks for.
    """
    from prefetch_sim.experiments.output import say
    from prefetch_sim.sim.calibration.machine import kept_in_memory
    from prefetch_sim.sim.config.errors import ConfigError

    if folder is None:
        return
    if not folder.is_dir():
        why = "is a file, not a folder" if folder.exists() else "no such folder"
        raise ConfigError(f"--storage: {folder}: {why}")
    if kind := kept_in_memory(folder):
        say(f"warning: --storage: {folder} is in memory ({kind}): its reads come off no drive")


def left_in(folder: Path | None) -> list[str]:
    """A line on the files of experts that stay in ``folder``, if there are any."""
    from prefetch_sim.experiments.text import size
    from prefetch_sim.sim.replay.experts import EXPERTS

    files = sorted(folder.glob(EXPERTS)) if folder is not None else []
    if not files:
        return []
    one = len(files) == 1
    what = str(files[0]) if one else f"{len(files)} files {folder}/{EXPERTS}"
    room = size(sum(file.stat().st_size for file in files))
    them = "it" if one else "them"
    return [f"left: {what}, {room}, used again by the next replay; remove {them} when done"]


def not_its_own(inputs: Inputs, ran_on: str) -> list[str]:
    """A line where the config's machine is not the one that a replay ran on."""
    figures = inputs.profile.flat().values()
    if any(figure.kind == "measured" and ran_on in figure.source for figure in figures):
        return []
    return [
        f"note: {inputs.as_given['hardware']} was not calibrated here: a replay takes its tiers, "
        "sizes and queues; every time is this machine's"
    ]
