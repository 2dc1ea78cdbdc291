"""What kernels do with matrices of registers: products in tiles that stay in registers, sums, and exponentials.

Each is one function in the generated code for every kind of matrices and precision, with sizes and strides at run time:
one build serves all.
"""

from __future__ import annotations

__all__ = [
    "add_product",
    "add_product_less",
    "add_scaled_product",
    "column_products",
    "gaussian",
    "gaussian_of_seen",
    "number_registers",
    "product",
    "product_from",
    "product_less",
    "scale",
    "scaled_product",
    "side_by_side",
    "softmax",
    "softmax_of_seen",
    "sum_lanes",
    "times_product",
    "times_product_with_sums",
    "zero",
]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from wflow.kernels.compile import kernel
from wflow.kernels.simd.lanes import AVX512, lane_sum, vector_exp, vector_fma, vector_max
from wflow.kernels.simd.matrices import BYTES, FIELDS, INT, Matrix, at, extent, number_space, put

#: The largest tile of a product. Its sums, the entries of one factor and one of the other fill the registers.
TILE_ROWS, TILE_COLUMNS = (6, 4) if AVX512 else (6, 2)


def _call_shared(builder: Any, write: Callable[..., None], matrices: list[Matrix]) -> None:
    """Call the LLVM function that ``write(builder, *matrices)`` writes on first use, one for each kind of matrices."""
    name = "_".join(["wflow", write.__name__, *(m.kind.label for m in matrices)])
    function = builder.module.globals.get(name)
    if function is None:
        per_matrix = [BYTES, *[INT] * len(FIELDS)]
        function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), per_matrix * len(matrices)), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        inner = ir.IRBuilder(function.append_basic_block())
        arguments = iter(function.args)
        write(inner, *(Matrix(inner, m.kind, *islice(arguments, len(per_matrix))) for m in matrices))
        inner.ret_void()
    builder.call(function, [x for m in matrices for x in (m.start, *(getattr(m, field) for field in FIELDS))])


def _not_unrolled(module: Any) -> Any:
    """The mark of a loop that LLVM is not to unroll: its body fills the registers, and copies take time to compile."""
    if "wflow.loop" not in module.namedmetadata:
        disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
        mark = module.add_metadata([disable, disable])
        mark.operands = (mark, disable)  # loops are marked by what refers to itself
        module.add_named_metadata("wflow.loop", mark)
    return module.namedmetadata["wflow.loop"].operands[0]


@contextmanager
def _repeat(builder: Any, count: Any) -> Iterator[Any]:
    """A loop over an index 0, ..., count - 1."""
    before, body, after = builder.basic_block, builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed(">", count, INT(0)), body, after)
    builder.position_at_end(body)
    index = builder.phi(INT)
    yield index
    following = builder.add(index, INT(1))
    branch = builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    branch.set_metadata("llvm.loop", _not_unrolled(builder.module))
    index.add_incoming(INT(0), before)
    index.add_incoming(following, builder.basic_block)
    builder.position_at_end(after)


def _tiles(builder: Any, size: Any, largest: int, body: Callable[[Any, int], None]) -> None:
    """``body(first, count)`` for a partition of 0, ..., size - 1 into as few counts as possible: the largest, but for
    the last two, which share the remainder."""
    number = builder.udiv(builder.add(size, INT(largest - 1)), INT(largest))
    whole = builder.sub(number, INT(2))
    whole = builder.select(builder.icmp_signed("<", whole, INT(0)), INT(0), whole)
    remainder = builder.sub(size, builder.mul(whole, INT(largest)))
    single = builder.icmp_unsigned("<=", remainder, INT(largest))
    second = builder.select(single, INT(0), builder.lshr(remainder, INT(1)))
    last_two = [builder.sub(remainder, second), second]
    first = _variable(builder, INT(0))
    for count in range(largest, 0, -1):
        repeats = whole if count == largest else INT(0)
        for one in last_two:
            repeats = builder.add(repeats, builder.zext(builder.icmp_unsigned("==", one, INT(count)), INT))
        with _repeat(builder, repeats):
            here = builder.load(first)
            body(here, count)
            builder.store(builder.add(here, INT(count)), first)


