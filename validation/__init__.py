"""Validation: the PDE against finite Transformers and against exact solutions.

The finite Transformers of :mod:`validation.transformer` are a second, independent implementation of the model
in plain numpy. They share no numerical code with the package ``wflow``, so that an agreement of the two means
something.
"""
