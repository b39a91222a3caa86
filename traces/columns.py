"""Between numpy arrays and Arrow's nested fixed-size lists, through the flat child buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prefetch_sim.traces.trace import PHASES, Array


class ColumnError(ValueError):
    """A column does not hold what its place in the format asks for."""


def expert_type(experts: int) -> Any:
    """Smallest Arrow integer that holds an expert id."""
    return pa.uint8() if experts <= 256 else pa.int16()


def nested_type(item: Any, layers: int, width: int) -> Any:
    """``[layers][width]`` of ``item``; a layer may be null, a single item may not."""
    sets = pa.list_(pa.field("element", item, nullable=False), width)
    return pa.list_(pa.field("element", sets), layers)


def to_nested(values: Array, routed: Array, item: Any) -> Any:
    """``values`` [T, L, w] as an Arrow array, its sets null where ``routed`` [T, L] is False."""
    _, layers, width = values.shape
    kind = nested_type(item, layers, width)
    flat = pa.array(values.reshape(-1).astype(item.to_pandas_dtype(), copy=False))
    mask = None if routed.all() else pa.array(~routed.reshape(-1))
    sets = pa.FixedSizeListArray.from_arrays(flat, type=kind.value_type, mask=mask)
    return pa.FixedSizeListArray.from_arrays(sets, type=kind)


def nested_shape(kind: Any, layers: int, integers: bool) -> tuple[int, Any]:
    """Width of a set, and numpy type of an item, of a nested column of ``layers`` layers.

    ColumnError if it is not one, or does not hold integers (else: floats).
    """
    is_list = pa.types.is_fixed_size_list
    if not (is_list(kind) and is_list(kind.value_type)):
        raise ColumnError(
            f"has type {str(kind)[:60]}, expected a fixed-size list of fixed-size lists; "
            "'prefetch-sim trace import' reads what another tool wrote again"
        )
    if kind.list_size != layers:
        raise ColumnError(f"has {kind.list_size} layers, the model {layers} that route")
    item = kind.value_type.value_type
    if not (pa.types.is_integer(item) if integers else pa.types.is_floating(item)):
        raise ColumnError(f"holds {item}, expected {'integers' if integers else 'floats'}")
    return int(kind.value_type.list_size), item.to_pandas_dtype()


def fill_nested(column: Any, out: Array, missing: float) -> Array:
    """Copy a nested Arrow array into ``out`` [T, L, w]; null items and null sets are ``missing``.

    Gives a bool [T, L]: where there was a set. A null inside a set stays ``missing`` too, for
    the validator to find.
    """
    rows, layers, width = out.shape
    if column.null_count:
        raise ColumnError(f"row {_first_null(column)} is null")
    sets = column.values.slice(column.offset * layers, rows * layers)
    flat = sets.values.slice(sets.offset * width, rows * layers * width)
    if pa.types.is_integer(flat.type) and flat.type.bit_width >= 16:
        flat = _cast(flat, pa.int16())  # an id that does not fit must not wrap round
    if flat.null_count:
        present = flat.is_valid().to_numpy(zero_copy_only=False).reshape(out.shape)
        flat = flat.fill_null(0)
    else:
        present = None
    out[...] = flat.to_numpy(zero_copy_only=True).reshape(out.shape)
    if present is not None:
        out[~present] = missing
    if not sets.null_count:
        return np.ones((rows, layers), bool)
    routed: Array = sets.is_valid().to_numpy(zero_copy_only=False).reshape(rows, layers)
    out[~routed] = missing
    return routed


def read_lists(column: Any) -> Array:
    """Lists of numbers of any Arrow kind as [T, w], nested ones as [T, L, w], -1 for a null set.

    ColumnError where they differ in length, or where a row or a number is null.
    """
    if column.null_count:
        raise ColumnError(f"row {_first_null(column)} is null")
    if not _is_list(column.type):
        raise ColumnError(f"has type {str(column.type)[:60]}, expected lists")
    shape = [len(column), _length(column)]
    values = pc.list_flatten(column)
    present = None
    if _is_list(values.type):
        present = values.is_valid().to_numpy(zero_copy_only=False)
        shape.append(_length(values.drop_null()))
        values = pc.list_flatten(values)
    if values.null_count:
        raise ColumnError("a number in a list is null")
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ColumnError(f"holds {str(values.type)[:60]}, expected numbers")
    flat: Array = values.to_numpy(zero_copy_only=False)
    if present is None or present.all():
        return flat.reshape(shape)
    out = np.full((len(present), shape[-1]), -1, flat.dtype if flat.dtype.kind != "u" else np.int64)
    out[present] = flat.reshape(-1, shape[-1])
    return out.reshape(shape)


def _is_list(kind: Any) -> bool:
    of = pa.types
    return bool(of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind))


def _length(lists: Any) -> int:
    """The one length that all of them have."""
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(lengths) > 1:
        raise ColumnError(f"lists of {lengths[0]} and of {lengths[1]}")
    return int(lengths[0]) if lengths else 0


def read_flat(column: Any, dtype: Any) -> Array:
    """One number a row, none null, as ``dtype``."""
    if column.null_count:
        raise ColumnError(f"row {_first_null(column)} is null")
    values: Array = _cast(column, pa.from_numpy_dtype(dtype)).to_numpy(zero_copy_only=False)
    return values


def read_names(column: Any) -> Array:
    """Distinct numbers or texts, none null, as 0, 1, ... in order of first use: int32 [T]."""
    if column.null_count:
        raise ColumnError(f"row {_first_null(column)} is null")
    if pa.types.is_nested(column.type):
        raise ColumnError(f"has type {str(column.type)[:60]}, expected numbers or names")
    words = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = words.indices.to_numpy(zero_copy_only=False)
    first, which = np.unique(codes, return_index=True, return_inverse=True)[1:]
    ranks: Array = np.argsort(np.argsort(first))[which.reshape(-1)]
    return ranks.astype(np.int32)


def phase_array(phase: Array) -> Any:
    """Phases as a dictionary of strings: a categorical in pandas and polars."""
    return pa.DictionaryArray.from_arrays(pa.array(phase, pa.int8()), pa.array(PHASES))


def read_phase(column: Any) -> Array:
    """``prefill`` as 0, ``decode`` as 1: int8 [T]."""
    if column.null_count:
        raise ColumnError(f"row {_first_null(column)} is null")
    if pa.types.is_nested(column.type):
        raise ColumnError(f"has type {str(column.type)[:60]}, expected text")
    words = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = []
    try:
        known = words.dictionary.to_pylist()
    except UnicodeDecodeError:
        raise ColumnError("holds text that is not UTF-8") from None
    for word in known:
        codes.append(PHASES.index(word) if word in PHASES else -1)
    phase: Array = np.array(codes, np.int8)[words.indices.to_numpy()]
    if (phase < 0).any():
        row = int(np.argmax(phase < 0))
        raise ColumnError(f"row {row} is {column[row]}, expected one of {', '.join(PHASES)}")
    return phase


def _first_null(column: Any) -> int:
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _cast(values: Any, kind: Any) -> Any:
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ColumnError(str(error).splitlines()[0]) from None
