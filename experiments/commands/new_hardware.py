"""``prefetch-sim hardware new``: a machine's profile from five numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

if TYPE_CHECKING:
    from prefetch_sim.hardware_profiles import Chip
    from prefetch_sim.hardware_profiles.drafts import Draft

# Flag, what it is, dotted path of the figure. Those that one memory has no use for have a host.
_LINK, _HOST, _CPU = "--link-gb-s", "--host-memory-gib", "--cpu-gb-s"
_GPU_MEMORY, _GPU_RATE, _DRIVE, _TFLOPS = (
    "--gpu-memory-gib",
    "--gpu-gb-s",
    "--drive-gb-s",
    "--tflops",
)
_PATHS = {
    _GPU_MEMORY: "compute.memory_gib",
    _GPU_RATE: "compute.memory_gb_s",
    _LINK: "host_link.gb_s",
    _HOST: "host.memory_gib",
    _DRIVE: "storage.gb_s",
    _TFLOPS: "compute.tflops.bf16",
    _CPU: "cpu.expert_gb_s.bf16",
}
_OPTIONAL = (_TFLOPS, _CPU)
_OF_HOSTS = (_LINK, _HOST, _CPU)

# Text, so that all that is wrong with them is said at once.
Number = str | None


def new(
    name: Annotated[str, typer.Argument(help="What the machine is called.")],
    gpu_memory_gib: Annotated[
        Number, typer.Option(_GPU_MEMORY, metavar="GiB", help="Memory of the GPU.")
    ] = None,
    gpu_gb_s: Annotated[
        Number,
        typer.Option(
            _GPU_RATE,
            metavar="GB/s",
            help="What the GPU's memory reads: some 0.85 of the datasheet's.",
        ),
    ] = None,
    link_gb_s: Annotated[
        Number,
        typer.Option(
            _LINK,
            metavar="GB/s",
            help="Pinned host memory to GPU: 12 on PCIe Gen3 x16, 25 on Gen4, 55 on Gen5.",
        ),
    ] = None,
    host_memory_gib: Annotated[
        Number, typer.Option(_HOST, metavar="GiB", help="Memory of the host.")
    ] = None,
    drive_gb_s: Annotated[
        Number,
        typer.Option(_DRIVE, metavar="GB/s", help="Large reads of the drive, many at a time."),
    ] = None,
    tflops: Annotated[
        Number,
        typer.Option(_TFLOPS, metavar="TFLOPS", help="A large matrix product in bf16. Optional."),
    ] = None,
    cpu_gb_s: Annotated[
        Number,
        typer.Option(
            _CPU,
            metavar="GB/s",
            help="What the CPU reads of the host's memory (STREAM): some 0.85 of the datasheet's. "
            "Experts get 0.75 of it. Optional.",
        ),
    ] = None,
    unified: Annotated[
        bool,
        typer.Option("--unified", help="One memory for CPU and GPU: no host, and no link to it."),
    ] = False,
    like: Annotated[
        str | None,
        typer.Option(metavar="MACHINE", help="Take the rest from this one, not the nearest."),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What computes: ampere, ada, apple. Says which engines run there, and by its "
            "vendor which machines the rest may be from.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where to, if not to NAME.yaml here."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
) -> None:
    """Write a machine's profile from five numbers, the rest from the nearest known machine."""
    from prefetch_sim.experiments.output import check_target
    from prefetch_sim.hardware_profiles import ProfileError, list_profiles
    from prefetch_sim.hardware_profiles.drafts import as_yaml, draft
    from prefetch_sim.traces.files import replacing

    said = {
        _GPU_MEMORY: gpu_memory_gib,
        _GPU_RATE: gpu_gb_s,
        _LINK: link_gb_s,
        _HOST: host_memory_gib,
        _DRIVE: drive_gb_s,
        _TFLOPS: tflops,
        _CPU: cpu_gb_s,
    }
    if not re.fullmatch(r"\w[\w.-]*", name) or name.endswith((".yaml", ".yml")):
        raise ProfileError(f"{name!r} is no name: write letters, digits, - and _; --out says where")
    if name in list_profiles():
        raise ProfileError(f"{name} is a machine of the catalogue; take another name")
    numbers = _numbers(said, unified)
    made = draft(name, numbers, unified=unified, like=like, chip=_chip(chip))
    target = out or Path(f"{name}.yaml")
    check_target("--out", target)
    if target.exists() and not force:
        raise ProfileError(f"{target} exists already; --force writes over it")
    with replacing(target) as whole:
        whole.write_text(as_yaml(made.profile), encoding="utf-8")
    _show(made, target, chip_said=chip is not None)


def _show(made: Draft, target: Path, *, chip_said: bool) -> None:
    """Print where its figures are from, and what was not said."""
    from prefetch_sim.experiments.output import console, grid
    from prefetch_sim.hardware_profiles.drafts import GIVEN

    out = console()
    how = "the nearest to these numbers" if made.near else "as was asked for"
    out.print(f"{target}: {made.profile.name}, like {made.like}, {how}", markup=False)
    if made.cpu is not None:
        how = "as none was said" if made.near else f"which comes with {made.like}"
        said_cpu = f"its CPU: {made.cpu}, {how}; {_CPU} says what yours reads"
        out.print(said_cpu, markup=False, soft_wrap=True)
    if not chip_said and made.profile.chip is not None:
        out.print(f"its chip: {made.profile.chip}, as its name tells", markup=False)
    figures = made.profile.flat()
    own = [path for path, figure in figures.items() if figure.source.endswith(GIVEN)]
    table = grid("figure", "value", "±", "source")
    for path in [*own, *(path for path in figures if path not in own)]:
        figure = figures[path]
        uncertainty = f"{100 * figure.uncertainty:g} %"
        table.add_row(path, f"{figure.value:g}", uncertainty, figure.source)
    out.print(table)
    if made.profile.chip is None:
        which = "\n--chip was not said, so advise does not know which engines run there"
        if made.near and made.vendor is None:
            which += ", and the nearest is of any vendor"
        out.print(which, markup=False, soft_wrap=True)
    out.print(f"\nuse it: --set hardware={target}", markup=False, soft_wrap=True)


def _chip(text: str | None) -> Chip | None:
    """Raises ProfileError with the nearest name."""
    from prefetch_sim.hardware_profiles import Chip, ProfileError
    from prefetch_sim.traces.errors import did_you_mean

    known = {str(name): name for name in get_args(Chip)}
    if text is None or text in known:
        return known[text] if text else None
    raise ProfileError(f"--chip: unknown chip {text!r}{did_you_mean(text, known)}")


def _numbers(said: dict[str, str | None], unified: bool) -> dict[str, float]:
    """The figures by dotted path. Raises ProfileError that names all that is missing or wrong."""
    from prefetch_sim.hardware_profiles import ProfileError

    wrong = []
    numbers = {}
    for flag, text in said.items():
        no_use = unified and flag in _OF_HOSTS
        if text is None:
            if not no_use and flag not in _OPTIONAL:
                wrong.append(f"{flag} is missing")
        elif no_use:
            wrong.append(f"{flag} has no place beside --unified")
        elif (number := _positive(text)) is None:
            wrong.append(f"{flag} {text!r} is not a number above 0")
        else:
            numbers[_PATHS[flag]] = number
    if wrong:
        raise ProfileError(f"{'; '.join(wrong)} (prefetch-sim hardware new --help says the units)")
    return numbers


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < 1e9 else None
