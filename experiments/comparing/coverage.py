"""How often the 95 % interval of a paired comparison holds the difference that it is of.

Requests are drawn from populations whose difference is known. ``python -m
prefetch_sim.experiments.comparing.coverage`` prints the table of docs/compare.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.results.paired import difference

Floats = npt.NDArray[np.float64]
# n requests: ms per output token in A and in B, and output tokens.
Population = Callable[[np.random.Generator, int], tuple[Floats, Floats, Floats]]

REQUESTS = (8, 12, 36)
_MANY = 1_000_000


def even(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """Requests of one length; differences are normal."""
    a = rng.normal(100, 15, n)
    return a, a + rng.normal(-2, 5, n), np.full(n, 64.0)


def uneven(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """Some are far longer than others; a few gain much, long ones more often."""
    tokens = np.ceil(64 * rng.lognormal(0, 0.8, n))
    a = 100 * rng.lognormal(0, 0.15, n)
    return a, a + 3 - rng.exponential(5, n) * (tokens / 64) ** 0.25, tokens


def chained(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """As ``even``, but each differs as the one before it: a correlation of 0.5."""
    noise = rng.normal(0, 1, n)
    off = np.empty(n)
    off[0] = noise[0]
    for i in range(1, n):
        off[i] = 0.5 * off[i - 1] + 0.75**0.5 * noise[i]
    a = rng.normal(100, 15, n)
    return a, a - 2 + 5 * off, np.full(n, 64.0)


POPULATIONS: dict[str, Population] = {"even": even, "uneven": uneven, "chained": chained}


def coverage(population: Population, requests: int, trials: int) -> float:
    """The share of ``trials`` samples of so many requests whose interval holds the truth."""
    a, b, tokens = population(np.random.default_rng(0), _MANY)
    truth = float((b - a) @ tokens / tokens.sum())
    held = 0
    for trial in range(trials):
        a, b, tokens = population(np.random.default_rng((1, trial)), requests)
        found = difference(a, b, tokens, tokens)
        held += found.low <= truth <= found.high
    return held / trials


def main(trials: int = 2_000) -> None:
    """Print the table, in Markdown."""
    print("| requests | " + " | ".join(POPULATIONS) + " |")
    print("| ---: |" + " ---: |" * len(POPULATIONS))
    for n in REQUESTS:
        shares = (coverage(population, n, trials) for population in POPULATIONS.values())
        print(f"| {n} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")


if __name__ == "__main__":
    main()
