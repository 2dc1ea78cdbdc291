"""A SIMD register as a numba value, so that kernels over many small matrices read like the mathematics.

Kernels here work on ``LANES`` attention heads or neurons at once: every entry of a small matrix is a register that
holds that entry of all of them. ``at(A, i, j)`` reads it and ``put`` writes it, where the array A has the axes
(rows, columns, lanes); of an array (rows, columns) ``at`` reads a number that all lanes share. A register has 64
bytes, 8 float64 or 16 float32; LLVM splits it where the processor's own are shorter.
"""

from __future__ import annotations

__all__ = [
    "FAST",
    "add",
    "aligned",
    "at",
    "columns",
    "div",
    "exp",
    "flipped",
    "fma",
    "mul",
    "n_lanes",
    "product",
    "put",
    "rows",
    "splat",
    "sub",
    "tanh",
    "vmax",
    "zero",
]

import math
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import populate_array
from numpy.polynomial import chebyshev

#: Floating-point freedoms of the kernels. Not ``fast``: ``nnan`` and ``ninf`` would make isnan lie.
FAST = {"contract", "arcp", "nsz", "reassoc"}

REGISTER_BYTES = 64

#: Tiles of a product that stay in registers have so many rows and columns: 24 sums, 6 entries of one factor and one of
#: the other are the 32 registers of AVX-512. (More shapes for what is left would take longer to compile.)
TILE_ROWS = (6, 3, 2, 1)
TILE_COLUMNS = (4, 2, 1)


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


class _Matrix:
    """An array argument inside generated code: the addresses of its entries, for arbitrary strides of the two axes."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        fields = cgutils.create_struct_proxy(array_type)(context, builder, array)
        self.builder = builder
        self.start = builder.bitcast(fields.data, ir.IntType(8).as_pointer())
        self.rows, self.columns = cgutils.unpack_tuple(builder, fields.shape)[:2]
        self.down, self.right = cgutils.unpack_tuple(builder, fields.strides)[:2]
        self.shared = array_type.ndim == 2
        self.lanes = LaneType(array_type.dtype)
        self.vector = context.get_value_type(self.lanes)

    def address(self, row: Any, column: Any) -> Any:
        offset = self.builder.add(self.builder.mul(row, self.down), self.builder.mul(column, self.right))
        return self.builder.gep(self.start, [offset])

    def load(self, address: Any) -> Any:
        kind = self.vector.element if self.shared else self.vector
        entry = self.builder.load(self.builder.bitcast(address, kind.as_pointer()))
        entry.align = self.lanes.alignment
        return _splat(self.builder, entry, self.vector) if self.shared else entry

    def store(self, address: Any, value: Any) -> None:
        target = self.builder.bitcast(address, self.vector.as_pointer())
        self.builder.store(value, target).align = self.lanes.alignment


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


@intrinsic
def at(typingctx: Any, array: Any, row: Any, column: Any) -> Any:
    """Entry (row, column) as a register: of a (rows, columns, lanes) array, or of a (rows, columns) array of numbers
    that all lanes share."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = _Matrix(context, builder, signature.args[0], args[0])
        return matrix.load(matrix.address(*args[1:]))

    return LaneType(array.dtype)(array, types.intp, types.intp), generate


@intrinsic
def put(typingctx: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a register to a (rows, columns, lanes) array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = _Matrix(context, builder, signature.args[0], args[0])
        matrix.store(matrix.address(*args[1:3]), args[3])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp, value), generate


def _tiled(builder: Any, size: Any, counts: tuple[int, ...], body: Any) -> None:
    """``body(first, count)`` for a partition of 0, ..., size - 1 into counts, which decrease to one."""
    first = size.type(0)
    for count in counts:
        left = builder.sub(size, first)
        end = builder.sub(size, builder.urem(left, size.type(count)))
        with cgutils.for_range_slice(builder, first, end, size.type(count)) as (here, _):
            body(here, count)
        first = end


