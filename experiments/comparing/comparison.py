"""What comparing two runs gives, as numbers; ``words`` says what they mean.

A and B run the same requests of one trace, whatever else differs. The difference of their whole
time is split into the parts that results name, which add up to the nanosecond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prefetch_sim.experiments.comparing.requests import check_same_requests
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.paired import Floats, Paired, difference, paired
from prefetch_sim.sim.run import run_inputs
from prefetch_sim.sim.setup import inputs as setup
from prefetch_sim.sim.setup.inputs import Inputs

Results = Mapping[str, Any]  # of one run, as ``prefetch-sim run --json`` prints them

_NO_PART = {"name", "engine"}  # of a config: no result depends on them
_WHOLE = {"cache.capacity", "host.capacity", "cache.static", "trace"}  # values of one piece


@dataclass(frozen=True)
class Figure:
    """One figure of both runs. ``paired``: None where it is not a sum over requests."""

    a: float | None
    b: float | None
    paired: Paired | None


@dataclass(frozen=True)
class Part:
    """What a part of the work took in each run, ns."""

    a: int
    b: int

    @property
    def difference(self) -> int:
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Two runs of the same requests, A and B; differences are B - A.

    ``changed``: by dotted path of the config, the values in A and in B. ``parts`` are compute, the
    runtime's own work and each stall; they add up to ``total`` in A, in B and in the difference.
    """

    a: Results
    b: Results
    changed: dict[str, tuple[Any, Any]]
    decode_tokens_per_s: Figure
    tokens_per_s: Figure  # prefill and all
    tpot_ms: Figure
    ttft_ms: Figure
    parts: dict[str, Part]
    total: Part

    @property
    def batched(self) -> bool:
        """Whether requests share steps in either run."""
        return any(side["config"]["batch_size"] > 1 for side in (self.a, self.b))

    def as_json(self) -> dict[str, Any]:
        """Everything, words apart, for ``json.dumps``. Times of parts are ms."""
        return {
            "a": dict(self.a),
            "b": dict(self.b),
            "changed": {path: list(values) for path, values in self.changed.items()},
            "decode_tokens_per_s": _plain(self.decode_tokens_per_s),
            "tokens_per_s": _plain(self.tokens_per_s),
            "tpot_ms": _plain(self.tpot_ms),
            "ttft_ms": _plain(self.ttft_ms),
            "parts_ms": {name: _ms(part) for name, part in self.parts.items()},
            "total_ms": _ms(self.total),
        }


def compare(a: RunConfig, b: RunConfig) -> Comparison:
    """Run both configs and compare them. Raises ConfigError where they run other requests."""
    return compare_inputs(setup.load(a), setup.load(b))


def compare_inputs(a: Inputs, b: Inputs) -> Comparison:
    """``compare`` for inputs that are loaded already."""
    check_same_requests(a, b)
    return compared(run_inputs(a), run_inputs(b))


def compared(a: Results, b: Results) -> Comparison:
    """Compare two finished runs of the same requests. Raises ValueError where they are no pairs."""
    of_a, of_b = a["by_request"], b["by_request"]
    mean = a["tpot_ms"]["mean"], b["tpot_ms"]["mean"]
    first = a["ttft_ms"]["mean"], b["ttft_ms"]["mean"]
    tpot = paired(of_a, of_b)  # first: it refuses what are no pairs
    each = np.ones(len(of_a["output_tokens"]))
    to_first = difference(of_a["ttft_ms"], of_b["ttft_ms"], each, each)
    parts = {name: Part(*values) for name, values in _parts(a, b).items()}
    return Comparison(
        a=a,
        b=b,
        changed=_changed(a["config"], b["config"]),
        tpot_ms=Figure(*mean, tpot),
        ttft_ms=Figure(*first, to_first),
        decode_tokens_per_s=_speed("decode_tokens_per_s", a, b),
        tokens_per_s=_speed("tokens_per_s", a, b),
        parts=parts,
        total=Part(_ns(a["total_ms"]), _ns(b["total_ms"])),
    )


def _speed(name: str, a: Results, b: Results) -> Figure:
    """Tokens over seconds: a weighted mean over requests, where each has its seconds alone."""
    both = a[name], b[name]
    if a["config"]["batch_size"] > 1 or b["config"]["batch_size"] > 1:
        return Figure(*both, None)
    (speeds_a, seconds_a), (speeds_b, seconds_b) = (
        _speeds(side["by_request"], prefill=name == "tokens_per_s") for side in (a, b)
    )
    return Figure(*both, difference(speeds_a, speeds_b, seconds_a, seconds_b))


def _speeds(of: Mapping[str, Any], prefill: bool) -> tuple[Floats, Floats]:
    """(tokens/s, seconds) of each request, of its prefill too or not."""
    tokens, ms, first = (
        np.array(of[name], dtype=np.float64) for name in ("output_tokens", "tpot_ms", "ttft_ms")
    )
    seconds = np.nan_to_num(ms) * tokens / 1000
    if prefill:
        tokens = tokens + np.isfinite(first)
        seconds = seconds + np.nan_to_num(first) / 1000
    with np.errstate(divide="ignore", invalid="ignore"):
        return tokens / seconds, seconds


def _parts(a: Results, b: Results) -> dict[str, tuple[int, int]]:
    found = []
    for side in (a, b):
        stalls = {f"stall: {name}": ms for name, ms in side["stall_ms"].items()}
        own = {"compute": side["compute_ms"], "runtime": side["runtime_ms"], **stalls}
        found.append({name: _ns(ms) for name, ms in own.items()})
    return {name: (ns, found[1][name]) for name, ns in found[0].items()}


def _changed(a: Any, b: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two configs differ: the value in each, None where one has none.

    A part's own name is at the part's path, as a sweep's axes have it.
    """
    if a == b or path in _NO_PART:
        return {}
    if not (isinstance(a, dict) and isinstance(b, dict)) or path in _WHOLE:
        return {path.removesuffix(".name"): (a, b)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*a, *b]):
        found |= _changed(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    return found


def _ns(ms: float) -> int:
    """Results are whole ns, written in ms."""
    return round(ms * 1e6)


def _ms(part: Part) -> dict[str, float]:
    ms = {"a": part.a, "b": part.b, "difference": part.difference}
    return {name: round(ns / 1e6, 6) for name, ns in ms.items()}


def _plain(figure: Figure) -> dict[str, Any]:
    found: dict[str, Any] = {"a": figure.a, "b": figure.b}
    pairs = figure.paired
    if pairs is None:
        return found | {"requests": None}
    numbers = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(pairs).items()
    }
    return found | numbers | {"enough": pairs.enough, "real": pairs.real, "chained": pairs.chained}
