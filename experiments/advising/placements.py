"""Where a model's experts can be, by what its serving engine can do, and the config of each way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log
from typing import Literal

from prefetch_sim.experiments.advising.machine import GIB
from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.files import Tree
from prefetch_sim.sim.cost.reserve import Reserve
from prefetch_sim.traces.models.spec import ModelSpec

# whole: all experts on the accelerator; layers: those of the last layers; each: some of each layer;
# both with the rest on the CPU. lru: a cache that loads what it misses; lru+cpu: the CPU computes
# that, and it is loaded behind. paged: one memory holds pages of the file, at best as an LRU cache
# of experts would.
Way = Literal["whole", "layers", "each", "lru", "lru+cpu", "paged"]
CACHED: tuple[Way, ...] = ("lru", "lru+cpu", "paged")
PROMPT = 16
# Decode tokens of a run: where every token takes the same, few say it.
_DECODE: dict[Way, int] = {
    "whole": 12, "layers": 12, "each": 48, "lru": 64, "lru+cpu": 64, "paged": 64,
}  # fmt: skip
# Engines that place in one way; others do what their profile does not lack.
_PLACES: dict[str, tuple[Way, ...]] = {"llama.cpp": ("layers",), "ktransformers": ("each",)}
# Engines that leave it to the system's page cache to read what memory lacks: what that costs (page
# faults, read-ahead of the wrong pages) is not modelled, so that a run says the best that can be.
PAGING = ("llama.cpp", "ktransformers", "imp")
# What an LRU cache of a share of the experts hits: Qwen3-30B-A3B, 24, 73, 146 and 244 of 384 slots
# a layer (kekzl/imp#1374); its experts are 16 times its top-k.
HITS = ((24 / 384, 0.366), (73 / 384, 0.741), (146 / 384, 0.894), (244 / 384, 0.962), (1.0, 1.0))
_HITS_OF = 16
# Another model is between two readings of it: by the share, and by where the share is between one
# token's need and everything. The weight of the latter gives what imp published of
# Qwen3.8-Flash-Next with 12 %: 62 % (kekzl/imp#2061) and 71 % (#2057). With fewer experts a top-k
# than 16 a large share holds little more than one token's need, so the latter alone counts.
_BY_NEED = 0.4


@dataclass(frozen=True)
class Place:
    """Says what there is to place, and where: the memories, and what is in them beside experts."""

    name: str  # of the model, or its file
    model: ModelSpec
    profile: HardwareProfile
    runtime: RuntimeProfile
    beside: Reserve
    sizes: Sequence[int]  # bytes of one expert, by MoE layer
    host_bytes: int  # host memory that experts may have; 0 where there is one memory

    @property
    def room(self) -> int:
        """Bytes of the accelerator's memory that experts may have; below 0 where it is too full."""
        return int(self.profile.compute.memory_gib.value * GIB) - self.beside.total

    @property
    def everything(self) -> int:
        return sum(self.sizes) * self.model.experts

    @property
    def top_k(self) -> int:
        """Bytes of the experts that a token needs in one layer, at most."""
        return max(self.sizes) * self.model.top_k

    def on_drive(self, on_gpu: int) -> int:
        """Bytes of experts that are in neither memory."""
        if self.profile.unified_memory:
            return self.everything - on_gpu
        return max(0, self.everything - on_gpu - self.host_bytes)


@dataclass(frozen=True)
class Placement:
    """One way to place experts. ``changes``: of a config, by top-level key."""

    way: Way
    on_gpu: int  # bytes of experts
    on_drive: int
    layers: int  # whole ones on the accelerator
    each: int  # experts of each layer there
    changes: Tree


def at_best(place: Place, placement: Placement) -> bool:
    """Whether a run says the best that can be: what pages would cost is not modelled."""
    return bool(placement.on_drive) and place.runtime.name in PAGING


def ways(place: Place, *, whole: bool = True) -> tuple[Way, ...]:
    """What the engine can do there; none where there is no room for what it needs.

    Without ``whole``, also where every expert would fit on the accelerator.
    """
    if whole and place.room >= place.everything:
        return ("whole",)
    lacks, loads = place.runtime.lacks, place.room >= place.top_k
    if place.profile.cpu is None:  # one memory; or a host that only keeps experts
        return (("paged" if place.runtime.name == "llama.cpp" else "lru"),) if loads else ()
    able: list[Way] = [] if "cpu" in lacks else ["layers", "each"]
    if "loads" not in lacks:
        able += ["lru+cpu", "lru"] if able else ["lru"]
    own = _PLACES.get(place.runtime.name, tuple(able) or ("lru",))
    enough = loads if place.on_drive(0) else place.room >= max(place.sizes)
    return tuple(way for way in own if (loads if way in CACHED else enough))


