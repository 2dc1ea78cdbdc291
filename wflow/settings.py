"""The settings of a run: everything that determines it but its initial measure, as objects and as plain data."""

from __future__ import annotations

__all__ = ["Settings", "check_plain", "parts"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from os import PathLike
from types import NoneType
from typing import Any

from wflow.checks import check_nonnegative, check_number, check_seed, shown
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.plain import build, describe
from wflow.schemes import scheme_of
from wflow.solution import SaveAt

Observers = Mapping[str, Callable[[Any], float]]


@dataclass(frozen=True, eq=False)
class Settings:
    """What :func:`wflow.solve` does from an initial measure (see there), after its checks.

    Examples
    --------
    >>> from wflow import Entropy
    >>> from wflow.controllers import Fixed
    >>> from wflow.observers import Virial
    >>> from wflow.schemes import SCHEMES
    >>> Q = Entropy(0.5)
    >>> data = Settings(Q, {"virial": Virial(Q)}, (0.0, 1.0), SCHEMES["langevin"], Fixed(0.1), None, 1e-10, 0).plain()
    >>> data["energy"], data["observe"]["virial"]["objective"]
    ({'kind': 'Entropy', 'sigma': 0.5}, {'kind': 'reference', 'to': 'energy'})
    >>> Settings.restore(data, "run.h5").controller
    Fixed(dtau=0.1, monotone=True)
    """

    energy: Energy
    observe: Observers
    tau_range: tuple[float, float]
    scheme: Any
    controller: Any
    save: SaveAt | None
    tol: float
    seed: int | None

    def plain(self) -> dict[str, Any]:
        """The settings as plain data (see :mod:`wflow.plain`); observers refer to the energy and its terms."""
        known = parts(self.energy)
        return {name: describe(value, {} if name == "energy" else known) for name, value in vars(self).items()}

    @classmethod
    def restore(
        cls, data: Mapping[str, Any], path: str | PathLike[str], observe: Observers | None = None, **replaced: Any
    ) -> Settings:
        """The settings of plain data, with some of them replaced.

        Parameters
        ----------
        data
            As from :meth:`plain`.
        path
            The file that it is from, for messages.
        observe
            Observers that replace those of the same names.
        replaced
            Other settings; None for none.

        Raises
        ------
        InputError
            For an object of the user that is not replaced, and an observer that the run does not have.
        """
        if unknown := set(observe or {}) - set(data["observe"]):
            raise InputError(f"{path} does not observe {sorted(unknown)}; it observes {sorted(data['observe'])}")
        settings: dict[str, Any] = {name: value for name, value in replaced.items() if value is not None}
        for name in [name for name in data if name not in ("observe", *settings)]:
            settings[name] = build(data[name], {}, f"pass {name}= to resume {path}")
        observers = dict(observe or {})
        for name in [name for name in data["observe"] if name not in observers]:
            remedy = f"pass observe={{{name!r}: f}} to resume {path}"
            observers[name] = build(data["observe"][name], parts(settings["energy"]), remedy)
            if not callable(observers[name]):
                raise InputError(f"{path} is damaged: it describes as {name!r} {shown(observers[name])}")
        settings["scheme"] = scheme_of(settings["scheme"])
        if not isinstance(settings["save"], (SaveAt, NoneType)):
            raise InputError(f"{path} is damaged: it describes as its times of frames {shown(settings['save'])}")
        return cls(observe={name: observers[name] for name in data["observe"]}, **settings)


def check_plain(data: Any) -> dict[str, Any]:
    """Return settings as plain data, or raise ValueError where they cannot be those of a run.

    What is described is not built here.
    """
    if not isinstance(data, Mapping) or (strange := data.keys() ^ {field.name for field in fields(Settings)}):
        raise ValueError(f"its settings have too few or too many names, {sorted(strange)[0]!a:.80}")
    times = [check_number("tau_range", time) for time in data["tau_range"]]
    if len(times) != 2 or not times[0] < times[1]:
        raise ValueError(f"its tau_range is {shown(times)}")
    described = {name: data[name] for name in ("energy", "scheme", "controller")} | dict(data["observe"])
    for name, entry in described.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str):
            raise ValueError(f"its {name} is described as {shown(entry)}")
    check_nonnegative("tol", data["tol"])
    if data["seed"] is not None:
        check_seed(data["seed"])
    return dict(data)


def parts(energy: Any) -> dict[str, Any]:
    """What observers may refer to: an energy, and the terms of a sum; nothing for None."""
    terms = {f"energy.terms.{i}": term for i, term in enumerate(getattr(energy, "terms", ()))}
    return {} if energy is None else {"energy": energy} | terms
