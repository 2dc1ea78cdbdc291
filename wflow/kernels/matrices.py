"""Small matrices of registers or numbers, and their products in tiles that stay in registers.

``at(A, i, j)`` reads the register at (i, j) of a matrix and ``put`` writes it; of a matrix of numbers ``at`` reads one
that all lanes share. Matrices are places in arrays: they own nothing, and the arrays must outlive them.

Products are functions of their own in the generated code, one for every kind and precision, with sizes and strides
given at run time: one build serves all.
"""

from __future__ import annotations

__all__ = [
    "add_product",
    "add_scaled_product",
    "at",
    "columns",
    "extent",
    "flipped",
    "kernel",
    "number_registers",
    "number_space",
    "product",
    "put",
    "registers",
    "rows",
    "scale",
    "scaled_product",
    "side_by_side",
    "softmax_weights",
    "space",
    "sum_lanes",
    "times_product",
    "write",
    "zero",
]

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic, models, register_model

from wflow.kernels.lanes import (
    FAST,
    REGISTER_BYTES,
    WIDE,
    LaneType,
    broadcast,
    lane_sum,
    vector_exp,
    vector_fma,
    vector_max,
)

INT = ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()

#: The largest tile of a product. Its sums, the entries of one factor and one of the other fill the registers.
TILE_ROWS, TILE_COLUMNS = (6, 4) if WIDE else (6, 2)


class MatrixType(types.Type):  # type: ignore[misc]
    """The numba type of a matrix of registers, or of numbers that all lanes share."""

    def __init__(self, element: Any, shared: bool) -> None:
        self.lanes, self.shared = LaneType(element), shared
        super().__init__(name=f"matrix({element}, {'numbers' if shared else 'registers'})")


@register_model(MatrixType)
class _MatrixModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, matrix_type: MatrixType) -> None:
        members = [("start", types.CPointer(types.uint8))]
        members += [(name, types.int64) for name in ("rows", "columns", "down", "right")]
        super().__init__(manager, matrix_type, members)


class _Matrix:
    """A matrix inside generated code: where it starts, its size, and the bytes from an entry to the next."""

    def __init__(
        self, builder: Any, kind: MatrixType, start: Any, rows: Any, columns: Any, down: Any, right: Any
    ) -> None:
        self.builder, self.kind, self.vector = builder, kind, kind.lanes.vector
        self.start, self.rows, self.columns, self.down, self.right = start, rows, columns, down, right

    @classmethod
    def read(cls, context: Any, builder: Any, kind: MatrixType, value: Any) -> _Matrix:
        """The matrix behind a value of numba's."""
        fields = cgutils.create_struct_proxy(kind)(context, builder, value)
        return cls(builder, kind, fields.start, fields.rows, fields.columns, fields.down, fields.right)

    def value(self, context: Any) -> Any:
        """This matrix as a value of numba's."""
        fields = cgutils.create_struct_proxy(self.kind)(context, self.builder)
        for name in ("start", "rows", "columns", "down", "right"):
            setattr(fields, name, getattr(self, name))
        return fields._getvalue()

    def view(self, row: Any, column: Any, rows: Any, columns: Any) -> _Matrix:
        """``rows`` x ``columns`` entries from (row, column) on."""
        return _Matrix(self.builder, self.kind, self.address(row, column), rows, columns, self.down, self.right)

    def address(self, row: Any, column: Any) -> Any:
        offset = self.builder.add(self.builder.mul(row, self.down), self.builder.mul(column, self.right))
        return self.builder.gep(self.start, [offset])


def _load(builder: Any, kind: MatrixType, address: Any) -> Any:
    """The register at an address, or the number there in all lanes. Numbers and registers lie anywhere."""
    vector = kind.lanes.vector
    entry = builder.load(builder.bitcast(address, (vector.element if kind.shared else vector).as_pointer()))
    entry.align = kind.lanes.itemsize
    return broadcast(builder, entry, vector) if kind.shared else entry


def _store(builder: Any, kind: MatrixType, value: Any, address: Any) -> None:
    builder.store(value, builder.bitcast(address, kind.lanes.vector.as_pointer())).align = kind.lanes.itemsize


