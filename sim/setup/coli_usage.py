"""How often colibri used each expert (``.coli_usage``), for ``cache.static.counts``.

Text: ``-1 layers experts``, ``-2 version hash``, then ``layer expert count`` for every expert that
was used. Layers are numbered as in the model, or those with a router alone, by how many the first
line says there are. The layout is that of the program's documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.traces.models.spec import ModelSpec

_MOST = 10**15  # of one count: their sum is a number too


def is_usage(file: str) -> bool:
    """Whether the file begins as colibri's does; not where it cannot be read at all."""
    try:
        with Path(file).expanduser().open("rb") as opened:
            return opened.read(3) == b"-1 "
    except (OSError, ValueError, RuntimeError):  # no such user's home, a path with a NUL
        return False


def read_usage(key: str, file: str, model: ModelSpec) -> npt.NDArray[np.int64]:
    """[MoE layers, experts] counts, 0 where there is no line. Raises ConfigError with the line."""
    try:
        lines = Path(file).expanduser().read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise ConfigError(f"{key}: {file}: cannot be read ({error.strerror})") from error
    layers, experts, _ = model.topology
    counts = np.zeros((layers, experts), np.int64)
    place: dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0] == "-2":
            continue
        where = f"{key}: {file}: line {number}"
        if number == 1:
            said = [*words[1:], "", ""]
            numbered = {model.layers: model.moe_layer_indices, layers: tuple(range(layers))}
            for total, indices in numbered.items():
                if said[:2] == [str(total), str(experts)]:
                    place = {layer: i for i, layer in enumerate(indices)}
            if not place:
                raise ConfigError(
                    f"{where}: {said[0][:20]} layers of {said[1][:20]} experts, the model has "
                    f"{layers} MoE layers of {experts}"
                )
            continue
        if len(words) != 3 or not all(w.isascii() and w.isdecimal() and len(w) < 17 for w in words):
            raise ConfigError(f"{where}: expected layer, expert and count, not {line[:60]!r}")
        layer, expert, count = map(int, words)
        if layer not in place or expert >= experts or count > _MOST:
            raise ConfigError(f"{where}: there is no expert {expert} of layer {layer} used {count}")
        counts[place[layer], expert] += count
    return counts
