"""The passes of a depth rule (see :mod:`wflow.depth`) through attention heads and neurons, compiled as a whole.

Nothing is left to the interpreter between the kernels of a pass, for which threads would wait on each other.
"""

from __future__ import annotations

__all__ = ["adjoint", "forward"]

from typing import Any

import numba
import numpy as np

from wflow.kernels.attention import attention_mean, attention_vjp
from wflow.kernels.compile import kernel
from wflow.kernels.feedforward import feedforward_mean, feedforward_vjp
from wflow.kernels.pairs import SOFTMAX


def _inlined(function: Any) -> Any:
    """A kernel as a part of another: it is compiled with that alone."""
    return numba.njit(inline="always")(function.py_func)


_attention, _attention_back = _inlined(attention_mean), _inlined(attention_vjp)
_feedforward, _feedforward_back = _inlined(feedforward_mean), _inlined(feedforward_vjp)


@kernel
def _add(total, coefficient, term, columns):
    """``total += coefficient term``; where one of them has the columns of the other alone, at these."""
    (B, D, n), m, c = total.shape, term.shape[2], total.dtype.type(coefficient)
    for b in range(B):
        for d in range(D):
            for i in range(min(n, m)):
                to, of = columns[i] if m < n else i, columns[i] if n < m else i
                total[b, d, to] += c * term[b, d, of]


@kernel
def _taken(state, chosen):
    """The chosen columns."""
    if chosen.size == state.shape[2]:
        return state
    out = np.empty((*state.shape[:2], chosen.size), state.dtype)
    for b in range(out.shape[0]):
        for d in range(out.shape[1]):
            for i in range(chosen.size):
                out[b, d, i] = state[b, d, chosen[i]]
    return out


@kernel
def forward(program, wide, slim, theta, w, bias, activation, memory):
    """All states, from the first on, which is there; the others are zero.

    program as by :class:`wflow.energies.passes.Passes`; states wide (J, B, D, n) and slim (J, B, D, q), of which one
    holds state j; the heads theta and the neurons w of all slices, as packed (S, registers, lanes); memory (registers,
    lanes).
    """
    base, narrow, columns, last, block, where, asked, last_target, target, coefficient = program
    everything, e, t = np.arange(wide.shape[3]), 0, 0
    for j in range(base.size):
        state = slim[j] if narrow[j] else wide[j]
        if j > 0:
            _add(state, 1.0, slim[base[j]] if narrow[base[j]] else wide[base[j]], columns)
        while e < last[j]:
            l, chosen = where[e], columns if asked[e] else everything[: state.shape[2]]
            out = np.empty((*state.shape[:2], chosen.size), state.dtype)
            if block[e] == 0:
                _attention(state, chosen, theta[l], SOFTMAX, memory, out)
            else:
                _feedforward(_taken(state, chosen), w[l], bias, activation, memory, out)
            while t < last_target[e]:
                i = target[t]
                _add(slim[i] if narrow[i] else wide[i], coefficient[t], out, columns)
                t += 1
            e += 1


@kernel
def adjoint(program, wide, slim, cotangent, theta, w, bias, activation, memory, theta_bar, w_bar):
    """Pull the cotangent of the last state back through all evaluations, and add what the parameters take of it to
    theta_bar and w_bar, without weights, which are like theta and w. Others as for :func:`forward`."""
    base, narrow, columns, last, block, where, asked, last_target, target, coefficient = program
    everything, e = np.arange(wide.shape[3]), block.size
    wide_bars, slim_bars = np.zeros_like(wide), np.zeros_like(slim)
    end = base.size - 1
    _add(slim_bars[end] if narrow[end] else wide_bars[end], 1.0, cotangent, columns)
    for j in range(end, -1, -1):
        state, bar = (slim[j], slim_bars[j]) if narrow[j] else (wide[j], wide_bars[j])
        (B, D, n), wanted = state.shape, state.shape[0] if j > 0 else 0
        while e > (last[j - 1] if j > 0 else 0):
            e -= 1
            l, chosen = where[e], columns if asked[e] else everything[:n]
            k = np.zeros((B, D, chosen.size), state.dtype)
            for t in range(last_target[e - 1] if e > 0 else 0, last_target[e]):
                i = target[t]
                _add(k, coefficient[t], slim_bars[i] if narrow[i] else wide_bars[i], columns)
            if block[e] == 0:
                T_bar = np.empty((wanted, D, n), state.dtype)
                X_bar = np.empty((wanted if chosen.size < n else 0, D, chosen.size), state.dtype)
                _attention_back(state, chosen, theta[l], SOFTMAX, k, memory, T_bar, X_bar, theta_bar[l])
                if X_bar.size:
                    _add(bar, 1.0, X_bar, columns)
            else:
                T_bar = np.empty((wanted, D, chosen.size), state.dtype)
                _feedforward_back(_taken(state, chosen), w[l], bias, activation, k, memory, T_bar, w_bar[l])
            if wanted:
                _add(bar, 1.0, T_bar, columns)
        if j > 0:
            _add(slim_bars[base[j]] if narrow[base[j]] else wide_bars[base[j]], 1.0, bar, columns)
