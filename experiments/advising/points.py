"""The runs behind an answer: a config each, of which the time of a decoded token is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from prefetch_sim.sim.config.files import Tree, parse, set_path
from prefetch_sim.sim.results.metrics import MS, hit_rates, latencies
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup import inputs as read
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.sim.setup.parts import cost_model
from prefetch_sim.traces.trace import DECODE

MISSES = "routing.misses"  # stands among the figures for what nobody can know of a machine
_FEW = 16  # decode tokens of the runs that say what a figure counts for
# Decode tokens of the runs that say what prefetching brings, of which the later half counts: at
# first a wrong load evicts nothing that would be used again. Gains then are within some 3 points of
# those after 512 tokens. Fewer where many bytes of experts come off a drive, in pieces.
_SETTLED, _LEAST_SETTLED, _OFF_DRIVE = 256, 64, 2**38
_WORSE = 1.1  # by which a figure is made worse to see what it counts for
_RATES = ("gb_s", "expert_efficiency", "beside_loads", "contention")  # the others are delays
# Sizes and counts are not in doubt; decode is not bound by operations.
_NO_TIMES = (
    "memory_gib", "reserve_mib", "read_mib", "chunk_mib", "threads", "queue_depth", "copies",
)  # fmt: skip
_OF_LOADS = (
    "hardware.host_link", "hardware.storage", "hardware.compute.beside_loads", "runtime.load",
    "runtime.miss",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A run that is over."""

    tree: Tree
    inputs: Inputs
    ms: float  # a decode token
    hit_rate: float | None  # of decode

    @property
    def tokens_s(self) -> float:
        return 1e3 / self.ms


def run(tree: Tree, *, last: int = 0) -> Point:
    """Run a config; the time is of its ``last`` tokens, or of all. Raises ConfigError."""
    inputs = read.load(parse(tree, "advise"))
    done = simulate(inputs, records=False)
    between, _ = latencies(inputs.workload.table, done.steps)
    return Point(
        tree, inputs, float(between[-last:].mean()) / MS, hit_rates(done.totals.layers)["decode"]
    )


def settled(tree: Tree, inputs: Inputs) -> Point:
    """Run a config, which ``inputs`` are of, with a cache that is full of what is used.

    The time is of the later half of its tokens. Raises ConfigError.
    """
    sets = filling(tree, inputs)
    for path, value in sets.items():
        tree = set_path(tree, path, value)
    return run(tree, last=sets["trace.decode"] // 2)


def filling(tree: Tree, inputs: Inputs) -> dict[str, int]:
    """Keys of a config with which its cache is full: the prompt goes round all experts."""
    model, profile = inputs.model, inputs.profile
    tokens = _SETTLED
    if profile.unified_memory or inputs.host_bytes is not None:
        routed = sum(inputs.sizes) * model.top_k
        tokens = max(_LEAST_SETTLED, min(_SETTLED, _OFF_DRIVE // routed))
    prompt = max(tree["trace"]["prompt"], -(-model.experts // model.top_k))
    tokens = min(tokens, max(2, tree.get("context", tokens + prompt) - prompt))
    return {"trace.prompt": prompt, "trace.decode": tokens}


def at_context(point: Point, tokens: int) -> float:
    """ms of a decode token that is the last of ``tokens`` of context, all else as in ``point``."""
    cost, trace = cost_model(point.inputs), point.inputs.workload.trace
    usual = int(trace.position[trace.phase == DECODE].mean())
    steps = [cost.step("decode", [1], [n]) for n in (usual, max(usual, tokens - 1))]
    short, full = (sum(s.prologue_ns) + sum(s.attention_ns) + s.epilogue_ns for s in steps)
    return point.ms + (full - short) / MS


def elasticities(point: Point, told: Callable[[str], None]) -> dict[str, float]:
    """By figure, the percent that a token takes longer for each that the figure is worse.

    Figures are ``hardware.PATH`` and ``runtime.PATH`` of what ``point`` ran with, and ``MISSES``
    where its routing was made to a hit rate. ``told`` is called with each before its run.
    """
    tree = set_path(point.tree, "trace.decode", min(_FEW, point.tree["trace"]["decode"]))
    usual = run(tree)
    changes: dict[str, tuple[str, float]] = {}
    for path, value in _figures(point).items():
        is_rate = any(word in path for word in _RATES)
        changes[path] = path, value / _WORSE if is_rate else value * _WORSE
    rate = tree["trace"].get("hit_rate")
    if rate:
        changes[MISSES] = "trace.hit_rate", round(max(0.0, 1 - _WORSE * (1 - rate)), 4)
    found = {}
    for figure, change in changes.items():
        told(figure)
        worse = run(set_path(tree, *change))
        found[figure] = max(0.0, log(worse.ms / usual.ms) / log(_WORSE))
    return found


def _figures(point: Point) -> dict[str, float]:
    """Those that may count."""
    inputs = point.inputs
    profile, runtime = inputs.profile, inputs.runtime
    unused = ["hardware.compute.tflops", "hardware.cpu.tflops"]
    kernels = "launch_us" if runtime.kernels == "eager" else "eager_launch_us"
    unused.append(f"hardware.compute.{kernels}")
    if runtime.overlap != "per_expert":
        unused.append("runtime.miss.beside_us")
    if point.hit_rate == 1.0:
        unused += [*_OF_LOADS, "hardware.cpu", "runtime.cpu"]
    if not inputs.cpu_computes:
        unused += ["hardware.cpu", "hardware.contention", "runtime.cpu"]
    if inputs.host_bytes is None and not profile.unified_memory:
        unused += ["hardware.storage", "runtime.load.read_us"]
    sides = {"hardware": profile.flat(), "runtime": runtime.flat()}
    return {
        path: figure.value
        for side, figures in sides.items()
        for path, figure in ((f"{side}.{name}", figure) for name, figure in figures.items())
        if figure.value and not path.endswith(_NO_TIMES) and not path.startswith(tuple(unused))
    }