def placed(
    place: Place, way: Way, *, n_cpu_moe: int | None = None, cache: int | None = None
) -> Placement:
    """As many experts on the accelerator as fit; or as was asked for, in layers or bytes.

    Raises ConfigError where that does not fit.
    """
    room = place.room if cache is None else cache
    if room > place.room:
        raise ConfigError(
            f"cache: {gib(room)} do not fit in the {gib(max(place.room, 0))} that "
            f"{place.profile.name} has beside {place.beside}"
        )
    fills = cache is None and n_cpu_moe is None  # another memory is then filled likewise
    layers = each = 0
    on_gpu = min(room, place.everything)
    changes: Tree
    if way == "whole":
        layers, changes = place.model.moe_layers, {"cache": {"capacity": "100%", "warm": "first"}}
    elif way in CACHED:
        policy = "cpu" if way == "lru+cpu" else "load"
        changes = {
            "cache": {
                "capacity": "fill" if fills else f"{on_gpu}B",
                **({"warm": "first"} if on_gpu == place.everything else {}),
            },
            "misses": {"policy": policy, "then": "load"},
        }
    else:
        fills = fills and way == "layers" and not place.on_drive(0)
        free = place.top_k if place.on_drive(0) else 0  # to load into what the drive has
        if way == "layers":
            layers = _layers(place, room - free, n_cpu_moe)
            on_gpu = sum(last(place, layers))
            kept = "fill" if fills else layers
            cached: Tree = {"static": {"layers": f"last {kept}"}} if layers else {}
        else:
            each = max(room - free, 0) // sum(place.sizes)
            on_gpu = each * sum(place.sizes)
            cached = {"warm": "first"}  # what is there at first stays: nothing is loaded
        capacity = max(on_gpu + free, *place.sizes)
        changes = {
            "cache": {"capacity": "fill" if fills else f"{capacity}B", **cached},
            "misses": {"policy": "cpu", "then": "keep", "up_to": 1_000_000},
        }
    on_drive = place.on_drive(on_gpu)
    static = "static" in changes["cache"]  # which host memory need not keep
    needed = place.everything - (on_gpu if static else 0)
    if not place.profile.unified_memory and (on_drive or _short(place, needed)):
        changes["host"] = {"capacity": f"{place.host_bytes}B"}
    changes["trace"] = _routing(place, way, on_gpu, on_drive)
    return Placement(way, on_gpu, on_drive, layers, each, changes)


def _short(place: Place, nbytes: int) -> bool:
    """Whether host memory, behind which is the drive, is below ``nbytes``."""
    host = place.profile.host
    return host is not None and host.memory_gib.value * GIB < nbytes


def last(place: Place, count: int) -> list[int]:
    """Bytes of the experts of each of the last ``count`` layers, the last first."""
    return [place.model.experts * size for size in place.sizes[::-1][:count]]


def _layers(place: Place, room: int, n_cpu_moe: int | None) -> int:
    """How many of the last layers; ``n_cpu_moe`` counts dense ones too, as llama.cpp does."""
    model = place.model
    fit = sum(so_far <= room for so_far in accumulate(last(place, model.moe_layers)))
    if n_cpu_moe is None:
        return fit
    count = sum(index >= n_cpu_moe for index in model.moe_layer_indices)
    if count > fit:
        raise ConfigError(
            f"n-cpu-moe: {n_cpu_moe} leaves {gib(sum(last(place, count)))} of experts to "
            f"{place.profile.name}, which has room for {gib(max(room, 0))} beside "
            f"{place.beside}; at least {first_layers(model, fit)} are needed"
        )
    return count


def first_layers(model: ModelSpec, on_gpu: int) -> int:
    """llama.cpp's N of ``--n-cpu-moe``, with the experts of the last ``on_gpu`` layers there."""
    return model.moe_layer_indices[-on_gpu] if on_gpu else model.layers


def _routing(place: Place, way: Way, on_gpu: int, on_drive: int) -> Tree:
    """Drawn, where it hardly matters; or such that an LRU cache hits as such caches do.

    That is the one on the accelerator, or host memory above a drive.
    """
    lru = way in CACHED
    decode = _DECODE["lru" if on_drive else way]
    made: Tree = {
        "synthetic": place.name, "requests": 1, "prompt": PROMPT, "decode": decode,
    }  # fmt: skip
    if not (lru or on_drive):
        return made
    share = on_gpu / place.everything
    if not lru:
        share = place.host_bytes / (place.everything - on_gpu)
    if share >= 1:
        return made
    held = max(round(share * place.everything), place.top_k)
    rate = hits(share, place.model.experts / place.model.top_k)
    return {**made, "hit_rate": round(rate, 4), "at": f"{held}B"}


def hits(share: float, needs: float) -> float:
    """The hit rate of an LRU cache of that share of the experts, a token needing one of ``needs``.

    One that does not hold what a token needs hits nothing.
    """
    if share * needs < 1 - 1e-9:
        return 0.0
    place = log(share * needs) / log(needs) if needs > 1 else 1.0
    by_need = _measured(_HITS_OF ** (place - 1))
    if needs <= _HITS_OF:
        return by_need
    return max(0.0, (1 - _BY_NEED) * _measured(share) + _BY_NEED * by_need)


def _measured(share: float) -> float:
    """Of the model that was measured, along the logarithm between two points."""
    after = next(i for i, (at, _) in enumerate(HITS) if share <= at or at == 1.0)
    (a, low), (b, high) = HITS[max(after, 1) - 1], HITS[max(after, 1)]
    return low + (high - low) * log(share / a) / log(b / a)


def gib(nbytes: float) -> str:
    return f"{nbytes / GIB:.2f} GiB"