def _from_array(name: str, explanation: str, shared: bool, place: Callable[..., Any]) -> Any:
    """A matrix in a contiguous array: ``place(builder, shape, arguments)`` is its start and size."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        kind = signature.return_type
        first, rows_, columns_ = place(builder, cgutils.unpack_tuple(builder, array.shape), args[1:])
        size = INT(kind.lanes.itemsize if shared else REGISTER_BYTES)
        start = builder.gep(builder.bitcast(array.data, BYTES), [builder.mul(first, size)])
        return _Matrix(builder, kind, start, rows_, columns_, builder.mul(columns_, size), size).value(context)

    def contiguous(array: Any) -> None:
        if array.layout != "C":
            raise errors.TypingError(f"{name} needs a contiguous array, got {array}")

    def one(typingctx: Any, array: Any, i: Any) -> Any:
        contiguous(array)
        return MatrixType(array.dtype, shared)(array, types.intp), generate

    def part(typingctx: Any, array: Any, first: Any, rows: Any, columns: Any) -> Any:
        contiguous(array)
        return MatrixType(array.dtype, shared)(array, types.intp, types.intp, types.intp), generate

    function = one if name == "registers" else part
    function.__name__, function.__doc__ = name, explanation
    return intrinsic(function)


def _one_of_stack(builder: Any, shape: Any, args: Any) -> Any:
    return builder.mul(args[0], builder.mul(shape[1], shape[2])), shape[1], shape[2]


registers = _from_array("registers", "Matrix i of an array (matrices, rows, columns, lanes).", False, _one_of_stack)
space = _from_array(
    "space",
    "The matrix (rows, columns) in an array (registers, lanes) from register ``first`` on.",
    False,
    lambda builder, shape, args: args,
)
number_space = _from_array(
    "number_space",
    "The matrix of numbers (rows, columns) in an array (registers, lanes) from register ``first`` on.",
    True,
    lambda builder, shape, args: (builder.mul(args[0], shape[1]), *args[1:]),
)


@intrinsic
def at(typingctx: Any, A: Any, row: Any, column: Any) -> Any:
    """Entry (row, column) as a register."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = _Matrix.read(context, builder, A, args[0])
        return _load(builder, A, matrix.address(*args[1:]))

    return A.lanes(A, types.intp, types.intp), generate


