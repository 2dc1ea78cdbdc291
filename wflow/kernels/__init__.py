"""The hot loops, in numba: flat arrays in and out, no classes.

A cached kernel calls only kernels of its own file, since numba does not notice changes elsewhere; the register type of
:mod:`wflow.kernels.lanes` is the one exception (``make clean`` after changing it).
"""
