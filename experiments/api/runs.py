"""One run in Python: its results, its records as DataFrames, and how a notebook shows it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from prefetch_sim.experiments.api import html
from prefetch_sim.experiments.api.given import Config, Overrides, changes, named, read
from prefetch_sim.experiments.conclusions.one_run import of_run
from prefetch_sim.experiments.runs import (
    checked,
    doubts,
    headline,
    of_one_run,
    said_nothing,
    without,
)
from prefetch_sim.experiments.text import number, percent
from prefetch_sim.sim.config.files import set_path
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.results.simulation import Simulation
from prefetch_sim.sim.results.summary import results
from prefetch_sim.sim.run import simulate
from prefetch_sim.sim.setup.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd


def run(
    config: Config, overrides: Overrides = None, /, *, records: bool = True, **keys: Any
) -> Run:
    """Simulate one configuration.

    ``config``: a YAML file, a mapping as YAML would have it, or a RunConfig. ``overrides``: values
    by dotted path, ``keys`` the same for paths without a dot: ``run("a.yaml", {"cache.capacity":
    "50%"}, seed=3)``. A trace may be a Trace, and a policy a function, class or module. Without
    ``records`` there are no DataFrames of layer-steps and loads, which take the most memory.
    Raises ConfigError, a ValueError, with the line that the command prints.
    """
    inputs = inputs_of(config, overrides, **keys)
    for line in doubts(inputs):
        warnings.warn(line.removeprefix("warning: "), stacklevel=2)
    done = simulate(inputs, records=records)
    found = results(done)
    for line in said_nothing(found):
        warnings.warn(line.removeprefix("warning: "), stacklevel=2)
    return Run(found, done)


def inputs_of(config: Config, overrides: Overrides = None, /, **keys: Any) -> Inputs:
    """The checked inputs of one run, as ``run`` takes it. Raises ConfigError naming the config."""
    tree, where = read(config)
    if changed := changes(overrides, keys):
        where += f" with {', '.join(path for path, _ in changed)}"
    for path, value in changed:
        tree = set_path(tree, path, value)
    return checked(named(of_one_run(tree, where, "use prefetch_sim.sweep"))[0], where)


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run.

    ``results`` is what ``prefetch-sim run --json`` prints. The DataFrames have times in ms and
    sizes in bytes; docs/python.md lists their columns.
    """

    results: dict[str, Any]
    simulation: Simulation

    @property
    def config(self) -> RunConfig:
        """Everything that the run depended on."""
        return self.simulation.inputs.config

    @property
    def tpot_ms(self) -> float | None:
        """Mean time per output token, ms; None where no token came out of a decode step."""
        return self._at("tpot_ms", "mean")

    @property
    def ttft_ms(self) -> float | None:
        """Mean time to first token, ms; None without prompts."""
        return self._at("ttft_ms", "mean")

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Tokens that come out a second of decode, of all requests together."""
        return self._at("decode_tokens_per_s")

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens that came out a second of the run, prefill included."""
        return self._at("tokens_per_s")

    @property
    def hit_rate(self) -> float | None:
        """Share (0 to 1) of routed experts that were resident when their layer was routed."""
        return self._at("hit_rate", "all")

    @property
    def total_ms(self) -> float:
        """The run's time, ms."""
        return float(self.results["total_ms"])

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row a request."""
        from prefetch_sim.sim.results import frames

        return frames.requests(self.simulation)

    @cached_property
    def tokens(self) -> pd.DataFrame:
        """A row a token that came out."""
        from prefetch_sim.sim.results import frames

        return frames.tokens(self.simulation)

    @cached_property
    def layer_steps(self) -> pd.DataFrame:
        """A row an MoE layer of a forward pass."""
        from prefetch_sim.sim.results import frames

        return frames.layer_steps(self.simulation)

    @cached_property
    def loads(self) -> pd.DataFrame:
        """A row a load that was queued."""
        from prefetch_sim.sim.results import frames

        return frames.loads(self.simulation)

    @cached_property
    def said(self) -> list[str]:
        """What the results mean, a sentence or two each.

        Where the run predicts, the same run without is simulated for it, unless that takes long.
        """
        return of_run(self.results, without(self.simulation.inputs))

    @property
    def title(self) -> str:
        """What ran, in a line."""
        return headline(self.simulation.inputs)

    def __repr__(self) -> str:
        return (
            f"<Run {self.title}: {number(self.decode_tokens_per_s)} tokens/s in decode, "
            f"{number(self.tpot_ms)} ms per output token, hit rate {percent(self.hit_rate)}>"
        )

    def _repr_html_(self) -> str:
        found, total = self.results, self.total_ms
        stalls = sum(found["stall_ms"].values())
        rows = [
            ("decode, tokens/s", number(self.decode_tokens_per_s)),
            ("whole run, tokens/s", number(self.tokens_per_s)),
            ("ms per output token", number(self.tpot_ms)),
            ("ms to first token", number(self.ttft_ms)),
            ("hit rate", percent(self.hit_rate)),
            ("waiting for experts", percent(stalls / total if total else None)),
        ]
        if found["bounds_ms"] is not None:
            saved = found["regret_ms"] / total if total else None
            rows.append(("no policy could save more than", percent(saved)))
        return html.block(self.title, [html.pairs(rows)], self.said)

    def _at(self, *path: str) -> float | None:
        found: Any = self.results
        for key in path:
            found = found[key]
        return None if found is None else float(found)