@intrinsic
def put(typingctx: Any, A: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a register."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = _Matrix.read(context, builder, A, args[0])
        _store(builder, A, args[3], matrix.address(*args[1:3]))
        return context.get_dummy_value()

    return types.none(A, types.intp, types.intp, value), generate


@intrinsic
def write(typingctx: Any, A: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a number to a matrix of numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = _Matrix.read(context, builder, A, args[0])
        place = builder.bitcast(matrix.address(*args[1:3]), args[3].type.as_pointer())
        builder.store(args[3], place).align = A.lanes.itemsize
        return context.get_dummy_value()

    return types.none(A, types.intp, types.intp, A.lanes.element), generate


@intrinsic
def flipped(typingctx: Any, A: Any) -> Any:
    """The transpose, in place."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix.read(context, builder, A, args[0])
        return _Matrix(builder, A, m.start, m.columns, m.rows, m.right, m.down).value(context)

    return A(A), generate


@intrinsic
def rows(typingctx: Any, A: Any, first: Any, last: Any) -> Any:
    """Rows first, ..., last - 1, in place."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix.read(context, builder, A, args[0])
        return m.view(args[1], INT(0), builder.sub(args[2], args[1]), m.columns).value(context)

    return A(A, types.intp, types.intp), generate


@intrinsic
def columns(typingctx: Any, A: Any, first: Any, last: Any) -> Any:
    """Columns first, ..., last - 1, in place."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix.read(context, builder, A, args[0])
        return m.view(INT(0), args[1], m.rows, builder.sub(args[2], args[1])).value(context)

    return A(A, types.intp, types.intp), generate


@intrinsic
def extent(typingctx: Any, A: Any) -> Any:
    """The numbers of rows and columns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = _Matrix.read(context, builder, A, args[0])
        return cgutils.pack_array(builder, [m.rows, m.columns])

    return types.UniTuple(types.intp, 2)(A), generate


# --- code that is shared by all calls of one kind ---------------------------------------------------------------------


def _shared_code(builder: Any, name: str, matrices: list[_Matrix], write: Callable[..., None]) -> None:
    """Call the function ``name`` of these matrices, which ``write(builder, *matrices)`` writes on first use."""
    lanes = matrices[0].kind.lanes
    full = f"wflow_{name}_{lanes.element}"
    function = builder.module.globals.get(full)
    if function is None:
        signature = ir.FunctionType(ir.VoidType(), [BYTES, INT, INT, INT, INT] * len(matrices))
        function = ir.Function(builder.module, signature, full)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        inner = ir.IRBuilder(function.append_basic_block())
        fields = [function.args[5 * i : 5 * i + 5] for i in range(len(matrices))]
        write(inner, *(_Matrix(inner, m.kind, *given) for m, given in zip(matrices, fields)))
        inner.ret_void()
    builder.call(function, [x for m in matrices for x in (m.start, m.rows, m.columns, m.down, m.right)])


def _tiles(builder: Any, size: Any, largest: int, body: Callable[[Any, int], None]) -> None:
    """``body(first, count)`` for a partition of 0, ..., size - 1 into as few counts as possible: the largest, but for
    the last two, which share what is left."""
    number = builder.udiv(builder.add(size, INT(largest - 1)), INT(largest))
    whole = builder.sub(number, INT(2))
    whole = builder.select(builder.icmp_signed("<", whole, INT(0)), INT(0), whole)
    left = builder.sub(size, builder.mul(whole, INT(largest)))
    single = builder.icmp_unsigned("<=", left, INT(largest))
    second = builder.select(single, INT(0), builder.lshr(left, INT(1)))
    last_two = [builder.sub(left, second), second]
    first = _variable(builder, INT(0))
    for count in range(largest, 0, -1):
        repeats = whole if count == largest else INT(0)
        for given in last_two:
            repeats = builder.add(repeats, builder.zext(builder.icmp_unsigned("==", given, INT(count)), INT))
        with cgutils.for_range(builder, repeats):
            here = builder.load(first)
            body(here, count)
            builder.store(builder.add(here, INT(count)), first)


class _Tile:
    """So many rows and columns of a product, from (first row, first column) on."""

    def __init__(self, builder: Any, row: Any, column: Any, n_rows: int, n_columns: int) -> None:
        self.builder, self.row, self.column, self.n_rows, self.n_columns = builder, row, column, n_rows, n_columns

    def steps(self, stride: Any, count: int) -> list[Any]:
        return [self.builder.mul(stride, INT(i)) for i in range(count)]

    def addresses(self, M: _Matrix) -> list[list[Any]]:
        """Where the tile's entries are in a matrix of the product's size."""
        corner = M.address(self.row, self.column)
        lines = [self.builder.gep(corner, [d]) for d in self.steps(M.down, self.n_rows)]
        return [[self.builder.gep(line, [r]) for r in self.steps(M.right, self.n_columns)] for line in lines]

    def load(self, M: _Matrix) -> list[list[Any]]:
        return [[_load(self.builder, M.kind, place) for place in line] for line in self.addresses(M)]

    def store(self, M: _Matrix, values: list[list[Any]]) -> None:
        for line, entries in zip(self.addresses(M), values):
            for place, value in zip(line, entries):
                _store(self.builder, M.kind, value, place)

    def map(self, function: Callable[..., Any], *values: list[list[Any]]) -> list[list[Any]]:
        return [[function(*entries) for entries in zip(*lines)] for lines in zip(*values)]

    def constant(self, values: list[Any]) -> list[list[Any]]:
        """The same values in every row."""
        return [list(values) for _ in range(self.n_rows)]

    def product(self, A: _Matrix, B: _Matrix, start: list[list[Any]], transposed: bool) -> list[list[Any]]:
        """``start + A B``, or ``start + A^T B`` if transposed, where the rows of A must be contiguous."""
        builder = self.builder
        if transposed:
            a, inner, step = A.address(INT(0), self.row), A.rows, A.down
            offsets = [INT(i * A.kind.lanes.itemsize) for i in range(self.n_rows)]
        else:
            a, inner, step = A.address(self.row, INT(0)), A.columns, A.right
            offsets = self.steps(A.down, self.n_rows)
        right = self.steps(B.right, self.n_columns)
        sums = self.map(lambda value: _variable(builder, value), start)
        left, above = _variable(builder, a), _variable(builder, B.address(INT(0), self.column))
        with cgutils.for_range(builder, inner):
            a, b = builder.load(left), builder.load(above)
            xs = [_load(builder, B.kind, builder.gep(b, [offset])) for offset in right]
            for offset, line in zip(offsets, sums):
                y = _load(builder, A.kind, builder.gep(a, [offset]))
                for x, total in zip(xs, line):
                    builder.store(vector_fma(builder, y, x, builder.load(total)), total)
            builder.store(builder.gep(a, [step]), left)
            builder.store(builder.gep(b, [B.down]), above)
        return self.map(builder.load, sums)


def _variable(builder: Any, value: Any) -> Any:
    """A place for a value that changes; LLVM makes a register of it."""
    place = cgutils.alloca_once(builder, value.type)
    builder.store(value, place)
    return place


def _in_tiles(builder: Any, C: _Matrix, body: Callable[[_Tile], None]) -> None:
    _tiles(
        builder,
        C.rows,
        TILE_ROWS,
        lambda i, n_rows: _tiles(
            builder, C.columns, TILE_COLUMNS, lambda j, n_columns: body(_Tile(builder, i, j, n_rows, n_columns))
        ),
    )


def _write_product(builder: Any, C: _Matrix, A: _Matrix, B: _Matrix) -> None:
    def body(tile: _Tile) -> None:
        zeros = tile.constant([ir.Constant(C.vector, None)] * tile.n_columns)
        tile.store(C, tile.product(A, B, zeros, transposed=True))

    _in_tiles(builder, C, body)


def _along_columns(tile: _Tile, row: _Matrix) -> list[list[Any]]:
    """The entries of a row (1 x columns), the same for every row of the tile."""
    places = [row.address(INT(0), tile.builder.add(tile.column, INT(j))) for j in range(tile.n_columns)]
    return tile.constant([_load(tile.builder, row.kind, place) for place in places])


def _write_scaled_product(builder: Any, C: _Matrix, A: _Matrix, B: _Matrix, r: _Matrix) -> None:
    def body(tile: _Tile) -> None:
        zeros = tile.constant([ir.Constant(C.vector, None)] * tile.n_columns)
        sums = tile.product(A, B, zeros, transposed=True)
        tile.store(C, tile.map(builder.fmul, sums, _along_columns(tile, r)))

    _in_tiles(builder, C, body)


def _write_add_product(builder: Any, C: _Matrix, A: _Matrix, B: _Matrix) -> None:
    _in_tiles(builder, C, lambda tile: tile.store(C, tile.product(A, B, tile.load(C), transposed=True)))


def _write_add_scaled_product(builder: Any, C: _Matrix, a: _Matrix, A: _Matrix, B: _Matrix) -> None:
    scale = _load(builder, a.kind, a.start)

    def body(tile: _Tile) -> None:
        zeros = tile.constant([ir.Constant(C.vector, None)] * tile.n_columns)
        sums = tile.product(A, B, zeros, transposed=False)
        tile.store(C, tile.map(lambda s, c: vector_fma(builder, scale, s, c), sums, tile.load(C)))

    _in_tiles(builder, C, body)


def _write_times_product(builder: Any, C: _Matrix, A: _Matrix, B: _Matrix, k: _Matrix) -> None:
    def body(tile: _Tile) -> None:
        start = tile.map(builder.fneg, _along_columns(tile, k))
        sums = tile.product(A, B, start, transposed=True)
        tile.store(C, tile.map(builder.fmul, sums, tile.load(C)))

    _in_tiles(builder, C, body)


def _write_scale(builder: Any, G: _Matrix, r: _Matrix, Z: _Matrix, k: _Matrix) -> None:
    def body(column: Any, count: int) -> None:
        here = [builder.add(column, INT(j)) for j in range(count)]
        scales = [_load(builder, r.kind, r.address(INT(0), i)) for i in here]
        totals = [_variable(builder, ir.Constant(Z.vector, None)) for _ in here]
        with cgutils.for_range(builder, G.rows) as loop:
            for i, scale, total in zip(here, scales, totals):
                place = G.address(loop.index, i)
                g = builder.fmul(scale, _load(builder, G.kind, place))
                z = _load(builder, Z.kind, Z.address(loop.index, i))
                _store(builder, G.kind, g, place)
                builder.store(vector_fma(builder, g, z, builder.load(total)), total)
        for i, total in zip(here, totals):
            _store(builder, k.kind, builder.load(total), k.address(INT(0), i))

    _tiles(builder, G.columns, TILE_COLUMNS, body)


def _write_softmax_weights(builder: Any, S: _Matrix, inverse: _Matrix) -> None:
    def body(column: Any, count: int) -> None:
        tops, totals = ([_variable(builder, ir.Constant(S.vector, None)) for _ in range(count)] for _ in range(2))
        places = [S.address(INT(0), builder.add(column, INT(j))) for j in range(count)]
        for place, top in zip(places, tops):
            builder.store(_load(builder, S.kind, place), top)
        with cgutils.for_range(builder, builder.sub(S.rows, INT(1))) as loop:
            offset = builder.mul(builder.add(loop.index, INT(1)), S.down)
            for place, top in zip(places, tops):
                value = _load(builder, S.kind, builder.gep(place, [offset]))
                builder.store(vector_max(builder, value, builder.load(top)), top)
        with cgutils.for_range(builder, S.rows) as loop:
            offset = builder.mul(loop.index, S.down)
            for place, top, total in zip(places, tops, totals):
                here = builder.gep(place, [offset])
                value = vector_exp(builder, builder.fsub(_load(builder, S.kind, here), builder.load(top)))
                _store(builder, S.kind, value, here)
                builder.store(builder.fadd(builder.load(total), value), total)
        one = ir.Constant(S.vector, [1.0] * S.vector.count)
        for j, total in enumerate(totals):
            value = builder.fdiv(one, builder.load(total))
            _store(builder, inverse.kind, value, inverse.address(INT(0), builder.add(column, INT(j))))

    _tiles(builder, S.columns, TILE_COLUMNS, body)


def _write_zero(builder: Any, A: _Matrix) -> None:
    with cgutils.for_range(builder, A.rows) as row, cgutils.for_range(builder, A.columns) as column:
        _store(builder, A.kind, ir.Constant(A.vector, None), A.address(row.index, column.index))


def _procedure(name: str, explanation: str, n_arguments: int, write: Callable[..., None]) -> Any:
    """A function of matrices without a result."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrices = [_Matrix.read(context, builder, *given) for given in zip(signature.args, args)]
        _shared_code(builder, name, matrices, write)
        return context.get_dummy_value()

    def one(typingctx: Any, A: Any) -> Any:
        return types.none(A), generate

    def two(typingctx: Any, A: Any, B: Any) -> Any:
        return types.none(A, B), generate

    def three(typingctx: Any, A: Any, B: Any, C: Any) -> Any:
        return types.none(A, B, C), generate

    def four(typingctx: Any, A: Any, B: Any, C: Any, D: Any) -> Any:
        return types.none(A, B, C, D), generate

    function = (one, two, three, four)[n_arguments - 1]
    function.__name__, function.__doc__ = name, explanation
    return intrinsic(function)


zero = _procedure("zero", "``A = 0``.", 1, _write_zero)
product = _procedure("product", "``C = A^T B`` with A of numbers and B of registers.", 3, _write_product)
add_product = _procedure("add_product", "``C += A^T B`` with A of numbers, B of registers.", 3, _write_add_product)
add_scaled_product = _procedure(
    "add_scaled_product", "``C += a A B`` of registers, with one register a (1 x 1).", 4, _write_add_scaled_product
)
softmax_weights = _procedure(
    "softmax_weights",
    """``S <- exp(S - max of the column)`` and the inverse of every column's sum (1 x columns): the softmax of a column
    is their product.""",
    2,
    _write_softmax_weights,
)
scale = _procedure("scale", "``G_i <- r_i G_i`` and ``k_i = <Z_i, G_i>`` of what results.", 4, _write_scale)
scaled_product = _procedure(
    "scaled_product", "``C_i = r_i (A^T B)_i`` with a row r (1 x columns).", 4, _write_scaled_product
)
times_product = _procedure(
    "times_product", "``C <- C o (A^T B - k)`` with a row k (1 x columns).", 4, _write_times_product
)


#: Kernels release the interpreter's lock: several threads may run them.
kernel: Any = numba.njit(fastmath=FAST, cache=True, error_model="numpy", boundscheck=False, nogil=True)


@kernel
def number_registers(count, lanes):
    """How many registers of space so many numbers take."""
    return -(-count // lanes)


@kernel
def side_by_side(tokens, chosen, memory, first):
    """The chosen columns of all prompts (B, D, n) as one matrix of numbers (D, B q), and its transpose (B q, D)."""
    B, D, q = tokens.shape[0], tokens.shape[1], chosen.size
    matrix = number_space(memory, first, D, B * q)
    transpose = number_space(memory, first + number_registers(D * B * q, memory.shape[1]), B * q, D)
    for b in range(B):
        for d in range(D):
            for i in range(q):
                value = tokens[b, d, chosen[i]]
                write(matrix, d, b * q + i, value)
                write(transpose, b * q + i, d, value)
    return matrix, transpose


@kernel
def sum_lanes(total, out, first, q):
    """``out_b = sum over lanes`` of the prompts ``first, ...`` in a matrix (D, prompts x q)."""
    D, width = extent(total)
    for b in range(width // q):
        for d in range(D):
            for i in range(q):
                out[first + b, d, i] = lane_sum(at(total, d, b * q + i))
