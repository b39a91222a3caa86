"""A run's state as bare pointers, so that the kernel is quick to compile and quick to run.

An array is seven values, its pointer is one. A named tuple of thirty fields, which a part would be
handed one by one, is one pointer too (``Fields``). A pointer to an array is not counted from its
end and has no bounds. And the compiler is told that two fields, and two columns of one table, never
overlap (tbaa metadata), or each write would make it read everything else again.
"""

from __future__ import annotations

import hashlib
import operator
from typing import Any, TypeVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_global,
    signature,
)
from numba.extending import (
    infer_getattr,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)
from numba.np.arrayobj import populate_array

from prefetch_sim.sim.jit.rows import plain

T = TypeVar("T")
_TUPLES = types.NamedTuple, types.NamedUniTuple


def bare(state: T) -> T:
    """An array, or a named tuple of them, as the kernel reads it: none has an end.

    Of arrays that are no field any two may be one.
    """
    return plain(state)


class Pointer(types.Type):  # type: ignore[misc]
    """The first item of the array that was the field ``field`` of a named tuple."""

    def __init__(self, dtype: Any, field: str) -> None:
        self.dtype, self.field = dtype, field
        super().__init__(name=f"{type(self).__name__}({field})")  # short: it is part of symbols

    @property
    def key(self) -> Any:
        return self.field, self.dtype


class RowPointer(Pointer):
    """A row of that table, or the table itself if it is a single row."""


class GridPointer(Pointer):
    """An array of two axes: its first item, and how many make one of the first axis."""


register_model(Pointer)(models.PointerModel)
register_model(RowPointer)(models.PointerModel)


@register_model(GridPointer)
class _GridModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, grid: GridPointer) -> None:
        items = Pointer(grid.dtype, grid.field)
        super().__init__(manager, grid, [("items", items), ("width", types.intp)])


# From arrays to pointers.


def _bare_type(t: Any, field: str) -> Any:
    if isinstance(t, types.Array):
        assert t.layout == "C", f"{field} has gaps"
        assert isinstance(t.dtype, types.Integer | types.Float | types.Record), field
        return (RowPointer, Pointer, GridPointer)[t.ndim](t.dtype, field)
    if isinstance(t, _TUPLES):
        name = t.instance_class.__name__
        parts = [_bare_type(part, f"{name}.{field}") for part, field in zip(t.types, t.fields)]
        return types.NamedTuple(parts, t.instance_class)
    return t


def _converted(context: Any, builder: Any, t: Any, bare_type: Any, value: Any) -> Any:
    if isinstance(t, types.Array):
        array = context.make_array(t)(context, builder, value)
        if t.ndim < 2:
            return array.data
        grid = cgutils.create_struct_proxy(bare_type)(context, builder)
        grid.items, grid.width = array.data, cgutils.unpack_tuple(builder, array.shape)[1]
        return grid._getvalue()
    if isinstance(t, _TUPLES):
        values = cgutils.unpack_tuple(builder, value)
        parts = zip(t.types, bare_type.types, values)
        return context.make_tuple(
            builder, bare_type, [_converted(context, builder, *part) for part in parts]
        )
    return value


# From a named tuple to where it is kept.


