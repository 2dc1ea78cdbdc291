"""Small matrices of registers or numbers as numba values.

``at(A, i, j)`` reads the register at (i, j) of a matrix and ``put`` writes it; of a matrix of numbers ``at`` reads one
that all lanes share, and ``put`` writes one. Matrices are places in arrays: they own nothing, and the arrays must
outlive them.
"""

from __future__ import annotations

__all__ = [
    "BYTES",
    "INT",
    "Matrix",
    "at",
    "columns",
    "extent",
    "flipped",
    "number_space",
    "number_toeplitz",
    "put",
    "rows",
    "space",
    "toeplitz",
]

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic, models, register_model

from wflow.kernels.simd.lanes import REGISTER_BYTES, LaneType, broadcast

INT = ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()


#: What is known of a matrix at run time, besides where it starts: its size, and the bytes from a row to the next; from
#: a column to the next, if it is flipped.
FIELDS = ("rows", "columns", "pitch")


class MatrixType(types.Type):  # type: ignore[misc]
    """The numba type of a matrix of registers, or of numbers that all lanes share. The entries of a row lie side by
    side; those of a column, if it is flipped."""

    def __init__(self, element: Any, shared: bool, flipped: bool = False) -> None:
        self.lanes, self.shared, self.flipped = LaneType(element), shared, flipped
        self.entry_bytes = self.lanes.itemsize if shared else REGISTER_BYTES
        self.label = f"{element}_{'numbers' if shared else 'registers'}{'_flipped' if flipped else ''}"
        super().__init__(name=f"matrix({self.label})")

    def transpose(self) -> MatrixType:
        return MatrixType(self.lanes.element, self.shared, not self.flipped)


@register_model(MatrixType)
class _MatrixModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, matrix_type: MatrixType) -> None:
        members = [("start", types.CPointer(types.uint8))]
        members += [(name, types.int64) for name in FIELDS]
        super().__init__(manager, matrix_type, members)


class Matrix:
    """A matrix inside generated code: where it starts, its size, and the bytes from an entry to the next."""

    def __init__(self, builder: Any, kind: MatrixType, start: Any, rows: Any, columns: Any, pitch: Any) -> None:
        self.builder, self.kind, self.vector = builder, kind, kind.lanes.vector
        self.start, self.rows, self.columns, self.pitch = start, rows, columns, pitch
        one = INT(kind.entry_bytes)
        self.down, self.right = (one, pitch) if kind.flipped else (pitch, one)

    @classmethod
    def read(cls, context: Any, builder: Any, kind: MatrixType, value: Any) -> Matrix:
        """The matrix behind a value of numba's."""
        fields = cgutils.create_struct_proxy(kind)(context, builder, value)
        return cls(builder, kind, fields.start, *(getattr(fields, name) for name in FIELDS))

    def value(self, context: Any) -> Any:
        """This matrix as a value of numba's."""
        fields = cgutils.create_struct_proxy(self.kind)(context, self.builder)
        for name in ("start", *FIELDS):
            setattr(fields, name, getattr(self, name))
        return fields._getvalue()

    def view(self, row: Any, column: Any, rows: Any, columns: Any) -> Matrix:
        """``rows`` x ``columns`` entries from (row, column) on."""
        return Matrix(self.builder, self.kind, self.address(row, column), rows, columns, self.pitch)

    def transpose(self) -> Matrix:
        """The same entries, columns for rows."""
        return Matrix(self.builder, self.kind.transpose(), self.start, self.columns, self.rows, self.pitch)

    def address(self, row: Any, column: Any) -> Any:
        """Where an entry is."""
        offset = self.builder.add(self.builder.mul(row, self.down), self.builder.mul(column, self.right))
        return self.builder.gep(self.start, [offset])

    def load(self, address: Any) -> Any:
        """The register at an address, or the number there in all lanes. Both lie anywhere."""
        kind = self.vector.element if self.kind.shared else self.vector
        entry = self.builder.load(self.builder.bitcast(address, kind.as_pointer()))
        entry.align = self.kind.lanes.itemsize
        return broadcast(self.builder, entry, self.vector) if self.kind.shared else entry

    def store(self, value: Any, address: Any) -> None:
        """Write a register, or a number to a matrix of numbers."""
        target = self.builder.bitcast(address, value.type.as_pointer())
        self.builder.store(value, target).align = self.kind.lanes.itemsize


