"""A SIMD register as a numba value, and functions of it, so that kernels read like the mathematics.

Kernels here work on ``LANES`` attention heads or neurons at once: every entry of a small matrix is a register that
holds that entry of all of them (see :mod:`wflow.kernels.simd.matrices`). A register is as long as the processor's:
64 bytes, 8 float64 or 16 float32, with AVX-512, and 32 bytes elsewhere (LLVM takes two of 16 where those are the
longest).
"""

from __future__ import annotations

__all__ = [
    "AVX512",
    "REGISTER_BYTES",
    "LaneType",
    "add",
    "div",
    "erf",
    "exp",
    "expm1",
    "fma",
    "lane_sum",
    "log1p",
    "mul",
    "n_lanes",
    "splat",
    "sub",
    "tanh",
    "vmax",
    "where_negative",
]

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model
from numpy.polynomial import chebyshev

#: Whether the code is for a processor with 32 registers of 64 bytes; otherwise it has 16 of at most 32. numba's
#: settings, NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, may ask for less than the machine has.
AVX512 = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]

REGISTER_BYTES = 64 if AVX512 else 32


def n_lanes(dtype: Any) -> int:
    """How many numbers of this type one register holds."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


class LaneType(types.Type):  # type: ignore[misc]
    """The numba type of a register of float32 or float64."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.itemsize = element.bitwidth // 8
        super().__init__(name=f"lanes({element})")

    @property
    def vector(self) -> ir.VectorType:
        """The LLVM type."""
        scalar = ir.DoubleType() if self.element == types.float64 else ir.FloatType()
        return ir.VectorType(scalar, REGISTER_BYTES // self.itemsize)


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lane_type: LaneType) -> None:
        super().__init__(manager, lane_type, lane_type.vector)


def broadcast(builder: Any, number: Any, vector: Any) -> Any:
    """The number in every lane, in generated code."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


@intrinsic
def splat(typingctx: Any, a: Any, number: Any) -> Any:
    """A register with the same number in every lane, as precise as those of ``a``, a register or a matrix."""
    lanes = getattr(a, "lanes", a)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return broadcast(builder, args[1], lanes.vector)

    return lanes(a, lanes.element), generate


def _lanewise(name: str, formula: str, operation: Callable[..., Any]) -> Any:
    """A function of registers, lane by lane, for kernels: ``operation(builder, *registers)`` writes its code.

    numba reads the number of arguments from what is wrapped.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return operation(builder, *args)

    @wraps(operation)
    def typed(typingctx: Any, a: Any, *rest: Any) -> Any:
        return a(a, *rest), generate

    typed.__name__, typed.__doc__ = name, formula
    return intrinsic(typed)


def _declared(builder: Any, name: str, vector: Any, n_arguments: int) -> Any:
    """LLVM's function of this name on registers."""
    full = f"llvm.{name}.v{vector.count}f{64 if vector.element == ir.DoubleType() else 32}"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * n_arguments), full)


def _constant(value: float, kind: Any) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def vector_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """``a b + c``, rounded once, in generated code."""
    return builder.call(_declared(builder, "fma", a.type, 3), [a, b, c])


def vector_max(builder: Any, a: Any, b: Any) -> Any:
    """The larger of the two, and b where one is NaN: one instruction of x86."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _polynomial(builder: Any, coefficients: list[float], x: Any) -> Any:
    """By Horner's rule, lowest power first."""
    *lower, total = coefficients
    total = _constant(total, x.type)
    for c in reversed(lower):
        total = vector_fma(builder, total, x, _constant(c, x.type))
    return total


def _nearest(function: Callable[[Any], Any], low: float, high: float, degree: int) -> list[float]:
    """The coefficients, lowest power first, of the polynomial that interpolates at Chebyshev's nodes of [low, high]; in
    powers of ``2 (x - low)/(high - low) - 1``, or of x where the interval is symmetric."""
    centre, half = (low + high) / 2, (high - low) / 2
    powers = chebyshev.cheb2poly(chebyshev.chebinterpolate(lambda s: function(centre + half * s), degree))
    scale = half if centre == 0 else 1.0
    return [float(c) / scale**k for k, c in enumerate(powers)]


#: Where e^x ends to be a normal number, in single and in double precision.
LOWEST = -87.0, -708.0

#: 2^(j/16), whose 16 values two registers of float64 hold, or one of float32.
FRACTIONS = 16 if AVX512 else 1


