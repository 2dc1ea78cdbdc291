"""Dormand and Prince's 5(4) pair: the default."""

from wflow.schemes.runge_kutta import RungeKutta

__all__ = ["DOPRI5"]

#: Order 5 with an embedded order 4 (Dormand, Prince, J. Comput. Appl. Math. 6 (1980) 19-26).
DOPRI5 = RungeKutta(
    "dopri5",
    order=5,
    error_order=5,
    stability=3.3,
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b_hat=(5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
)
