"""``prefetch-sim replay``: the run of a config on a real device."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefetch_sim.experiments.commands.run import Assignments, Config
from prefetch_sim.experiments.interrupts import nothing_to_keep

if TYPE_CHECKING:
    from prefetch_sim.sim.engine.loader import Loader


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


Storage = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder for the file of experts, where they come off a drive."
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

    whole_or_none = "stopped: a replay is kept whole or not at all"
    with stopping(lambda: whole_or_none), working("replaying") as tell:

        def progress(what: str, done: int, of: int) -> None:
            tell("replaying" if done == of else f"{what}: {done:,} of {of:,}")

        found = door.replay(
            inputs, device=device.value, storage=storage, watch=watch, progress=progress
        )
    if recorder is not None and timeline is not None:
        recorder.write(timeline, found.simulation)
    shown = results(found.simulation)
    said = of_run(shown)
    if as_json:
        whole = {**shown, "machine": found.machine, "conclusion": said}
        print(json.dumps(whole, indent=2, allow_nan=False))
        return
    run.summary(inputs, shown)
    conclude(said)
    say("measured: " + ", ".join(found.machine.values()))