def _power(builder: Any, rounded: Any, fractions: int) -> Any:
    """``2^(i/fractions)`` for the integer i in the low bits of a number."""
    vector = rounded.type
    double = vector.element == ir.DoubleType()
    mantissa, integer = (52, ir.IntType(64)) if double else (23, ir.IntType(32))
    integers = ir.VectorType(integer, vector.count)
    shift = mantissa - fractions.bit_length() + 1
    # Shifted, i adds the whole powers to the exponent, and what the table is short of, its remainder to the mantissa.
    powers = (2.0 ** (np.arange(fractions) / fractions)).astype(np.float64 if double else np.float32)
    bits = [int(n) - (j << shift) for j, n in enumerate(powers.view(np.int64 if double else np.int32))]
    i = builder.bitcast(rounded, integers)
    if fractions == 1:
        table = _constant(bits[0], integers)
    else:
        parts = [ir.Constant(integers, bits[k : k + vector.count]) for k in range(0, fractions, vector.count)]
        if double:
            name, arguments = "vpermi2var.q.512", [parts[0], i, parts[1]]
        else:
            name, arguments = "permvar.si.512", [parts[0], i]
        kind = ir.FunctionType(integers, [integers] * len(arguments))
        look_up = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.{name}")
        table = builder.call(look_up, arguments)
    return builder.bitcast(builder.add(builder.shl(i, _constant(shift, integers)), table), vector)


def _exponential(builder: Any, x: Any, fractions: int, split: bool) -> tuple[Any, Any, Any]:
    """``r, h, 2^k`` with ``e^x = 2^k (1 + r h)``, for -708 (-87) <= x <= 0; x below is taken as that; NaN stays NaN.

    k is ``x / ln 2`` rounded to a multiple of 1/fractions, and h interpolates ``(e^(c r) - 1)/r``: that is two terms
    shorter than Taylor's polynomial for the same accuracy. Split, ``r = x - k ln 2`` in two parts, and c = 1; otherwise
    ``r = x / ln 2 - k``, c = ln 2, one operation less, with a relative error of ``|x| eps``.
    """
    vector = x.type
    double = vector.element == ir.DoubleType()
    # Adding 1.5 * 2^mantissa rounds x / ln 2 to an integer and leaves it in the low bits.
    mantissa, low = 52 if double else 23, LOWEST[double]
    magic = _constant(1.5 * 2.0**mantissa / fractions, vector)
    per_ln_2 = _constant(1 / math.log(2), vector)
    x = vector_max(builder, _constant(low, vector), x)
    rounded = vector_fma(builder, x, per_ln_2, magic)
    k = builder.fsub(rounded, magic)
    if split:  # ln 2 = high + rest, where k * high is exact
        high, rest = (
            (6.93147180369123816490e-01, 1.90821492927058770002e-10) if double else (0.693359375, -2.12194440e-4)
        )
        r = vector_fma(builder, k, _constant(-rest, vector), vector_fma(builder, k, _constant(-high, vector), x))
        c = 1.0
    else:
        r = vector_fma(builder, x, per_ln_2, builder.fneg(k))
        c = math.log(2)
    half = 0.5 * math.log(2) / fractions / c
    degree = {(True, 1): 9, (False, 1): 4, (True, 16): 4, (False, 16): 1}[double, fractions]
    tail = _nearest(lambda s: sum(c ** (j + 2) * s**j / math.factorial(j + 2) for j in range(20)), -half, half, degree)
    return r, _polynomial(builder, [c, *tail], r), _power(builder, rounded, fractions)


def vector_exp(builder: Any, x: Any, split: bool = True, vanishes: bool = False) -> Any:
    """See :func:`exp`; not split, with a relative error of ``|x| eps``; or zero where it is no normal number."""
    r, h, power = _exponential(builder, x, FRACTIONS, split)
    out = vector_fma(builder, power, builder.fmul(r, h), power)
    if not vanishes:
        return out
    low, nothing = _constant(LOWEST[x.type.element == ir.DoubleType()], x.type), _constant(0.0, x.type)
    return builder.select(builder.fcmp_ordered("<", x, low), nothing, out)


def _vector_expm1(builder: Any, x: Any) -> Any:
    r, h, power = _exponential(builder, x, 1, split=True)
    return vector_fma(builder, builder.fmul(r, h), power, builder.fsub(power, _constant(1.0, x.type)))


def _vector_log1p(builder: Any, x: Any) -> Any:
    """``log(1 + x) = 2 artanh(s)`` with ``s = x/(2 + x) <= 1/3``, and ``artanh(s) = s + s^3 (1/3 + s^2/5 + ...)``."""
    degree = 13 if x.type.element == ir.DoubleType() else 5
    tail = _nearest(lambda t: sum(t**k / (2 * k + 3) for k in range(20)), -1 / 9, 1 / 9, degree)
    s = builder.fdiv(x, builder.fadd(_constant(2.0, x.type), x))
    square, twice = builder.fmul(s, s), builder.fadd(s, s)
    return vector_fma(builder, builder.fmul(twice, square), _polynomial(builder, tail, square), twice)


