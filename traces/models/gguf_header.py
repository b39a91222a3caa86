"""What the header of a GGUF file says: metadata, and the shape, type and bytes of every tensor.

The package gguf reads it (the extra of that name); no tensor's data is looked at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from prefetch_sim.traces.errors import needs
from prefetch_sim.traces.models.keys import ModelConfigError
from prefetch_sim.traces.models.spec import MOST_LAYERS

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


class Tensor(NamedTuple):
    """One matrix, or one for each expert of a layer; its type as GGUF names it."""

    shape: tuple[int, ...]  # columns, rows, experts
    nbytes: int
    type: str

    @property
    def weights(self) -> int:
        product = 1
        for n in self.shape:
            product *= n
        return product


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of ``path``, which may be the first of several parts.

    Raises ModelConfigError for a file that is none, or the package that it needs.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelConfigError(f"reading GGUF {needs('the package gguf', 'gguf')}") from None
    metadata: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for part in _parts(path):
        try:
            header = type("Header", (GGUFReader,), _ONLY_HEADER)(part)
        except OSError as error:
            raise ModelConfigError(f"{part.name}: cannot be read: {error.strerror}") from None
        except Exception:  # whatever the package makes of a damaged file
            raise ModelConfigError(f"{part.name}: no GGUF file, or a damaged one") from None
        tensors |= header.found
        metadata = {**header.metadata, **metadata}
    return metadata, tensors


def _parts(path: Path) -> list[Path]:
    match = _PART.fullmatch(path.name)
    if match is None or not 0 < int(match[3]) < 1000:
        return [path]
    return [
        path.with_name(f"{match[1]}-{i + 1:05}-of-{match[3]}.gguf") for i in range(int(match[3]))
    ]


# What differs from the package's reader: a file that ends early is an error at once, long arrays
# (vocabularies) are skipped, and no tensor's data is looked at.


def _get(self: Any, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
    import numpy as np

    if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
        raise ValueError("ends early")
    return super(type(self), self)._get(offset, dtype, count, override_order)


def _get_field_parts(self: Any, at: int, raw_type: int) -> Any:
    from gguf import GGUFValueType

    kind = GGUFValueType(raw_type)
    if kind != GGUFValueType.ARRAY:
        return super(type(self), self)._get_field_parts(at, raw_type)
    inner = GGUFValueType(int(self._get(at, "uint32")[0]))
    count, start = int(self._get(at + 4, "uint64")[0]), at + 12
    if inner == GGUFValueType.STRING:
        end = start
        for _ in range(count):
            end += 8 + int(self._get(end, "uint64")[0])
        return end - at, [], [], [kind, inner]
    values = self._get(start, self.gguf_scalar_to_np[inner], count)
    return 12 + values.nbytes, [values], [0], [kind, inner]


def _build_tensors(self: Any, start: int, fields: Any) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

    self.found, self.metadata = {}, {}
    for _, name, _, dims, raw_type, _ in (field.parts for field in fields):
        kind = GGMLQuantizationType(int(raw_type[0]))
        block, nbytes = GGML_QUANT_SIZES[kind]
        bare = Tensor(tuple(int(n) for n in dims), 0, kind.name)
        size = bare.weights * nbytes // block
        self.found[bytes(name).decode()] = bare._replace(nbytes=size)
    for key, field in self.fields.items():
        if not field.data or key.startswith("GGUF."):
            continue
        value = field.parts[field.data[0]]
        if field.types[0] == GGUFValueType.STRING:
            self.metadata[key] = bytes(value).decode(errors="replace")
        elif field.types[0] == GGUFValueType.ARRAY:
            self.metadata[key] = value[: MOST_LAYERS + 1].tolist()
        else:
            self.metadata[key] = value[0].item()


_ONLY_HEADER = {
    "_get": _get, "_get_field_parts": _get_field_parts, "_build_tensors": _build_tensors
}  # fmt: skip
