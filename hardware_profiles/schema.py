"""The shape of a machine's profile, and of a runtime's: each number says its kind and source.

Units stand in the field names: ``gb_s`` is 1e9 bytes a second, ``gib`` and ``mib`` are powers of
two, ``us`` microseconds, ``tflops`` 1e12 multiply or add operations a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Kind = Literal["measured", "datasheet", "estimate"]
# What engines are built for. blackwell: sm_120, of desktops; blackwell-server: sm_100.
Chip = Literal[
    "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell", "blackwell-server", "gb10",
    "tegra", "rdna", "arc", "apple", "cpu",
]  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Frozen):
    """One number with where it comes from; ``uncertainty`` is relative (0.05 is ±5 %)."""

    value: float = Field(ge=0)
    kind: Kind
    source: str = Field(min_length=3)
    uncertainty: float = Field(ge=0, le=1)


_MOST = 65_536  # commands that an NVMe queue holds
_LARGEST = 1_000_000_000  # in MiB or GiB: its bytes fit in 64 bits
_LONGEST_US = 1_000_000_000  # a run's clock holds the sum of very many


def _positive(figure: Figure) -> Figure:
    if figure.value <= 0:
        raise ValueError(f"value must be positive, not {figure.value:g}")
    return figure


def _count(figure: Figure) -> Figure:
    if not 1 <= figure.value <= _MOST or figure.value != int(figure.value):
        raise ValueError(f"value must be a whole number from 1 to {_MOST:,}, not {figure.value:g}")
    return figure


def _delay(figure: Figure) -> Figure:
    if figure.value > _LONGEST_US:
        raise ValueError(f"value must be at most {_LONGEST_US:,} µs, not {figure.value:g}")
    return figure


def _kept(figure: Figure) -> Figure:
    if figure.value > _LARGEST:
        raise ValueError(f"value must be at most {_LARGEST:,} MiB, not {figure.value:g}")
    return figure


def _size(figure: Figure) -> Figure:
    if _positive(figure).value > _LARGEST:
        raise ValueError(f"value must be at most {_LARGEST:,}, not {figure.value:g}")
    return figure


def _share(figure: Figure) -> Figure:
    if not 0 < figure.value <= 1:
        raise ValueError(f"value must be above 0 and at most 1, not {figure.value:g}")
    return figure


# A rate or a size of zero would stop the clock; a delay of zero is an idealised device.
Rate = Annotated[Figure, AfterValidator(_positive)]
Size = Annotated[Figure, AfterValidator(_size)]
Count = Annotated[Figure, AfterValidator(_count)]
Kept = Annotated[Figure, AfterValidator(_kept)]
Share = Annotated[Figure, AfterValidator(_share)]
Delay = Annotated[Figure, AfterValidator(_delay)]


class ByPrecision(_Frozen):
    """Achieved rates by the precision of the weights. One left out has bf16's."""

    bf16: Rate
    fp8: Rate | None = None
    int4: Rate | None = None
    mxfp4: Rate | None = None


class Compute(_Frozen):
    """The device that multiplies: a GPU, or the CPU cores of a board without a usable one."""

    tflops: ByPrecision = Field(description="achieved dense matrix throughput")
    memory_gb_s: Rate = Field(description="achieved bandwidth of the memory the experts run from")
    expert_efficiency: Share = Field(
        description="share of memory_gb_s that the small products of one expert reach"
    )
    launch_us: Delay = Field(description="per kernel, in a fused or graph-captured runtime")
    eager_launch_us: Delay = Field(description="per kernel, in eager PyTorch")
    memory_gib: Size
    beside_loads: Share | None = Field(
        default=None,
        description="share of memory_gb_s that is left while experts are loaded; none: all of it",
    )


class HostLink(_Frozen):
    """Pinned host memory to device memory: one transfer takes α + bytes/β."""

    gb_s: Rate = Field(description="β")
    isolated_us: Delay = Field(description="α of a transfer that finds the link idle")
    back_to_back_us: Delay = Field(description="α of a transfer queued behind another")
    chunk_mib: Size | None = Field(
        default=None, description="unit of waiting; none: a whole expert is one transfer"
    )


class Storage(_Frozen):
    """A drive that serves up to ``queue_depth`` reads at once over one shared bus.

    A read issued at t: ``bus_start = max(t, bus_free)``, ``bus_free = bus_start + bytes/gb_s``,
    ``finish = max(bus_free, t + bytes/stream_gb_s) + latency``.
    """

    name: str | None = Field(default=None, description="of the part, where it is one")
    gb_s: Rate = Field(description="all reads together")
    stream_gb_s: Rate = Field(description="one read by itself, latency apart")
    latency_us: Delay
    queue_depth: Count
    read_mib: Size = Field(description="one read request, the unit of waiting")


class Host(_Frozen):
    """The memory on the far side of the host link."""

    memory_gib: Size


