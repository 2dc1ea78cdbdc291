"""Explicit Euler: plain gradient descent."""

from wflow.schemes.runge_kutta import RungeKutta

__all__ = ["EULER"]

#: ``x+ = x + h v(x)``, order 1: gradient descent with step h. The error estimate is the difference to Heun's method,
#: ``h/2 (v(x+) - v(x))``, which costs nothing since v(x+) starts the next step.
EULER = RungeKutta("euler", order=1, error_order=2, stability=2.0, a=((1.0,),), b_hat=(0.5, 0.5))
