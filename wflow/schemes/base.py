"""What a time-stepping scheme is: all that the loop, the controllers and :mod:`wflow.check` read of one."""

from __future__ import annotations

__all__ = ["Scheme", "Trial"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, ClassVar

from wflow.checks import shown
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Particles
from wflow.schemes.particle_flow import Flow

#: Stands for the value of the scheme's class.
OF_THE_SCHEME: Any = object()


@dataclass(frozen=True, eq=False)
class Trial:
    """A proposed step of size h, to be accepted or rejected by a controller.

    Parameters
    ----------
    h, point
        The step, and the state that it leads to.
    error
        The norm of the estimated error; None without an estimate.
    dissipated
        Approximates ``int |v|^2 d tau`` over the step to the scheme's order; NaN where it has no meaning.
    lipschitz
        An estimate of the Lipschitz constant of the velocity along the step; 0 without one.
    failure
        Why the step could not be made, such as "did not converge": it is tried again with half the h.
    notes
        Counts what the run should report, such as fallbacks to another method; ``Solution.stats`` has the sums.
    order, error_order, stability, restart
        As in :class:`Scheme`, whose values are the defaults: a scheme may change its method from step to step.
    """

    h: float
    point: Any
    error: float | None = None
    dissipated: float = float("nan")
    lipschitz: float = 0.0
    failure: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)
    order: int = OF_THE_SCHEME
    error_order: int | None = OF_THE_SCHEME
    stability: float | None = OF_THE_SCHEME
    restart: bool = OF_THE_SCHEME


class Scheme:
    """A one-step method. What a run reads of it stands here; the options of a scheme are fields of a dataclass.

    A scheme of your own has at least a name, an order and a method ``step``.

    Examples
    --------
    >>> import wflow
    >>> class Euler(Scheme):
    ...     name, order = "my-euler", 1
    ...     def step(self, flow, point, h):
    ...         return Trial(h, flow.evaluate(point.x + h * point.velocity))
    >>> Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> wflow.solve(Q, wflow.Particles(x=[[1.0]]), (0, 1), scheme=Euler, dtau=0.5).measure(-1).x.item()
    0.25
    """

    name: ClassVar[str]
    #: The power of h with which the error at a fixed time falls.
    order: ClassVar[int]
    #: The power of h with which the error estimate of a step falls; None without an estimate.
    error_order: ClassVar[int | None] = None
    #: h times the Lipschitz constant up to which decaying modes stay bounded; None for no cap.
    stability: ClassVar[float | None] = None
    #: Whether a controller forgets the errors of earlier steps.
    restart: ClassVar[bool] = False
    #: The internal energies that the scheme treats.
    internals: ClassVar[tuple[type, ...]] = (NoneType,)
    #: The kind of measure that it moves.
    measure: ClassVar[type] = Particles
    #: Whether Q must not rise from step to step.
    monotone: ClassVar[bool] = True
    #: Whether it moves particles by noise: the energy of its runs is the smooth part.
    noisy: ClassVar[bool] = False
    #: Whether :meth:`inside` gives the states within a step (dense output). Frames then do not cut the steps.
    dense: ClassVar[bool] = False

    def flow(self, energy: Energy, rho0: Any, noise: int | None = None) -> Flow:
        """The flow that the scheme steps in.

        Raises
        ------
        InputError
            For a measure or an internal energy that the scheme does not treat.
        """
        self.check_problem(energy, rho0)
        return Flow(energy, rho0, noise)

    def step(self, flow: Any, point: Any, h: float) -> Trial:
        """Propose a step of size h from a point."""
        raise NotImplementedError(f"scheme {self.name!r} has no method step")

    def inside(self, flow: Any, point: Any, trial: Trial, share: float) -> Any:
        """The state x at this share of an accepted step from a point, for dense output."""
        raise NotImplementedError(f"scheme {self.name!r} has no method inside")

    def check_problem(self, energy: Energy, rho0: Any) -> None:
        """Raise :class:`InputError` unless the scheme treats this kind of measure and internal energy."""
        if not isinstance(energy, Energy):
            raise InputError(f"energy must be a wflow energy such as TransformerObjective, got {type(energy).__name__}")
        kind, internal, words = self.measure.__name__, energy.internal, ""
        if not isinstance(rho0, self.measure):
            words = f"moves a measure of type wflow.{kind}, got {type(rho0).__name__}"
        elif not isinstance(internal, self.internals) and internal is None:
            words = "needs an internal energy, such as entropy > 0"
        elif not isinstance(internal, self.internals):
            words = f"does not treat internal energies such as entropy, but this one has {internal}: "
            words += "leave it out (entropy=0), or choose a scheme that does (docs/schemes.md)"
        if words:
            raise InputError(f"scheme {self.name!r} {words}")

    def propose(self, flow: Any, point: Any, h: float) -> Trial:
        """The trial of :meth:`step`, with the scheme's values in place of those that it leaves out."""
        trial = self.step(flow, point, h)
        if not isinstance(trial, Trial):
            raise InputError(f"step of scheme {self.name!r} must return a wflow.schemes.Trial, got {shown(trial)}")
        names = ("order", "error_order", "stability", "restart")
        return replace(trial, **{n: getattr(self, n) for n in names if getattr(trial, n) is OF_THE_SCHEME})
