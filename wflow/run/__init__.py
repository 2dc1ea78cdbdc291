"""Runs: arguments and their checks (``solve``), the loop, what surrounds it (``session``), and kinks on its way."""