class _Tile:
    """So many rows and columns of a product, from (first row, first column) on."""

    def __init__(self, builder: Any, row: Any, column: Any, n_rows: int, n_columns: int) -> None:
        self.builder, self.row, self.column, self.n_rows, self.n_columns = builder, row, column, n_rows, n_columns

    def steps(self, stride: Any, count: int) -> list[Any]:
        return [self.builder.mul(stride, INT(i)) for i in range(count)]

    def addresses(self, M: Matrix) -> list[list[Any]]:
        """Where the tile's entries are in a matrix of the product's size."""
        corner = M.address(self.row, self.column)
        lines = [self.builder.gep(corner, [d]) for d in self.steps(M.down, self.n_rows)]
        return [[self.builder.gep(line, [r]) for r in self.steps(M.right, self.n_columns)] for line in lines]

    def load(self, M: Matrix) -> list[list[Any]]:
        return [[M.load(place) for place in line] for line in self.addresses(M)]

    def store(self, M: Matrix, values: list[list[Any]]) -> None:
        self.update(M, lambda place, value: value, values)

    def update(self, M: Matrix, function: Callable[..., Any], *values: list[list[Any]]) -> None:
        """Store ``function(place, *values)`` at every place, one entry at a time: few are in registers at once."""
        for line, *lines in zip(self.addresses(M), *values):
            for place, *entries in zip(line, *lines):
                M.store(function(place, *entries), place)

    def map(self, function: Callable[..., Any], *values: list[list[Any]]) -> list[list[Any]]:
        return [[function(*entries) for entries in zip(*lines)] for lines in zip(*values)]

    def zeros(self, M: Matrix) -> list[list[Any]]:
        return [[ir.Constant(M.vector, None)] * self.n_columns for _ in range(self.n_rows)]

    def along(self, r: Matrix) -> list[list[Any]]:
        """The entries of a row (1 x columns), the same in every row of the tile."""
        places = [r.address(INT(0), self.builder.add(self.column, INT(j))) for j in range(self.n_columns)]
        return [[r.load(place) for place in places]] * self.n_rows

    def less(self, values: list[list[Any]], K: Matrix, r: Matrix) -> list[list[Any]]:
        """The values less those of K, of every column times the entry of a row r."""
        factors = self.map(self.builder.fneg, self.along(r))
        return self.map(lambda x, factor, k: vector_fma(self.builder, factor, k, x), values, factors, self.load(K))

    def product(self, A: Matrix, B: Matrix, start: list[list[Any]]) -> list[list[Any]]:
        """``start + A B``."""
        builder = self.builder  # sums_ij += sum_k A_ik B_kj: for every k, the tile's part of A's column and B's row
        down, right = self.steps(A.down, self.n_rows), self.steps(B.right, self.n_columns)
        sums = self.map(lambda value: _variable(builder, value), start)
        A_k = _variable(builder, A.address(self.row, INT(0)))  # where column k of A and row k of B start
        B_k = _variable(builder, B.address(INT(0), self.column))
        with _repeat(builder, A.columns):
            a, b = builder.load(A_k), builder.load(B_k)
            xs = [B.load(builder.gep(b, [offset])) for offset in right]
            for offset, line in zip(down, sums):
                y = A.load(builder.gep(a, [offset]))
                for x, total in zip(xs, line):
                    builder.store(vector_fma(builder, y, x, builder.load(total)), total)
            builder.store(builder.gep(a, [A.right]), A_k)
            builder.store(builder.gep(b, [B.down]), B_k)
        return self.map(builder.load, sums)


def _variable(builder: Any, value: Any) -> Any:
    """A place for a value that changes; LLVM makes a register of it."""
    place = cgutils.alloca_once(builder, value.type)
    builder.store(value, place)
    return place


