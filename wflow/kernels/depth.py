"""The loop over depth: a program of averaged encoders (see :mod:`wflow.network.program`), forward and its transpose.

Nothing is left to the interpreter between the kernels of a pass, for which threads would wait on each other.

A *program* is a tuple of integer arrays, made by :func:`wflow.encoders.compiled.program_arrays`. All states lie in one
array, one after the other: state j is a block (B, D, width[j]). Places of tokens stand in one array ``places``: those
of state j among the tokens of its base from ``base_at[j]`` on, the queries of call e among the tokens of its state from
``query_at[e]`` on, and those of the target's tokens among the queries from ``target_at[t]`` on; from ``mask_at[e]`` on,
unless that is negative, which tokens the queries see (see :func:`wflow.kernels.attention._is_seen`).
"""

from __future__ import annotations

__all__ = ["FAMILIES", "adjoint", "forward"]

import numpy as np

from wflow.kernels.attention import attention_mean, attention_vjp
from wflow.kernels.compile import kernel, part
from wflow.kernels.feedforward import feedforward_mean, feedforward_vjp

#: The families of kernels, by the number under which passes know them.
FAMILIES = "attention", "feedforward"
ATTENTION = FAMILIES.index("attention")


_attention, _attention_back = part(attention_mean.py_func), part(attention_vjp.py_func)
_feedforward, _feedforward_back = part(feedforward_mean.py_func), part(feedforward_vjp.py_func)


@kernel
def _add_at(total, coefficient, term, places):
    """``total_i += coefficient term_{places[i]}`` for every token i of the total."""
    (B, D, n), c = total.shape, total.dtype.type(coefficient)
    for b in range(B):
        for d in range(D):
            for i in range(n):
                total[b, d, i] += c * term[b, d, places[i]]


@kernel
def _add_to(total, places, coefficient, term):
    """``total_{places[i]} += coefficient term_i`` for every token i of the term: the transpose of :func:`_add_at`."""
    (B, D, n), c = term.shape, total.dtype.type(coefficient)
    for b in range(B):
        for d in range(D):
            for i in range(n):
                total[b, d, places[i]] += c * term[b, d, i]


@kernel
def _taken(state, queries):
    """The tokens of a state at the queries."""
    if queries.size == state.shape[2]:
        return state
    out = np.zeros((state.shape[0], state.shape[1], queries.size), state.dtype)
    _add_at(out, 1.0, state, queries)
    return out


@kernel
def _state(states, start, width, j, B, D):
    """State j, in place."""
    return states[start[j] * B * D : (start[j] + width[j]) * B * D].reshape(B, D, width[j])


@kernel
def forward(program, places, n_tokens, states, B, D, first, second, families, memory):
    """All states from the first on, which is there; the others are zero.

    ``T_j = T_base(j) + sum of the calls e with target j: coefficient_e,j mean_e(T_state(e))``.

    program and places as above, of prompts with n_tokens; states flat; the particles of the first and the second block,
    of all slices, as packed (S, registers, lanes); families (blocks, 3): the kernels of a block and their options;
    memory (registers, lanes).
    """
    base, width, start, base_at, last, block, where, count, query_at, mask_at, last_target = program[:11]
    target, target_at, coefficient = program[11:]
    e = t = 0
    for j in range(base.size):
        T = _state(states, start, width, j, B, D)
        if base[j] >= 0:
            _add_at(T, 1.0, _state(states, start, width, base[j], B, D), places[base_at[j] :])
        while e < last[j]:
            queries = places[query_at[e] : query_at[e] + count[e]]
            particles = first[where[e]] if block[e] == 0 else second[where[e]]
            family = families[block[e]]
            out = np.empty((B, D, count[e]), states.dtype)
            if family[0] == ATTENTION:
                _attention(T, queries, particles, family[1], family[2], n_tokens, places, mask_at[e], memory, out)
            else:
                _feedforward(_taken(T, queries), particles, family[1], family[2], memory, out)
            while t < last_target[e]:
                _add_at(_state(states, start, width, target[t], B, D), coefficient[t], out, places[target_at[t] :])
                t += 1
            e += 1


@kernel
def adjoint(
    program,
    places,
    n_tokens,
    states,
    bars,
    B,
    D,
    first,
    second,
    families,
    memory,
    first_bar,
    second_bar,
    need_input,
):
    """The transpose of :func:`forward`: pull the cotangents ``bars`` of all states, like states, back through all
    calls, and add what the parameters take of them to first_bar and second_bar, without weights, which are like the
    particles. The cotangent of the first state is complete only if ``need_input``."""
    base, width, start, base_at, last, block, where, count, query_at, mask_at, last_target = program[:11]
    target, target_at, coefficient = program[11:]
    e = block.size
    for j in range(base.size - 1, -1, -1):
        T, T_bar = _state(states, start, width, j, B, D), _state(bars, start, width, j, B, D)
        needed = B if j > 0 or need_input else 0
        while e > (last[j - 1] if j > 0 else 0):
            e -= 1
            queries = places[query_at[e] : query_at[e] + count[e]]
            # The cotangent of the result: p = sum of the targets' coefficient T_bar_target.
            p = np.zeros((B, D, count[e]), states.dtype)
            for t in range(last_target[e - 1] if e > 0 else 0, last_target[e]):
                _add_to(p, places[target_at[t] :], coefficient[t], _state(bars, start, width, target[t], B, D))
            particles = first[where[e]] if block[e] == 0 else second[where[e]]
            particles_bar = first_bar[where[e]] if block[e] == 0 else second_bar[where[e]]
            family = families[block[e]]
            if family[0] == ATTENTION:
                everywhere = np.empty((needed, D, width[j]), states.dtype)
                there = np.empty((needed if count[e] < width[j] else 0, D, count[e]), states.dtype)
                kind, rank, mask = family[1], family[2], mask_at[e]
                _attention_back(
                    T,
                    queries,
                    particles,
                    kind,
                    rank,
                    n_tokens,
                    places,
                    mask,
                    p,
                    memory,
                    everywhere,
                    there,
                    particles_bar,
                )
                for b in range(needed):
                    for d in range(D):
                        for i in range(width[j]):
                            T_bar[b, d, i] += everywhere[b, d, i]
            else:
                there = np.empty((needed, D, count[e]), states.dtype)
                _feedforward_back(_taken(T, queries), particles, family[1], family[2], p, memory, there, particles_bar)
            _add_to(T_bar, queries, 1.0, there)
        if base[j] >= 0:
            _add_to(_state(bars, start, width, base[j], B, D), places[base_at[j] :], 1.0, T_bar)
