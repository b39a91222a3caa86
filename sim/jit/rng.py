"""Counter-based random numbers: a draw depends on its keys, never on the order of calls.

SplitMix64's finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
OOPSLA 2014) over the keys folded in one at a time.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """64-bit integer in, well-mixed 64-bit integer out."""
    z = (z + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def draw(seed: int, a: int, b: int = 0, c: int = 0) -> int:
    """64 random bits keyed by (seed, a, b, c)."""
    return mix(mix(mix(mix(seed) ^ a) ^ b) ^ c)


def bits(seed: int, a: int, b: int = 0, c: int = 0) -> int:
    """53 random bits keyed by (seed, a, b, c): the top ones of ``draw``."""
    return draw(int(seed), int(a), int(b), int(c)) >> 11


def uniform(seed: int, a: int, b: int = 0, c: int = 0) -> float:
    """A float in [0, 1) keyed by (seed, a, b, c), from the same bits."""
    return bits(seed, a, b, c) * (1.0 / 9007199254740992.0)


def pick(seed: int, a: int, b: int, c: int, rows: int, columns: int) -> tuple[int, int]:
    """A place of a [rows, columns] table, keyed by (seed, a, b, c)."""
    bits = draw(int(seed), int(a), int(b), int(c))
    return bits % rows, (bits >> 40) % columns
