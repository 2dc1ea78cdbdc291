"""wflow solves the Wasserstein gradient flow of mean-field Transformers."""

from os import PathLike

from wflow import datasets, distances, encoders, initial, observers, problems
from wflow._version import __version__
from wflow.datasets import Dataset
from wflow.encoders import FeedForward, SoftmaxAttention
from wflow.energies import TransformerObjective
from wflow.errors import InputError, SolveError
from wflow.measures import Particles
from wflow.solution import SaveAt, Solution, Status
from wflow.solve import Interrupted, resume, solve

__all__ = [
    "Dataset",
    "FeedForward",
    "InputError",
    "Interrupted",
    "Particles",
    "SaveAt",
    "SoftmaxAttention",
    "Solution",
    "SolveError",
    "Status",
    "TransformerObjective",
    "__version__",
    "datasets",
    "distances",
    "encoders",
    "initial",
    "load",
    "observers",
    "problems",
    "resume",
    "solve",
]


def load(path: str | PathLike[str]) -> Solution:
    """Read a trajectory file (see :func:`wflow.trajectory.load`)."""
    from wflow import trajectory  # h5py is imported where it is used

    return trajectory.load(path)