def _vector_tanh(builder: Any, x: Any) -> Any:
    size = builder.call(_declared(builder, "fabs", x.type, 1), [x])
    e = _vector_expm1(builder, builder.fmul(_constant(-2.0, x.type), size))
    ratio = builder.fdiv(e, builder.fadd(_constant(2.0, x.type), e))
    return builder.call(_declared(builder, "copysign", x.type, 2), [ratio, x])


#: erf is its power series for |x| below, and ``1 - e^(-x^2) q(1/(x + 2))`` beyond; it is one from 6 on.
ERF_SPLIT, ERF_END = 1.0, 6.0


@np.vectorize
def _erf_far(t: float) -> float:
    """``e^(x^2) erfc(x)`` of t = 1/(x + 2). The rounding of x^2 does no harm where erfc is small."""
    x = 1 / t - 2
    return math.exp(x * x) * math.erfc(x)


def _vector_erf(builder: Any, x: Any) -> Any:
    double = x.type.element == ir.DoubleType()
    one = _constant(1.0, x.type)
    size = builder.call(_declared(builder, "fabs", x.type, 1), [x])
    series = [
        2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(18 if double else 10)
    ]
    near = builder.fmul(_polynomial(builder, series, builder.fmul(x, x)), x)
    start, end = 1 / (ERF_END + 2), 1 / (ERF_SPLIT + 2)
    beyond = vector_max(builder, _constant(ERF_SPLIT, x.type), size)
    t = builder.fdiv(_constant(2 / (end - start), x.type), builder.fadd(beyond, _constant(2.0, x.type)))
    s = builder.fsub(t, _constant((end + start) / (end - start), x.type))
    q = _polynomial(builder, _nearest(_erf_far, start, end, 17 if double else 6), s)  # of a variable from -1 to 1
    decay = vector_exp(builder, builder.fneg(builder.fmul(beyond, beyond)))
    far = vector_fma(builder, builder.fneg(decay), q, one)
    far = builder.call(_declared(builder, "copysign", x.type, 2), [far, x])
    return builder.select(builder.fcmp_ordered("<", size, _constant(ERF_SPLIT, x.type)), near, far)


@intrinsic
def lane_sum(typingctx: Any, a: Any) -> Any:
    """The sum of the lanes, by halves."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = a.vector
        name = f"llvm.vector.reduce.fadd.v{vector.count}f{8 * a.itemsize}"
        kind = ir.FunctionType(vector.element, [vector.element, vector])
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [ir.Constant(vector.element, -0.0), args[0]], fastmath=("reassoc",))

    return a.element(a), generate


add = _lanewise("add", "a + b", lambda builder, a, b: builder.fadd(a, b))
sub = _lanewise("sub", "a - b", lambda builder, a, b: builder.fsub(a, b))
mul = _lanewise("mul", "a b", lambda builder, a, b: builder.fmul(a, b))
div = _lanewise("div", "a / b", lambda builder, a, b: builder.fdiv(a, b))
fma = _lanewise("fma", "``a b + c``, rounded once.", vector_fma)
vmax = _lanewise("vmax", "The larger of the two, and b where one is NaN.", vector_max)
exp = _lanewise(
    "exp",
    """``e^a`` for a <= 0, to about one ulp. Results below the smallest normal number become about that number; NaN
    stays NaN.""",
    lambda builder, a: vector_exp(builder, a),
)
expm1 = _lanewise("expm1", "``e^a - 1`` for a <= 0, to a few ulp; NaN stays NaN.", _vector_expm1)
log1p = _lanewise("log1p", "``log(1 + a)`` for 0 <= a <= 1, to a few ulp; NaN stays NaN.", _vector_log1p)
tanh = _lanewise("tanh", "``tanh(a) = -sign(a) e/(2 + e)`` with ``e = exp(-2 |a|) - 1``, to a few ulp.", _vector_tanh)
erf = _lanewise("erf", "``2/sqrt(pi) int_0^a e^(-s^2) ds``, to a few ulp; NaN stays NaN.", _vector_erf)
where_negative = _lanewise(
    "where_negative",
    "b where a <= 0, c elsewhere and where a is NaN.",
    lambda builder, a, b, c: builder.select(builder.fcmp_ordered("<=", a, _constant(0.0, a.type)), b, c),
)
