"""A SIMD register as a numba value, so that kernels over many small matrices read like the mathematics.

Kernels here work on ``LANES`` attention heads or neurons at once: every entry of a small matrix is a register that
holds that entry of all of them. ``at(A, i, j)`` reads it and ``put`` writes it, where the array A has the axes
(rows, columns, lanes); of an array (rows, columns) ``at`` reads a number that all lanes share. A register has 64
bytes, 8 float64 or 16 float32; LLVM splits it where the processor's own are shorter.
"""

from __future__ import annotations

__all__ = ["FAST", "add", "at", "div", "exp", "flipped", "fma", "mul", "n_lanes", "put", "splat", "sub", "vmax", "zero"]

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import populate_array

#: Floating-point freedoms of the kernels. Not ``fast``: ``nnan`` and ``ninf`` would make isnan lie.
FAST = {"contract", "arcp", "nsz", "reassoc"}

REGISTER_BYTES = 64


def n_lanes(dtype: Any) -> int:
    """How many numbers of this type one register holds."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


class LaneType(types.Type):  # type: ignore[misc]
    """The numba type of a register of float32 or float64."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.alignment = element.bitwidth // 8  # rows of small matrices start anywhere
        super().__init__(name=f"lanes({element})")


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lane_type: LaneType) -> None:
        scalar = ir.DoubleType() if lane_type.element == types.float64 else ir.FloatType()
        super().__init__(manager, lane_type, ir.VectorType(scalar, REGISTER_BYTES // lane_type.alignment))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, row: Any, column: Any) -> Any:
    """The address of entry (row, column) of an array with arbitrary strides along these axes."""
    fields = cgutils.create_struct_proxy(array_type)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, fields.strides)
    offset = builder.add(builder.mul(row, strides[0]), builder.mul(column, strides[1]))
    start = builder.bitcast(fields.data, ir.IntType(8).as_pointer())
    return builder.gep(start, [offset])


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


@intrinsic
def at(typingctx: Any, array: Any, row: Any, column: Any) -> Any:
    """Entry (row, column) as a register: of a (rows, columns, lanes) array, or of a (rows, columns) array of numbers
    that all lanes share."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        address = _pointer(context, builder, signature.args[0], *args)
        shared = signature.args[0].ndim == 2
        entry = builder.load(builder.bitcast(address, (vector.element if shared else vector).as_pointer()))
        entry.align = signature.return_type.alignment
        return _splat(builder, entry, vector) if shared else entry

    return LaneType(array.dtype)(array, types.intp, types.intp), generate


@intrinsic
def put(typingctx: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a register to a (rows, columns, lanes) array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(signature.args[3])
        address = _pointer(context, builder, signature.args[0], *args[:3])
        builder.store(args[3], builder.bitcast(address, vector.as_pointer())).align = signature.args[3].alignment
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, value), generate


@intrinsic
def flipped(typingctx: Any, array: Any) -> Any:
    """The transpose of the first two axes, as a view. (numpy's transpose takes numba a second to compile.)"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        old = context.make_array(signature.args[0])(context, builder, args[0])
        new = context.make_array(signature.return_type)(context, builder)

        def swapped(axes: Any) -> Any:
            first, second, *others = cgutils.unpack_tuple(builder, axes)
            return cgutils.pack_array(builder, [second, first, *others])

        populate_array(
            new,
            data=old.data,
            shape=swapped(old.shape),
            strides=swapped(old.strides),
            itemsize=old.itemsize,
            meminfo=old.meminfo,
            parent=old.parent,
        )
        return impl_ret_borrowed(context, builder, signature.return_type, new._getvalue())

    return array.copy(layout="A")(array), generate


@intrinsic
def splat(typingctx: Any, number: Any) -> Any:
    """A register with the same number in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], context.get_value_type(signature.return_type))

    return LaneType(number)(number), generate


@intrinsic
def zero(typingctx: Any, array: Any) -> Any:
    """A register of zeros, of the array's precision."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(signature.return_type), None)

    return LaneType(array.dtype)(array), generate


def _lanewise(name: str, formula: str, operation: Any) -> Any:
    """An operation on registers, lane by lane."""

    def two(typingctx: Any, a: Any, b: Any) -> Any:
        return a(a, b), lambda context, builder, signature, args: operation(builder, *args)

    two.__name__, two.__doc__ = name, formula
    return intrinsic(two)


add = _lanewise("add", "a + b", lambda builder, a, b: builder.fadd(a, b))
sub = _lanewise("sub", "a - b", lambda builder, a, b: builder.fsub(a, b))
mul = _lanewise("mul", "a b", lambda builder, a, b: builder.fmul(a, b))
div = _lanewise("div", "a / b", lambda builder, a, b: builder.fdiv(a, b))
#: The larger of the two, and a where b is NaN (the exponential that follows brings it back).
vmax = _lanewise("vmax", "max(a, b)", lambda builder, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = f"llvm.fma.v{a.type.count}f{64 if a.type.element == ir.DoubleType() else 32}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a b + c``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return a(a, b, c), generate


@intrinsic
def exp(typingctx: Any, a: Any) -> Any:
    """``e^a`` for a <= 0, lane by lane, to about one ulp.

    ``e^x = 2^k e^r`` with ``k = round(x / ln 2)``, ``|r| <= ln(2) / 2`` and a Taylor polynomial in r. Results below
    the smallest normal number become about that number; NaN stays NaN.
    """
    double = a.element == types.float64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type
        integers = ir.VectorType(ir.IntType(64 if double else 32), vector.count)

        def constant(value: float, kind: Any = vector) -> Any:
            return ir.Constant(kind, [value] * kind.count)

        def fused(x: Any, y: Any, z: Any) -> Any:
            return _fma(builder, x, y, z)

        # Adding 1.5 * 2^mantissa rounds x / ln 2 to an integer and leaves it in the low bits. ln 2 = high + rest,
        # where k * high is exact.
        mantissa, bias, low, order = (52, 1023, -708.0, 13) if double else (23, 127, -87.0, 7)
        high, rest = (
            (6.93147180369123816490e-01, 1.90821492927058770002e-10) if double else (0.693359375, -2.12194440e-4)
        )
        magic = constant(1.5 * 2.0**mantissa)
        x = builder.select(builder.fcmp_ordered("<", args[0], constant(low)), constant(low), args[0])
        shifted = fused(x, constant(1 / math.log(2)), magic)
        k = builder.fsub(shifted, magic)
        r = fused(k, constant(-rest), fused(k, constant(-high), x))
        p = constant(1 / math.factorial(order))
        for power in range(order - 1, -1, -1):
            p = fused(p, r, constant(1 / math.factorial(power)))
        exponent = builder.add(builder.bitcast(shifted, integers), constant(bias, integers))
        return builder.fmul(p, builder.bitcast(builder.shl(exponent, constant(mantissa, integers)), vector))

    return a(a), generate
