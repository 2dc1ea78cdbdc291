"""wflow solves the Wasserstein gradient flow of mean-field Transformers.

State a problem (:class:`Dataset`, :class:`TransformerObjective`), choose an initial law (:mod:`wflow.initial`),
:func:`solve`, and look at the :class:`Solution` (:mod:`wflow.figures`).
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from wflow._version import __version__

if TYPE_CHECKING:
    from wflow import (
        check,
        controllers,
        datasets,
        distances,
        encoders,
        energies,
        figures,
        initial,
        landscapes,
        losses,
        measures,
        network,
        observers,
        plain,
        problems,
        runfile,
        schemes,
        tangent,
        trajectory,
    )
    from wflow.certify import certificate
    from wflow.datasets import Dataset
    from wflow.encoders import Attention, FeedForward, SoftmaxAttention
    from wflow.energies import (
        BlobEnergy,
        Entropy,
        InteractionEnergy,
        PorousMedium,
        PotentialEnergy,
        TransformerObjective,
    )
    from wflow.errors import InputError, SolveError
    from wflow.landscapes import landscape
    from wflow.measures import Grid, Particles
    from wflow.run.session import Interrupted
    from wflow.run.solve import resume, solve
    from wflow.solution import SaveAt, Solution, Status
    from wflow.tangent import kernel_spectrum, output_variance, tangent_kernel
    from wflow.trajectory import load

__all__ = [
    "Attention",
    "BlobEnergy",
    "Dataset",
    "Entropy",
    "FeedForward",
    "Grid",
    "InputError",
    "InteractionEnergy",
    "Interrupted",
    "Particles",
    "PorousMedium",
    "PotentialEnergy",
    "SaveAt",
    "SoftmaxAttention",
    "Solution",
    "SolveError",
    "Status",
    "TransformerObjective",
    "__version__",
    "certificate",
    "check",
    "controllers",
    "datasets",
    "distances",
    "encoders",
    "energies",
    "figures",
    "initial",
    "kernel_spectrum",
    "landscape",
    "landscapes",
    "load",
    "losses",
    "measures",
    "network",
    "observers",
    "output_variance",
    "plain",
    "problems",
    "resume",
    "runfile",
    "schemes",
    "solve",
    "tangent",
    "tangent_kernel",
    "trajectory",
]

#: The module of every public name; like every module of the package, it is imported when the name is first used, so
#: that ``wflow --help`` is quick.
_HOMES = {
    name: module
    for module, names in {
        "certify": "certificate",
        "datasets": "Dataset",
        "encoders": "Attention FeedForward SoftmaxAttention",
        "energies": "BlobEnergy Entropy InteractionEnergy PorousMedium PotentialEnergy TransformerObjective",
        "errors": "InputError SolveError",
        "landscapes": "landscape",
        "measures": "Grid Particles",
        "solution": "SaveAt Solution Status",
        "run.session": "Interrupted",
        "run.solve": "resume solve",
        "tangent": "kernel_spectrum output_variance tangent_kernel",
        "trajectory": "load",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in __all__ and (name.startswith("_") or find_spec(f"wflow.{name}") is None):
        from wflow.checks import did_you_mean

        raise AttributeError(f"module 'wflow' has no attribute {name!r}{did_you_mean(name, __all__)}")
    if name not in _HOMES:
        return import_module(f"wflow.{name}")
    globals()[name] = value = getattr(import_module(f"wflow.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