def _in_tiles(builder: Any, C: Matrix, body: Callable[[_Tile], None]) -> None:
    """``body(tile)`` for every tile of C."""

    def some_rows(i: Any, n_rows: int) -> None:
        _tiles(builder, C.columns, TILE_COLUMNS, lambda j, n_columns: body(_Tile(builder, i, j, n_rows, n_columns)))

    _tiles(builder, C.rows, TILE_ROWS, some_rows)


def _procedure(write: Callable[..., None]) -> Any:
    """A function of matrices without a result, for kernels, from ``write(builder, *matrices)``, which writes its code.

    numba reads the number of arguments, and the name, from what is wrapped.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrices = [Matrix.read(context, builder, kind, value) for kind, value in zip(signature.args, args)]
        _call_shared(builder, write, matrices)
        return context.get_dummy_value()

    @wraps(write)
    def typed(typingctx: Any, *kinds: Any) -> Any:
        return types.none(*kinds), generate

    return intrinsic(typed)


@_procedure
def zero(builder: Any, A: Matrix) -> None:
    """``A = 0``."""
    with _repeat(builder, A.rows) as row, _repeat(builder, A.columns) as column:
        A.store(ir.Constant(A.vector, None), A.address(row, column))


@_procedure
def product(builder: Any, C: Matrix, A: Matrix, B: Matrix) -> None:
    """``C = A^T B``, with B of registers."""
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A.transpose(), B, tile.zeros(C))))


@_procedure
def product_from(builder: Any, C: Matrix, A: Matrix, B: Matrix, M: Matrix) -> None:
    """``C = M + A^T B``, with M of numbers and B of registers."""
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A.transpose(), B, tile.load(M))))


@_procedure
def add_product(builder: Any, C: Matrix, A: Matrix, B: Matrix) -> None:
    """``C += A^T B`` with A of numbers and B of registers."""
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A.transpose(), B, tile.load(C))))


@_procedure
def scaled_product(builder: Any, C: Matrix, A: Matrix, B: Matrix, r: Matrix) -> None:
    """``C_i = r_i (A^T B)_i`` for every column i, with a row r (1 x columns)."""

    def body(tile: _Tile) -> None:
        sums = tile.product(A.transpose(), B, tile.zeros(C))
        tile.store(C, tile.map(builder.fmul, sums, tile.along(r)))

    _in_tiles(builder, C, body)


@_procedure
def times_product(builder: Any, C: Matrix, A: Matrix, B: Matrix, k: Matrix) -> None:
    """``C <- C o (A^T B - k)`` with a row k (1 x columns)."""

    def body(tile: _Tile) -> None:
        sums = tile.product(A.transpose(), B, tile.map(builder.fneg, tile.along(k)))
        tile.update(C, lambda place, s: builder.fmul(s, C.load(place)), sums)

    _in_tiles(builder, C, body)


@_procedure
def add_scaled_product(builder: Any, C: Matrix, a: Matrix, A: Matrix, B: Matrix) -> None:
    """``C += a A B`` of registers, with one register a (1 x 1)."""
    scale = a.load(a.start)

    def body(tile: _Tile) -> None:
        sums = tile.product(A, B, tile.zeros(C))
        tile.update(C, lambda place, s: vector_fma(builder, scale, s, C.load(place)), sums)

    _in_tiles(builder, C, body)


@_procedure
def scale(builder: Any, G: Matrix, r: Matrix, Z: Matrix, k: Matrix) -> None:
    """``G_i <- r_i G_i`` and ``k_i = <Z_i, G_i>`` of what results, for every column i; r and k (1 x columns)."""

    def body(column: Any, count: int) -> None:
        here = [builder.add(column, INT(j)) for j in range(count)]
        scales = [r.load(r.address(INT(0), i)) for i in here]
        totals = [_variable(builder, ir.Constant(Z.vector, None)) for _ in here]
        with _repeat(builder, G.rows) as row:
            for i, factor, total in zip(here, scales, totals):
                place = G.address(row, i)
                g = builder.fmul(factor, G.load(place))
                z = Z.load(Z.address(row, i))
                G.store(g, place)
                builder.store(vector_fma(builder, g, z, builder.load(total)), total)
        for i, total in zip(here, totals):
            k.store(builder.load(total), k.address(INT(0), i))

    _tiles(builder, G.columns, TILE_COLUMNS, body)


@_procedure
def column_products(builder: Any, k: Matrix, A: Matrix, B: Matrix) -> None:
    """``k_i = <A_i, B_i>`` for every column i; k (1 x columns)."""

    def body(column: Any, count: int) -> None:
        here = [builder.add(column, INT(j)) for j in range(count)]
        totals = [_variable(builder, ir.Constant(k.vector, None)) for _ in here]
        with _repeat(builder, A.rows) as row:
            for i, total in zip(here, totals):
                x, y = A.load(A.address(row, i)), B.load(B.address(row, i))
                builder.store(vector_fma(builder, x, y, builder.load(total)), total)
        for i, total in zip(here, totals):
            k.store(builder.load(total), k.address(INT(0), i))

    _tiles(builder, A.columns, TILE_COLUMNS, body)


@_procedure
def product_less(builder: Any, C: Matrix, A: Matrix, B: Matrix, K: Matrix, r: Matrix) -> None:
    """``C_i = (A^T B)_i - r_i K_i`` for every column i, with a row r (1 x columns)."""
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A.transpose(), B, tile.less(tile.zeros(C), K, r))))


@_procedure
def add_product_less(builder: Any, C: Matrix, A: Matrix, B: Matrix, K: Matrix, r: Matrix) -> None:
    """``C_i += (A^T B)_i - r_i K_i`` for every column i, with a row r (1 x columns)."""
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A.transpose(), B, tile.less(tile.load(C), K, r))))


@_procedure
def times_product_with_sums(
    builder: Any, C: Matrix, A: Matrix, B: Matrix, k: Matrix, of_rows: Matrix, of_columns: Matrix
) -> None:
    """:func:`times_product`, and ``of_rows_j += sum_i C_ji`` and ``of_columns_i += sum_j C_ji``, both in a row."""

    def body(tile: _Tile) -> None:
        sums = tile.product(A.transpose(), B, tile.map(builder.fneg, tile.along(k)))
        entries = tile.map(builder.fmul, sums, tile.load(C))
        tile.store(C, entries)
        for i, line in enumerate(entries):
            _add_all(builder, of_rows.address(INT(0), builder.add(tile.row, INT(i))), of_rows, line)
        for j, line in enumerate(zip(*entries)):
            _add_all(builder, of_columns.address(INT(0), builder.add(tile.column, INT(j))), of_columns, list(line))

    _in_tiles(builder, C, body)


def _add_all(builder: Any, place: Any, M: Matrix, entries: list[Any]) -> None:
    """Add all entries to that of M at a place, in pairs."""
    entries = [M.load(place), *entries]
    while len(entries) > 1:
        entries = [*entries[2:], builder.fadd(*entries[:2])]
    M.store(entries[0], place)


@_procedure
def gaussian(builder: Any, A: Matrix, of_rows: Matrix, of_columns: Matrix) -> None:
    """``A_ji <- exp(min(A_ji - (of_rows_j + of_columns_i)/2, 0))``, with both in a row."""
    _gaussian(builder, A, of_rows, of_columns, False)


@_procedure
def gaussian_of_seen(builder: Any, A: Matrix, of_rows: Matrix, of_columns: Matrix) -> None:
    """The same with exact zeros where A is minus infinity."""
    _gaussian(builder, A, of_rows, of_columns, True)


def _gaussian(builder: Any, A: Matrix, of_rows: Matrix, of_columns: Matrix, vanishes: bool) -> None:
    zero, half = ir.Constant(A.vector, None), ir.Constant(A.vector, [-0.5] * A.vector.count)

    def body(column: Any, count: int) -> None:
        here = [builder.add(column, INT(j)) for j in range(count)]
        terms = [of_columns.load(of_columns.address(INT(0), i)) for i in here]
        with _repeat(builder, A.rows) as row:
            term = of_rows.load(of_rows.address(INT(0), row))
            for i, other in zip(here, terms):
                place = A.address(row, i)
                x = vector_fma(builder, half, builder.fadd(term, other), A.load(place))
                x = builder.select(builder.fcmp_ordered(">", x, zero), zero, x)  # NaN stays NaN
                A.store(vector_exp(builder, x, False, vanishes), place)

    _tiles(builder, A.columns, TILE_COLUMNS, body)


@_procedure
def softmax(builder: Any, S: Matrix, inverse: Matrix) -> None:
    """``S <- exp(S - max of the column)``, and the inverse of every column's sum (1 x columns): the softmax of a column
    is their product."""
    _softmax(builder, S, inverse, False)


@_procedure
def softmax_of_seen(builder: Any, S: Matrix, inverse: Matrix) -> None:
    """The same with exact zeros where S is minus infinity."""
    _softmax(builder, S, inverse, True)


def _softmax(builder: Any, S: Matrix, inverse: Matrix, vanishes: bool) -> None:

    def body(column: Any, count: int) -> None:
        places = [S.address(INT(0), builder.add(column, INT(j))) for j in range(count)]
        tops = [_variable(builder, S.load(place)) for place in places]
        totals = [_variable(builder, ir.Constant(S.vector, None)) for _ in places]
        with _repeat(builder, builder.sub(S.rows, INT(1))) as row:
            offset = builder.mul(builder.add(row, INT(1)), S.down)
            for place, top in zip(places, tops):
                value = S.load(builder.gep(place, [offset]))
                builder.store(vector_max(builder, value, builder.load(top)), top)
        with _repeat(builder, S.rows) as row:
            offset = builder.mul(row, S.down)
            for place, top, total in zip(places, tops, totals):
                here = builder.gep(place, [offset])
                value = vector_exp(builder, builder.fsub(S.load(here), builder.load(top)), False, vanishes)
                S.store(value, here)
                builder.store(builder.fadd(builder.load(total), value), total)
        one = ir.Constant(S.vector, [1.0] * S.vector.count)
        for j, total in enumerate(totals):
            value = builder.fdiv(one, builder.load(total))
            inverse.store(value, inverse.address(INT(0), builder.add(column, INT(j))))

    _tiles(builder, S.columns, TILE_COLUMNS, body)


@kernel
def number_registers(count, lanes):
    """How many registers of space so many numbers take."""
    return -(-count // lanes)


@kernel
def side_by_side(tokens, chosen, ones, memory, first):
    """The chosen columns of all prompts (B, D, n) as one matrix of numbers (D + ones, B q), with so many rows of ones
    below, and its transpose (B q, D + ones); and the register after them."""
    B, D, q = tokens.shape[0], tokens.shape[1], chosen.size
    size = number_registers((D + ones) * B * q, memory.shape[1])
    matrix = number_space(memory, first, D + ones, B * q)
    transpose = number_space(memory, first + size, B * q, D + ones)
    for d in range(D + ones):
        for b in range(B):
            for i in range(q):
                value = tokens[b, d, chosen[i]] if d < D else tokens.dtype.type(1)
                put(matrix, d, b * q + i, value)
                put(transpose, b * q + i, d, value)
    return matrix, transpose, first + 2 * size


@kernel
def sum_lanes(total, out, first, q):
    """``out_b = sum over lanes`` of the prompts ``first, ...`` in a matrix (D, prompts x q)."""
    D, width = extent(total)
    for b in range(width // q):
        for d in range(D):
            for i in range(q):
                out[first + b, d, i] = lane_sum(at(total, d, b * q + i))
