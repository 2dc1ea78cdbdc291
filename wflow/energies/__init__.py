"""Energies: the functionals whose Wasserstein gradient flows the package solves."""

from wflow.energies.blob import BlobEnergy
from wflow.energies.classic import InteractionEnergy, PotentialEnergy
from wflow.energies.energy import Energy, Evaluation, InternalEnergy, Linearisation, SumEnergy
from wflow.energies.internal import Entropy, PorousMedium
from wflow.energies.transformer import TransformerObjective
from wflow.plain import register

__all__ = [
    "BlobEnergy",
    "Energy",
    "Entropy",
    "Evaluation",
    "InteractionEnergy",
    "InternalEnergy",
    "Linearisation",
    "PorousMedium",
    "PotentialEnergy",
    "SumEnergy",
    "TransformerObjective",
]

register(BlobEnergy, Entropy, InteractionEnergy, PorousMedium, PotentialEnergy, SumEnergy, TransformerObjective)
