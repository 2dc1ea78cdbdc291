"""The unknown of the equation: a law of parameters in every depth slice, as particles or as densities on grids."""

from wflow.measures.grid import Grid
from wflow.measures.measure import Blocks, Measure
from wflow.measures.particles import Particles

__all__ = ["Blocks", "Grid", "Measure", "Particles"]