@intrinsic
def product(typingctx: Any, C: Any, A: Any, B: Any, keep: Any) -> Any:
    """``C = A B``, or ``C += A B`` with keep: in tiles of C that stay in registers while k runs over the inner axis."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        C, A, B = (_Matrix(context, builder, *argument) for argument in zip(signature.args[:3], args[:3]))

        def fill(i: Any, j: Any, n_rows: int, n_columns: int) -> None:
            """The tile whose first entry is (i, j)."""
            places = [
                [C.address(builder.add(i, i.type(r)), builder.add(j, j.type(c))) for c in range(n_columns)]
                for r in range(n_rows)
            ]
            zeros = ir.Constant(C.vector, None)
            tile = [[cgutils.alloca_once(builder, C.vector) for _ in row] for row in places]
            entries = [*zip(chain(*places), chain(*tile))]
            for _, total in entries:
                builder.store(zeros, total)
            with builder.if_then(args[3]):
                for place, total in entries:
                    builder.store(C.load(place), total)
            left = cgutils.alloca_once_value(builder, A.address(i, i.type(0)))
            right = cgutils.alloca_once_value(builder, B.address(j.type(0), j))
            with cgutils.for_range(builder, A.columns):
                a, b = builder.load(left), builder.load(right)
                column = [A.load(builder.gep(a, [builder.mul(i.type(r), A.down)])) for r in range(n_rows)]
                for c in range(n_columns):
                    x = B.load(builder.gep(b, [builder.mul(j.type(c), B.right)]))
                    for y, sums in zip(column, tile):
                        builder.store(_fma(builder, y, x, builder.load(sums[c])), sums[c])
                builder.store(builder.gep(a, [A.right]), left)
                builder.store(builder.gep(b, [B.down]), right)
            for place, total in entries:
                C.store(place, builder.load(total))

        _tiled(
            builder,
            C.rows,
            TILE_ROWS,
            lambda i, n_rows: _tiled(
                builder, C.columns, TILE_COLUMNS, lambda j, n_columns: fill(i, j, n_rows, n_columns)
            ),
        )
        return context.get_dummy_value()

    return types.none(C, A, B, types.boolean), generate


def _view(context: Any, builder: Any, array_type: Any, array: Any, shape: Any, strides: Any, offset: Any) -> Any:
    """The same memory from ``offset`` bytes on, seen as another matrix of registers or numbers."""
    old = context.make_array(array_type)(context, builder, array)
    view_type = matrix_type(array_type)
    new = context.make_array(view_type)(context, builder)
    start = builder.gep(builder.bitcast(old.data, ir.IntType(8).as_pointer()), [offset])
    others = [cgutils.unpack_tuple(builder, axes)[2:] for axes in (old.shape, old.strides)]
    populate_array(
        new,
        data=builder.bitcast(start, old.data.type),
        shape=cgutils.pack_array(builder, [*shape, *others[0]]),
        strides=cgutils.pack_array(builder, [*strides, *others[1]]),
        itemsize=old.itemsize,
        meminfo=old.meminfo,
        parent=old.parent,
    )
    return impl_ret_borrowed(context, builder, view_type, new._getvalue())


def matrix_type(array: Any) -> Any:
    """One type for all views, so that one build of a kernel serves them."""
    return array.copy(layout="A")


@intrinsic
def flipped(typingctx: Any, array: Any) -> Any:
    """The transpose of the first two axes, as a view. (numpy's transpose takes numba a second to compile.)"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix(context, builder, signature.args[0], args[0])
        shape, strides = (m.columns, m.rows), (m.right, m.down)
        return _view(context, builder, signature.args[0], args[0], shape, strides, m.rows.type(0))

    return matrix_type(array)(array), generate


@intrinsic
def rows(typingctx: Any, array: Any, first: Any, last: Any) -> Any:
    """Rows first, ..., last - 1, as a view."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix(context, builder, signature.args[0], args[0])
        shape, strides = (builder.sub(args[2], args[1]), m.columns), (m.down, m.right)
        return _view(context, builder, signature.args[0], args[0], shape, strides, builder.mul(args[1], m.down))

    return matrix_type(array)(array, types.intp, types.intp), generate


@intrinsic
def columns(typingctx: Any, array: Any, first: Any, last: Any) -> Any:
    """Columns first, ..., last - 1, as a view."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix(context, builder, signature.args[0], args[0])
        shape, strides = (m.rows, builder.sub(args[2], args[1])), (m.down, m.right)
        return _view(context, builder, signature.args[0], args[0], shape, strides, builder.mul(args[1], m.right))

    return matrix_type(array)(array, types.intp, types.intp), generate


@intrinsic
def aligned(typingctx: Any, array: Any) -> Any:
    """The array without its last row, or moved towards it until it starts with a cache line: a register that
    straddles two takes twice as long to read."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix(context, builder, signature.args[0], args[0])
        one = m.rows.type(1)
        address = builder.ptrtoint(m.start, m.rows.type)
        offset = builder.and_(builder.neg(address), m.rows.type(REGISTER_BYTES - 1))
        shape, strides = (builder.sub(m.rows, one), m.columns), (m.down, m.right)
        return _view(context, builder, signature.args[0], args[0], shape, strides, offset)

    return matrix_type(array)(array), generate


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


def _declared(builder: Any, name: str, vector: Any, arguments: int) -> Any:
    """LLVM's own function of this name on registers."""
    full = f"llvm.{name}.v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * arguments), full)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.call(_declared(builder, "fma", a.type, 3), [a, b, c])


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a b + c``, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fma(builder, *args)

    return a(a, b, c), generate


def _taylor(order: int) -> list[float]:
    """The polynomial of degree ``order - 2`` nearest to ``(e^r - 1 - r) / r^2`` on |r| <= ln(2) / 2, lowest power
    first: two terms shorter than Taylor's for the same accuracy."""
    half = math.log(2) / 2

    def remainder(x: Any) -> Any:
        return sum((half * x) ** k / math.factorial(k + 2) for k in range(20))

    scaled = chebyshev.cheb2poly(chebyshev.chebinterpolate(remainder, order - 2))
    return [float(c) / half**k for k, c in enumerate(scaled)]


def _exponential(builder: Any, x: Any, double: bool) -> tuple[Any, Any, Any]:
    """``r, h, 2^k`` with ``e^x = 2^k (1 + r h)``, for -708 (-87) <= x <= 0; x below is taken as that; NaN stays NaN.

    ``k = round(x / ln 2)``, ``|r| <= ln(2) / 2``.
    """
    vector = x.type
    integers = ir.VectorType(ir.IntType(64 if double else 32), vector.count)

    def constant(value: float, kind: Any = vector) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    # Adding 1.5 * 2^mantissa rounds x / ln 2 to an integer and leaves it in the low bits, the exponent's bias added.
    # ln 2 = high + rest, where k * high is exact.
    mantissa, bias, low, order = (52, 1023, -708.0, 11) if double else (23, 127, -87.0, 6)
    high, rest = (6.93147180369123816490e-01, 1.90821492927058770002e-10) if double else (0.693359375, -2.12194440e-4)
    magic = constant(1.5 * 2.0**mantissa + bias)
    x = builder.select(builder.fcmp_ordered("<", x, constant(low)), constant(low), x)
    shifted = _fma(builder, x, constant(1 / math.log(2)), magic)
    k = builder.fsub(shifted, magic)
    r = _fma(builder, k, constant(-rest), _fma(builder, k, constant(-high), x))
    *others, h = _taylor(order)
    h = constant(h)
    for coefficient in [*others[::-1], 1.0]:
        h = _fma(builder, h, r, constant(coefficient))
    power = builder.shl(builder.bitcast(shifted, integers), constant(mantissa, integers))
    return r, h, builder.bitcast(power, vector)


@intrinsic
def exp(typingctx: Any, a: Any) -> Any:
    """``e^a`` for a <= 0, lane by lane, to about one ulp. Results below the smallest normal number become about that
    number; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        r, h, power = _exponential(builder, args[0], a.element == types.float64)
        return builder.fmul(power, _fma(builder, r, h, ir.Constant(r.type, [1.0] * r.type.count)))

    return a(a), generate


@intrinsic
def tanh(typingctx: Any, a: Any) -> Any:
    """``tanh(a) = -sign(a) e / (2 + e)`` with ``e = exp(-2 |a|) - 1``, lane by lane, to a few ulp; NaN stays NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type

        def constant(value: float) -> Any:
            return ir.Constant(vector, [value] * vector.count)

        size = builder.call(_declared(builder, "fabs", vector, 1), args)
        r, h, power = _exponential(builder, builder.fmul(constant(-2.0), size), a.element == types.float64)
        e = _fma(builder, builder.fmul(r, h), power, builder.fsub(power, constant(1.0)))
        ratio = builder.fdiv(e, builder.fadd(constant(2.0), e))
        return builder.call(_declared(builder, "copysign", vector, 2), [ratio, args[0]])

    return a(a), generate
