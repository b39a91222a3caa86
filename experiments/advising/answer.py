"""What an answer says: numbers alone, of decode with one request at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prefetch_sim.experiments.advising.band import Deviations
from prefetch_sim.experiments.advising.machine import Taken
from prefetch_sim.experiments.advising.near import Measured
from prefetch_sim.experiments.advising.placements import Way
from prefetch_sim.experiments.advising.targets import Target
from prefetch_sim.hardware_profiles import Chip
from prefetch_sim.sim.config.files import Tree

Fits = Literal["whole", "split", "drive", "nowhere"]


@dataclass(frozen=True)
class Memory:
    """GiB; what is left of the accelerator's is negative where the rest does not fit."""

    unified: bool  # one memory: no host behind a link
    accelerator: float
    other_weights: float
    kv_cache: float
    runtime: float
    left: float  # for experts
    experts: float  # all of them
    on_gpu: float
    in_host: float
    on_drive: float


@dataclass(frozen=True)
class Speed:
    """What is expected, and the band in which it is; half-widths are shares."""

    tokens_s: float
    low: float
    high: float
    ms: float
    half_width: float
    from_figures: float
    from_field: float
    cut: bool  # what is known makes it wider
    uncut: float  # the half-width that what is known makes it, and the ends that it has then
    uncut_low: float
    uncut_high: float
    at_best: bool  # paging is not modelled: the band is open below, and ``low`` is 0
    tokens_s_at_context: float


@dataclass(frozen=True)
class Split:
    """How experts are placed: ``layers`` whole ones, or ``each`` of every layer, or a cache."""

    way: Way
    layers: int
    each: int
    share: float  # of all experts' bytes
    hit_rate: float | None
    flags: str | None  # of the engine, where it has some


@dataclass(frozen=True)
class Option:
    """Something else, and what it would bring: ``gain`` is a share of what it is compared to."""

    what: str
    tokens_s: float
    gain: float
    at_best: bool = False  # as in ``Speed``


@dataclass(frozen=True)
class Trust:
    """What the answer rests on."""

    figures: dict[str, int]  # that count, by kind: measured, datasheet, estimate
    doubts: dict[str, float]  # the largest parts of the band, by figure
    measured: tuple[Measured, ...]  # the nearest rows of the field check
    whole: Deviations | None = None  # of its rows that have all on a GPU, as here


@dataclass(frozen=True)
class Advice:
    """All that there is to say. What is None, or empty, there is nothing to say of."""

    model: str
    precision: Any
    machine: str
    chip: Chip | None  # what computes there; None: not known
    runtime: str
    context: int
    taken: tuple[Taken, ...]
    fits: Fits
    memory: Memory
    longest_context: int | None = None  # where nothing fits: the most with which it would
    speed: Speed | None = None
    split: Split | None = None
    limits: dict[str, float] | None = None  # shares of a token's time that go with each
    more: tuple[Option, ...] = ()  # memory, link, drive, CPU
    safer: Option | None = None  # with fewer layers on the GPU, where the best leaves little free
    best: Option | None = None  # as fast as the engine can be, where a split was asked about
    engines: tuple[Option, ...] = ()
    prefetch: tuple[Option, ...] = ()
    prefetches: str | None = None  # the engine that these are of
    prefetch_over: float | None = None  # its tokens a second without
    may_prefetch: bool = True  # whether that engine can do it today
    prefetches_here: bool | None = True  # whether it runs on that machine; None: not known
    prefetch_sets: dict[str, int] | None = None  # of ``config``, for a cache as full as in these
    target: Target | None = None
    trust: Trust | None = None
    config: Tree | None = None  # of prefetch-sim run