def _in_array(name: str, explanation: str, shared: bool) -> Any:
    """A matrix in a contiguous array (registers, lanes)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        kind, (_, first, rows_, columns_) = signature.return_type, args
        start = builder.gep(builder.bitcast(array.data, BYTES), [builder.mul(first, INT(REGISTER_BYTES))])
        pitch = builder.mul(columns_, INT(kind.entry_bytes))
        return Matrix(builder, kind, start, rows_, columns_, pitch).value(context)

    def function(typingctx: Any, array: Any, first: Any, rows: Any, columns: Any) -> Any:
        if array.layout != "C":
            raise errors.TypingError(f"{name} needs a contiguous array, got {array}")
        return MatrixType(array.dtype, shared)(array, types.intp, types.intp, types.intp), generate

    function.__name__, function.__doc__ = name, explanation
    return intrinsic(function)


space = _in_array("space", "The matrix (rows, columns) in an array (registers, lanes) from register first on.", False)
number_space = _in_array("number_space", "The same for a matrix of numbers, as many as fit in each register.", True)


def _of_diagonals(name: str, explanation: str, shared: bool) -> Any:
    """A matrix whose rows lie over one another in a contiguous array: each starts one number before the row above."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        kind, (_, rows_, columns_) = signature.return_type, args
        number = INT(kind.lanes.itemsize)
        last = builder.mul(builder.sub(rows_, INT(1)), number)
        start = builder.gep(builder.bitcast(array.data, BYTES), [last])
        return Matrix(builder, kind, start, rows_, columns_, builder.neg(number)).value(context)

    def function(typingctx: Any, array: Any, rows: Any, columns: Any) -> Any:
        return MatrixType(array.dtype, shared)(array, types.intp, types.intp), generate

    function.__name__, function.__doc__ = name, explanation
    return intrinsic(function)


toeplitz = _of_diagonals(
    "toeplitz",
    "The matrix (rows, columns) of registers whose number in row i and place j is ``array[rows - 1 + j - i]``.",
    False,
)
number_toeplitz = _of_diagonals("number_toeplitz", "The same for a matrix of numbers.", True)


@intrinsic
def at(typingctx: Any, A: Any, row: Any, column: Any) -> Any:
    """Entry (row, column) as a register."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = Matrix.read(context, builder, A, args[0])
        return matrix.load(matrix.address(*args[1:]))

    return A.lanes(A, types.intp, types.intp), generate


@intrinsic
def put(typingctx: Any, A: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a register, or a number to a matrix of numbers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = Matrix.read(context, builder, A, args[0])
        matrix.store(args[3], matrix.address(*args[1:3]))
        return context.get_dummy_value()

    return types.none(A, types.intp, types.intp, A.lanes.element if A.shared else A.lanes), generate


@intrinsic
def flipped(typingctx: Any, A: Any) -> Any:
    """The transpose, in place."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return Matrix.read(context, builder, A, args[0]).transpose().value(context)

    return A.transpose()(A), generate


def _part(name: str, explanation: str, view: Callable[..., Matrix]) -> Any:
    """Some rows or columns of a matrix: ``view(matrix, first, count)``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = Matrix.read(context, builder, signature.return_type, args[0])
        return view(matrix, args[1], builder.sub(args[2], args[1])).value(context)

    def typed(typingctx: Any, A: Any, first: Any, last: Any) -> Any:
        return A(A, types.intp, types.intp), generate

    typed.__name__, typed.__doc__ = name, explanation
    return intrinsic(typed)


rows = _part("rows", "Rows first, ..., last - 1, in place.", lambda A, i, count: A.view(i, INT(0), count, A.columns))
columns = _part(
    "columns", "Columns first, ..., last - 1, in place.", lambda A, i, count: A.view(INT(0), i, A.rows, count)
)


@intrinsic
def extent(typingctx: Any, A: Any) -> Any:
    """The numbers of rows and columns."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        m = Matrix.read(context, builder, A, args[0])
        return cgutils.pack_array(builder, [m.rows, m.columns])

    return types.UniTuple(types.intp, 2)(A), generate
