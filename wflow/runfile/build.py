"""Building what run files stand for: data, encoders, objective, initial measure, observers."""

from __future__ import annotations

__all__ = ["make"]

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wflow import initial
from wflow.checks import did_you_mean
from wflow.datasets import Dataset
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.observers import OBSERVERS
from wflow.plain import build
from wflow.runfile.loader import Check
from wflow.runfile.sections import DATASETS, GROUPS, LAWS
from wflow.schemes import scheme_of, with_options
from wflow.settings import Observers
from wflow.solution import SaveAt


def make(check: Check, config: dict[str, Any], folder: Path, stream: int = 0) -> dict[str, Any]:
    """What the values of a file stand for, as far as it is sound; None for what is broken or needs what is."""
    seed = config["seed"]
    data_rng, *streams = np.random.default_rng(seed).spawn(4)

    def attempt(section: str, needs: Collection[str], part: Callable[[], Any]) -> Any:
        try:
            if check.broken.isdisjoint(needs):
                return part()
        except InputError as error:
            check.say(str(error), section)
        except (MemoryError, OverflowError) as error:
            check.say(f"there is not enough memory ({error})", section)
        check.broken.add(section)
        return None

    data: Any
    parts = attempt("data", ["data"], lambda: _datasets(config["data"], folder, data_rng))
    data, heldout = parts or (None, None)
    blocks = ("attention", "feedforward")
    encoders = {name: attempt(name, [name], partial(_encoder, config.get(name), folder)) for name in blocks}
    needs = ["data", "objective", *encoders]
    objective = attempt("objective", needs, lambda: TransformerObjective(data, **encoders, **config["objective"]))
    laws = ["initial", *(f"initial.{name}" for name in GROUPS)]
    law = attempt("initial", laws, lambda: _law(config["initial"]))
    needs = ["initial", "objective"]
    rho0 = attempt("initial", needs, lambda: _sample(config["initial"], law, objective, streams[stream]))
    save = attempt("solve.save", ["solve.save"], lambda: _save(config.get("solve")))
    arguments = attempt("solve", ["solve"], lambda: _solve_arguments(config["solve"], save, seed))
    needs = ["observe", "objective"]
    observe = attempt("observe", needs, lambda: _observers(config["observe"], objective, heldout))
    return {"objective": objective, "rho0": rho0, "observe": observe, "solve_arguments": arguments}


def _datasets(options: Mapping[str, Any], folder: Path, rng: np.random.Generator) -> tuple[Dataset, Dataset | None]:
    """The training data and what is held out."""
    arguments = dict(options)
    kind, heldout = arguments.pop("kind"), arguments.pop("heldout")
    function = DATASETS[kind]
    if kind == "digits":
        made: Any = function(**arguments, heldout=heldout, rng=rng)
        return (made, None) if heldout is None else made
    if kind == "diabetes" and heldout is not None:
        total = arguments.pop("n_prompts")
        out = round(heldout * total)
        if not 0 < out < total:
            raise InputError(f"heldout must leave prompts on both sides, got {heldout} of {total} prompts")
        train = function(total - out, **arguments, rng=rng, rows="train")
        return train, function(out, **arguments, rng=rng, rows="heldout")
    data = function(folder / arguments["path"]) if kind == "npz" else function(**arguments, rng=rng)
    return (data, None) if heldout is None else data.split(heldout, rng)


def _encoder(options: Mapping[str, Any] | None, folder: Path) -> Any:
    """The encoder of a block, with the mask that is in a file."""
    mask = (options or {}).get("mask")
    if not isinstance(mask, str) or mask == "causal":
        return build(options)
    path = folder / mask
    if not path.is_file():
        remedy = did_you_mean(mask, ["causal"]) or "; a mask is 'causal', ['local', w] or the path of an .npy file"
        raise InputError(f"{path}: no such file{remedy}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as an array ({error}); write it by numpy.save") from None
    try:
        return build(dict(options or {}) | {"mask": array})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _law(options: Mapping[str, Any]) -> initial.Law:
    """The law of [initial], or the product of those of its sections."""
    if "law" not in options:
        return initial.product(**{name: _law(value) for name, value in options.items() if name in GROUPS})
    law: initial.Law = build({"kind": options["law"]} | {name: options[name] for name in LAWS[options["law"]]})
    return law


def _sample(
    options: Mapping[str, Any], law: initial.Law, objective: TransformerObjective, rng: np.random.Generator
) -> Measure:
    if options["cells"] is not None:
        return law.on_grid(objective, options["box"], options["cells"])
    width = options["M"]
    if isinstance(width, dict):  # TOML has no None: a block that is not named takes all atoms
        width = dict.fromkeys(objective.encoders) | width
    return law.sample(objective, width, rng, kind=options["kind"], dtype=options["dtype"])


def _save(options: Mapping[str, Any] | None) -> SaveAt | None:
    return SaveAt(**options["save"]) if options and options["save"] is not None else None


def _solve_arguments(options: Mapping[str, Any], save: SaveAt | None, seed: int) -> dict[str, Any]:
    start, end = options["tau_start"], options["tau_end"]
    if save is not None:
        save.check_range(start, end)
    scheme = with_options(scheme_of(options["scheme"]), options["options"] or {})
    if options["dtau"] is None and scheme.error_order is None:
        raise InputError(f"scheme {scheme.name!r} has no error estimate: pass dtau")
    other = {"options", "tau_start", "tau_end", *(name for name in ("dtau", "rtol", "atol") if options[name] is None)}
    arguments = {name: value for name, value in options.items() if name not in other}
    return arguments | {"tau_range": (start, end), "save": save, "rng": seed, "scheme": scheme}


def _observers(options: Mapping[str, Any], objective: TransformerObjective, heldout: Dataset | None) -> Observers:
    """What to observe: "training error rate", "held-out risk" and the like."""
    if options["heldout"] and heldout is None:
        raise InputError("heldout observes held-out data, but [data] has no key heldout, such as heldout = 0.2,")
    for key, data in (("training", objective.dataset), ("heldout", heldout)):
        if "error-rate" in options[key] and data is not None:
            data.check_classes()
    return {
        f"{name} {quantity.replace('-', ' ')}": OBSERVERS[quantity](objective, data)
        for key, name, data in (("training", "training", None), ("heldout", "held-out", heldout))
        for quantity in options[key]
    }
