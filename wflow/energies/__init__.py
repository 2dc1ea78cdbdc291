"""Energies: the functionals whose Wasserstein gradient flows the package solves."""

from wflow.energies.energy import Energy, Entropy, Evaluation
from wflow.energies.transformer import TransformerObjective

__all__ = ["Energy", "Entropy", "Evaluation", "TransformerObjective"]
