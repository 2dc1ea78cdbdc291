"""The hot loops, in numba: flat arrays in and out, no classes. :mod:`wflow.kernels.compile` says when they compile."""
