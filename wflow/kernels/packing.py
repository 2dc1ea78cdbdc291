"""Between particles (S, M, p) and the registers that kernels read.

A register holds the same number of as many *parts* as it has lanes: of heads, or of the hidden neurons of particles.
``order`` (parts, k) says where the k numbers of each part of a particle are among its p. Registers of parts are taken
``block`` at a time, the last of them fewer: each block is a matrix with a row for every number and a last one for the
weights, and a column for every register.
"""

from __future__ import annotations

__all__ = ["pack", "unpack"]


from wflow.kernels.compile import kernel


@kernel
def _start(register, n_registers, block, height):
    """Where the first number of a register of parts is, and how far it is to the next number."""
    first = register - register % block
    return first * height + register - first, min(block, n_registers - first)


@kernel
def pack(points, weights, order, block, out):
    """Points (S, M, p) and weights (S, M) into ``out`` (S, registers, lanes), with zeros where there are no parts."""
    (S, M, _), (parts, k), lanes = points.shape, order.shape, out.shape[2]
    n_registers = out.shape[1] // (k + 1)
    for s in range(S):
        for register in range(n_registers):
            start, step = _start(register, n_registers, block, k + 1)
            for lane in range(lanes):
                j, part = divmod(register * lanes + lane, parts)
                for i in range(k):
                    out[s, start + i * step, lane] = points[s, j, order[part, i]] if j < M else 0
                out[s, start + k * step, lane] = weights[s, j] if j < M else 0


@kernel
def unpack(registers, order, block, out):
    """``out`` (S, M, p), what is packed in ``registers`` (S, registers, lanes), without the weights."""
    (S, size, lanes), (parts, k), M = registers.shape, order.shape, out.shape[1]
    n_registers = size // (k + 1)
    for s in range(S):
        for register in range(n_registers):
            start, step = _start(register, n_registers, block, k + 1)
            for lane in range(lanes):
                j, part = divmod(register * lanes + lane, parts)
                if j < M:
                    for i in range(k):
                        out[s, j, order[part, i]] = registers[s, start + i * step, lane]
