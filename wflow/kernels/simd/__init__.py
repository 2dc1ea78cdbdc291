"""Registers of many heads or neurons, matrices of them, and products of matrices, as LLVM code.

``docs/simd.md`` explains them, with an example.
"""