class Cpu(_Frozen):
    """The host's cores, where experts in host memory can be computed."""

    name: str | None = Field(default=None, description="of the part, where it is one")
    expert_gb_s: ByPrecision = Field(
        description="achieved bandwidth of the products of one expert, bytes as they are stored"
    )
    tflops: ByPrecision = Field(description="achieved throughput of products of many tokens")
    start_us: Delay = Field(description="to start a parallel region and join it again")
    threads: Count = Field(description="at which the rates were reached")


class Contention(_Frozen):
    """What each keeps of its rate while the other works, as host memory is shared."""

    cpu: Share = Field(description="share of cpu.expert_gb_s while the host link moves experts")
    host_link: Share = Field(description="share of host_link.gb_s while the CPU computes experts")


HOST_SECTIONS = ("host_link", "host", "cpu", "contention")  # of machines with two memories


class Profile(_Frozen):
    """A file of named figures, with a line on what it is of."""

    WHAT: ClassVar[str]  # messages call it that

    name: str = Field(min_length=1)
    description: str

    def flat(self) -> dict[str, Figure]:
        """Every figure by its dotted path, in the order of the schema."""
        return dict(_figures(self, ""))


class HardwareProfile(Profile):
    """One machine. A unified-memory board has no host link and no host: storage fills its DRAM."""

    WHAT = "hardware"

    chip: Chip | None = Field(
        default=None, description="what computes, by generation; none: not said, engines not judged"
    )
    unified_memory: bool
    compute: Compute
    host_link: HostLink | None = None
    storage: Storage
    host: Host | None = None
    cpu: Cpu | None = Field(default=None, description="none: experts cannot be computed there")
    contention: Contention | None = Field(
        default=None, description="none: nobody measured it, and each works at its full rate"
    )

    @model_validator(mode="after")
    def _tiers(self) -> HardwareProfile:
        given = [part for part in HOST_SECTIONS if getattr(self, part) is not None]
        if self.unified_memory and given:
            raise ValueError(f"unified_memory is true, so {', '.join(given)} must be left out")
        needed = [part for part in ("host_link", "host") if part not in given]
        if not self.unified_memory and needed:
            raise ValueError(f"unified_memory is false, so {', '.join(needed)} must be given")
        return self


class CpuPart(Profile):
    """A CPU and its memory, which computes experts in any machine that has a host."""

    WHAT = "cpu"

    cpu: Cpu
    contention: Contention | None = None


class StoragePart(Profile):
    """A drive, for any machine."""

    WHAT = "drive"

    storage: Storage


class Misses(_Frozen):
    """Bookkeeping for an expert that was loaded; nothing computes meanwhile."""

    us: Delay = Field(description="an expert: look-up, order of eviction, slots, page faults")
    us_per_mib: Delay = Field(description="a MiB of it: copies into slots, conversion")
    beside_us: Delay = Field(
        description="an expert, where loads and compute overlap: threads that wait for it and wake"
    )


class Loads(_Frozen):
    """What a load costs beyond what the machine's link or drive takes."""

    issue_us: Delay = Field(description="host's work to issue one copy over the host link")
    copies: Count = Field(description="copies an expert: 3 where gate, up and down go apart")
    read_us: Delay = Field(description="a read off storage")


class CpuExperts(_Frozen):
    """What experts on the CPU cost beyond what its cores and the activations' way take."""

    submit_us: Delay = Field(description="a layer: hand over the work, wait for it, merge")


class RunsOn(_Frozen):
    """The chips that an engine runs on, and who says so."""

    chips: tuple[Chip, ...] = Field(min_length=1)
    kind: Kind
    source: str = Field(min_length=3)


Overlap = Literal["per_expert", "grouped", "none"]


class RuntimeProfile(Profile):
    """One serving engine: how it works, and what its own work costs."""

    WHAT = "runtime"

    kernels: Literal["fused", "eager"]
    overlap: Overlap
    lacks: tuple[Literal["prefetch", "loads", "cpu"], ...] = Field(
        default=(),
        description="what it does not do: prefetching, loading what a token misses, experts on the "
        "CPU. A run that does so is simulated all the same, and says it",
    )
    runs_on: RunsOn | None = Field(
        default=None,
        description="none: wherever a machine has a profile. A run elsewhere is simulated all the "
        "same, and says it",
    )
    step_us: Delay = Field(description="host's work of a forward pass: scheduling, sampling")
    layer_us: Delay = Field(description="host's work of a MoE layer")
    routing_us: Delay = Field(
        description="from the gate until whoever decides knows the routing: a copy, and waiting"
    )
    miss: Misses
    load: Loads
    cpu: CpuExperts
    reserve_mib: Kept = Field(
        description="device memory kept for itself: CUDA context, workspaces, activations"
    )

    def known_to_run_on(self, chip: Chip | None) -> bool | None:
        """Whether it does; None where the machine does not say its chip."""
        if self.runs_on is None:
            return True
        return None if chip is None else chip in self.runs_on.chips


def _figures(node: BaseModel, prefix: str) -> Iterator[tuple[str, Figure]]:
    for name in type(node).model_fields:
        value = getattr(node, name)
        if isinstance(value, Figure):
            yield prefix + name, value
        elif isinstance(value, BaseModel):
            yield from _figures(value, f"{prefix}{name}.")
