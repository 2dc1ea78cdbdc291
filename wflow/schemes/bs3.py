"""Bogacki and Shampine's 3(2) pair: for right-hand sides with kinks, such as relu's."""

from wflow.schemes.runge_kutta import RungeKutta

__all__ = ["BS3"]

#: Order 3 with an embedded order 2 (Bogacki, Shampine, Appl. Math. Lett. 2 (1989) 321-325).
BS3 = RungeKutta(
    "bs3",
    order=3,
    error_order=3,
    stability=2.5,
    a=((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b_hat=(7 / 24, 1 / 4, 1 / 3, 1 / 8),
)
