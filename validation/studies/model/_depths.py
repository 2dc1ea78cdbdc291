"""The depth rules, and their orders in 1/L."""

from __future__ import annotations

__all__ = ["ORDERS"]

ORDERS = {"split-euler": 1, "midpoint": 2, "rk4-nodes": 4}
