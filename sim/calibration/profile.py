"""From what was found to profiles: of the machine, and of the replay as a runtime."""

from __future__ import annotations

from typing import NamedTuple

from prefetch_sim.hardware_profiles import RuntimeProfile
from prefetch_sim.hardware_profiles.drafts import Draft, as_yaml, complete, complete_runtime
from prefetch_sim.sim.calibration.samples import Findings, Note

COPIES = ".copies"  # beside one memory: the same machine, whose experts are copied within it
RUNTIME = ".runtime"
PARTS = (COPIES, RUNTIME)  # of the names of files beside the first


class Profiles(NamedTuple):
    """``machines`` by what the names of their files add; ``runtime``: if any of it was measured."""

    machines: dict[str, Draft]
    runtime: RuntimeProfile | None
    notes: list[Note]

    def files(self) -> dict[str, str]:
        """What to write, by that part of the name."""
        notes = ["", "Measured too:", *(f"  {_line(note)}" for note in self.notes)]
        found = {
            part: as_yaml(draft.profile, notes if self.notes and not part else ())
            for part, draft in self.machines.items()
        }
        return found | ({RUNTIME: as_yaml(self.runtime)} if self.runtime else {})


def profiles(name: str, machine: str, found: Findings, *, unified: bool) -> Profiles:
    """Profiles called ``name`` of ``machine``.

    One memory has a second profile where copies within it were measured: experts then come from
    one part of it into another, as they would over a link.
    """
    over_link = found.hardware | found.over_link
    figures = found.hardware if unified else over_link
    machines = {"": complete(name, f"{machine}, measured", figures, unified=unified)}
    if unified and "host_link.gb_s" in found.hardware:
        what = f"{machine}, measured; experts are copied within its memory"
        machines[COPIES] = complete(name + COPIES, what, over_link, unified=False)
    runtime = None
    if found.runtime:
        runtime = complete_runtime(
            name + RUNTIME, f"What ran on {machine}, measured", found.runtime, lacks=("cpu",)
        )
    return Profiles(machines, runtime, found.notes)


def _line(note: Note) -> str:
    one = note.samples
    return f"{note.what}: {one.median:.4g} {note.unit} ({one.p10:.4g}–{one.p90:.4g}, n = {one.n})"
