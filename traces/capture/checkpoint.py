"""What a checkpoint's own files say of its experts: their bytes, in whatever they are quantised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import try_to_load_from_cache

from prefetch_sim.traces.models.spec import ModelSpec

# Of a routed expert's tensor: the transformer layer, then experts one by one or all at once.
_EXPERTS = re.compile(
    r"\.(?:layers|blocks|h)\.(\d{1,4})\.(?:[\w.]*\.)?"
    r"(?:experts|block_sparse_moe\.(?:input_linear|output_linear))\."
)
_PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LEAST_BITS, _MOST_BITS = 1, 40  # a weight: else the names were misread


class ExpertTensor(NamedTuple):
    """A tensor of one or all experts of a transformer layer; its type as safetensors names it."""

    layer: int
    name: str
    dtype: str
    nbytes: int


def expert_tensors(source: Path | str) -> list[ExpertTensor]:
    """Those in the headers of a model's safetensors files; none where no such file is at hand."""
    return [
        ExpertTensor(int(place[1]), name, dtype, nbytes)
        for file in _files(source)
        for name, dtype, nbytes in _header(file)
        if (place := _EXPERTS.search(f".{name}"))
    ]


def plain_dtype(experts: Sequence[ExpertTensor]) -> str | None:
    """The one type of 16 or 32 bits that all of them have, as a config.json names it."""
    found = {tensor.dtype for tensor in experts}
    return _PLAIN.get(found.pop()) if len(found) == 1 else None


def expert_bytes(experts: Sequence[ExpertTensor], spec: ModelSpec) -> tuple[int, ...] | None:
    """Bytes of one expert by MoE layer, with its scales; biases apart where ``spec`` has them so.

    None where the names do not say of every layer which tensors are experts'.
    """
    totals = dict.fromkeys(spec.moe_layer_indices, 0)
    for tensor in experts:
        apart = spec.expert_biases and tensor.name.endswith("bias")
        if tensor.layer in totals and not apart:
            totals[tensor.layer] += tensor.nbytes
    sizes = tuple(round(total / spec.experts) for total in totals.values())
    bits = [8 * size / spec.expert_weights for size in sizes]
    return sizes if all(_LEAST_BITS <= b <= _MOST_BITS for b in bits) else None


def with_sizes(spec: ModelSpec, sizes: tuple[int, ...] | None, known: bool) -> ModelSpec:
    """``spec`` with ``sizes`` of its experts, where they are not those of its precision.

    ``known``: whether that precision was read; else experts are in as many bits as they have.
    """
    if sizes is None or sizes == spec.bytes_per_expert():
        return spec
    stored = dict(spec.precision)
    mean = 8 * sum(sizes) / len(sizes) / spec.expert_weights
    if not known and mean < 9:
        name = f"int{min(max(round(mean), 2), 8)}@{mean:.6g}"
        stored |= {"experts": name, "shared": name}
    return ModelSpec.model_validate(
        spec.model_dump() | {"expert_bytes": sizes, "precision": stored}
    )


def described(spec: ModelSpec) -> str:
    """Precision and sizes in words, for a trace's metadata."""
    sizes = spec.bytes_per_expert()
    each = f"{min(sizes):,}" + (f" to {max(sizes):,}" if len(set(sizes)) > 1 else "")
    return f"{spec.precision}; {each} bytes an expert" + (", measured" if spec.expert_bytes else "")


def _files(source: Path | str) -> list[Path]:
    index = _at_hand(source, "model.safetensors.index.json")
    if index is None:
        whole = _at_hand(source, "model.safetensors")
        return [whole] if whole else []
    names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [index.parent / name for name in sorted(set(names))]


def _at_hand(source: Path | str, name: str) -> Path | None:
    """The file ``name`` of a model folder, or of a hub id in the cache."""
    folder = Path(source)
    path = folder / name if folder.exists() else try_to_load_from_cache(str(source), name)
    return Path(path) if isinstance(path, str | Path) and Path(path).is_file() else None


def _header(file: Path) -> Iterator[tuple[str, str, int]]:
    """Name, type and bytes of each tensor of a safetensors file, which has been loaded already."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    for name, about in header.items():
        if name != "__metadata__":
            first, last = about["data_offsets"]
            yield name, about["dtype"], last - first
