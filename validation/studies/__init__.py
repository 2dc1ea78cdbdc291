"""The studies: each a package of experiments or one module (see :mod:`validation.study`); nothing lists them."""
