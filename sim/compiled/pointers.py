"""Arrays as bare pointers, so that the kernel is quick to compile and quick to run.

A part is handed every field of a run's state: an array is seven values, its pointer is one. A
pointer is not counted from its end and has no bounds. And the compiler is told that two fields
never overlap (tbaa metadata), or each write would make it read everything else again.
"""

from __future__ import annotations

import operator
from typing import Any, TypeVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model
from numba.np.arrayobj import populate_array

T = TypeVar("T")
_TUPLES = types.NamedTuple, types.NamedUniTuple


def bare(state: T) -> T:
    """A flat array, or a named tuple of them, as the kernel reads it: none has an end.

    Itself where nothing is compiled. Of arrays that are no field any two may be one.
    """
    return state


class Pointer(types.Type):  # type: ignore[misc]
    """The first item of the array that was the field ``field`` of a named tuple."""

    def __init__(self, dtype: Any, field: str) -> None:
        self.dtype, self.field = dtype, field
        super().__init__(name=f"Pointer({dtype}, {field})")


register_model(Pointer)(models.PointerModel)


@overload(bare)
def _bare(state):  # type: ignore[no-untyped-def]
    return lambda state: _pointers(state)  # noqa: PLW0108 - numba compiles a function


@intrinsic  # type: ignore[untyped-decorator]
def _pointers(typing: Any, state: Any) -> Any:
    bare_type = _bare_type(state, "")

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _converted(context, builder, state, bare_type, arguments[0])

    return bare_type(state), code


def _bare_type(t: Any, field: str) -> Any:
    if isinstance(t, types.Array):
        assert (t.ndim, t.layout) == (1, "C"), f"{field} is no flat array"
        assert isinstance(t.dtype, types.Integer | types.Float), f"{field} has no numbers"
        return Pointer(t.dtype, field)
    if isinstance(t, _TUPLES):
        name = t.instance_class.__name__
        parts = [_bare_type(part, f"{name}.{field}") for part, field in zip(t.types, t.fields)]
        return types.NamedTuple(parts, t.instance_class)
    return t


def _converted(context: Any, builder: Any, t: Any, bare_type: Any, value: Any) -> Any:
    if isinstance(t, types.Array):
        return context.make_array(t)(context, builder, value).data
    if isinstance(t, _TUPLES):
        values = cgutils.unpack_tuple(builder, value)
        parts = zip(t.types, bare_type.types, values)
        return context.make_tuple(
            builder, bare_type, [_converted(context, builder, *part) for part in parts]
        )
    return value


@infer_global(operator.getitem)
class _Get(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, Pointer):
            if isinstance(index, types.Integer):
                # One size of integers, or parts would be compiled for each that they are given.
                read = types.intp if isinstance(pointer.dtype, types.Integer) else pointer.dtype
                return signature(read, pointer, types.intp)
            if index == types.slice2_type:
                return signature(types.Array(pointer.dtype, 1, "C"), pointer, index)
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, _ = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(types.none, pointer, types.intp, pointer.dtype)
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)  # type: ignore[untyped-decorator]
def _get(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, index = arguments
    value = builder.load(builder.gep(pointer, [index]))
    _touches(builder, signature.args[0], value)
    return context.cast(builder, value, signature.args[0].dtype, signature.return_type)


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)  # type: ignore[untyped-decorator]
def _set(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    pointer, index, value = arguments
    _touches(builder, signature.args[0], builder.store(value, builder.gep(pointer, [index])))


def _touches(builder: Any, pointer: Pointer, access: Any) -> None:
    """Say of a load or store that it touches the memory of that field alone."""
    module, start = builder.module, ir.Constant(ir.IntType(64), 0)
    field = module.add_metadata([pointer.field, module.add_metadata([__name__]), start])
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