class Fields(types.Type):  # type: ignore[misc]
    """The named tuple ``dtype``, of pointers and numbers, where the kernel keeps it while it runs.

    Once all parts are in the kernel, the compiler finds that the place is the kernel's own, and has
    the fields in registers. Nobody writes them.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        digest = hashlib.sha256(_description(dtype).encode()).hexdigest()[:16]
        name = dtype.instance_class.__name__
        super().__init__(name=f"Fields({name}, {digest})")  # short: as above


def _description(t: Any) -> str:
    """All that tells ``t`` from other types."""
    if isinstance(t, types.NamedTuple):
        return f"{t.instance_class}({', '.join(map(_description, t.types))})"
    return f"{t} of {t.dtype}" if isinstance(t, Pointer) else str(t)


@register_model(Fields)
class _FieldsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, fields: Fields) -> None:
        kept = manager.lookup(fields.dtype).get_value_type()
        super().__init__(manager, fields, kept.as_pointer())


@infer_global(bare)
class _Bare(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        (state,) = args
        bare_type = _bare_type(state, "")
        return signature(Fields(bare_type) if isinstance(state, _TUPLES) else bare_type, state)


@lower_builtin(bare, types.Any)  # type: ignore[untyped-decorator]
def _bare(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    (state,), bare_type = signature.args, signature.return_type
    if isinstance(bare_type, Fields):
        value = _converted(context, builder, state, bare_type.dtype, arguments[0])
        return cgutils.alloca_once_value(builder, value)
    return _converted(context, builder, state, bare_type, arguments[0])


@infer_getattr
class _FieldsOf(AttributeTemplate):  # type: ignore[misc]
    key = Fields

    def generic_resolve(self, fields: Fields, name: str) -> Any:
        if name not in fields.dtype.fields:
            return None
        found = fields.dtype[fields.dtype.fields.index(name)]
        return Fields(found) if isinstance(found, types.NamedTuple) else found


@lower_getattr_generic(Fields)  # type: ignore[untyped-decorator]
def _get_field(context: Any, builder: Any, fields: Fields, place: Any, name: str) -> Any:
    number = fields.dtype.fields.index(name)
    place = cgutils.gep_inbounds(builder, place, 0, number)
    if isinstance(fields.dtype[number], types.NamedTuple):
        return place
    found = builder.load(place)
    _touches(builder, f"{fields.dtype.instance_class.__name__}.{name} itself", found)
    return found


# Items and columns: integers of 64 bits, or parts would be compiled for each size they are given.


def _read(number: Any) -> Any:
    return types.intp if isinstance(number, types.Integer) else number


@infer_global(operator.getitem)
class _Get(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, Pointer):
            if isinstance(index, types.Integer):
                dtype = pointer.dtype
                if isinstance(pointer, GridPointer):
                    return signature(Pointer(dtype, pointer.field), pointer, types.intp)
                if isinstance(dtype, types.Record):
                    return signature(RowPointer(dtype, pointer.field), pointer, types.intp)
                return signature(_read(dtype), pointer, types.intp)
            if index == types.slice2_type:
                return signature(types.Array(pointer.dtype, 1, "C"), pointer, index)
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, _ = args
        if type(pointer) is Pointer and isinstance(index, types.Integer):
            return signature(types.none, pointer, types.intp, pointer.dtype)
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)  # type: ignore[untyped-decorator]
def _get(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    (pointer, index), (kind, _) = arguments, signature.args
    if isinstance(signature.return_type, RowPointer):
        return builder.gep(pointer, [index])
    value = builder.load(builder.gep(pointer, [index]))
    _touches(builder, kind.field, value)
    return context.cast(builder, value, kind.dtype, signature.return_type)


@lower_builtin(operator.getitem, GridPointer, types.Integer)  # type: ignore[untyped-decorator]
def _get_line(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    value, index = arguments
    grid = cgutils.create_struct_proxy(signature.args[0])(context, builder, value)
    return builder.gep(grid.items, [builder.mul(index, grid.width)])


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)  # type: ignore[untyped-decorator]
def _set(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, index, value = arguments
    store = builder.store(value, builder.gep(pointer, [index]))
    _touches(builder, signature.args[0].field, store)


@infer_getattr
class _Columns(AttributeTemplate):  # type: ignore[misc]
    key = RowPointer

    def generic_resolve(self, row: RowPointer, name: str) -> Any:
        return _read(row.dtype.typeof(name)) if name in row.dtype.fields else None


@lower_getattr_generic(RowPointer)  # type: ignore[untyped-decorator]
def _get_column(context: Any, builder: Any, row: RowPointer, value: Any, name: str) -> Any:
    found = builder.load(_place(context, builder, row, value, name))
    _touches(builder, f"{row.field}.{name}", found)
    number = row.dtype.typeof(name)
    return context.cast(builder, found, number, _read(number))


@lower_setattr_generic(RowPointer)  # type: ignore[untyped-decorator]
def _set_column(context: Any, builder: Any, signature: Any, arguments: Any, name: str) -> None:
    (row, given), (place, value) = signature.args, arguments
    value = context.cast(builder, value, given, row.dtype.typeof(name))
    store = builder.store(value, _place(context, builder, row, place, name))
    _touches(builder, f"{row.field}.{name}", store)


def _place(context: Any, builder: Any, row: RowPointer, value: Any, name: str) -> Any:
    """Where a column of a row stands."""
    offset = context.get_constant(types.intp, row.dtype.offset(name))
    data = context.get_data_type(row.dtype.typeof(name)).as_pointer()
    first = builder.bitcast(value, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(first, [offset]), data)


def _touches(builder: Any, what: str, access: Any) -> None:
    """Say of a load or store that it touches the memory of that field or column alone."""
    module, start = builder.module, ir.Constant(ir.IntType(64), 0)
    field = module.add_metadata([what, module.add_metadata([__name__]), start])
    access.set_metadata("tbaa", module.add_metadata([field, field, start]))


@lower_builtin(operator.getitem, Pointer, types.slice2_type)  # type: ignore[untyped-decorator]
def _slice(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """``pointer[a:b]`` or ``pointer[:b]``, none negative: an array that shares its memory."""
    pointer, value = arguments
    part = context.make_helper(builder, signature.args[1], value)
    array = context.make_array(signature.return_type)(context, builder)
    item = context.get_data_type(signature.args[0].dtype)
    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(item))
    populate_array(
        array,
        data=builder.gep(pointer, [part.start]),
        shape=[builder.sub(part.stop, part.start)],
        strides=[itemsize],
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()
