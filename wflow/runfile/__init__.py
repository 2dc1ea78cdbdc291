"""Run files: a problem, its initial measure and how to solve it, in TOML.

A run file has the sections [data], [attention] and/or [feedforward], [objective], [initial], [solve] and [observe].
Their keys are the arguments of the Python functions behind them; docs/runfiles.md lists them.

>>> import tempfile
>>> text = '''
... [data]
... kind = "in-context"
... n_prompts = 16
... dimension = 1
... context = 4
... [attention]
... [initial]
... M = 8
... law = "gaussian"
... std = 0.5
... [solve]
... tau_end = 1
... '''
>>> with tempfile.TemporaryDirectory() as folder:
...     file = Path(folder) / "run.toml"
...     _ = file.write_text(text)
...     run = read(file)
>>> run.rho0, run.resolved["solve"]["scheme"], run.resolved["objective"]["layers"]
(Particles(theta=(8, 8, 32), float64), 'dopri5', 8)

Reading is strict: all problems of a file are reported at once, before any work is done.

>>> with tempfile.TemporaryDirectory() as folder:
...     file = Path(folder) / "run.toml"
...     _ = file.write_text(text.replace("M = 8", "M = 0") + "dtua = 0.1")
...     try:
...         run = read(file)
...     except RunFileError as error:
...         for problem in error.problems:
...             print(problem.partition(": ")[2])
M must be a positive integer, or one for each block such as { theta = 32, w = 64 }, got 0 in [initial]
unknown key 'dtua' in [solve]; did you mean 'dtau'?

The seed makes two independent generators, ``numpy.random.default_rng(seed).spawn(2)``: one for the data and for what is
held out of them, one for the initial measure.
"""

from __future__ import annotations

__all__ = ["Run", "RunFileError", "read"]

import codecs
import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from wflow import initial
from wflow.checks import check_path, did_you_mean
from wflow.datasets import Dataset, diabetes, digits, from_npz, in_context_regression
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.observers import OBSERVERS
from wflow.plain import build
from wflow.run.solve import solve
from wflow.runfile.keys import DATA, ENCODER_KEYS, GROUPS, LAWS, REQUIRED, SECTIONS, Key
from wflow.schemes import scheme_of
from wflow.settings import Observers
from wflow.solution import SaveAt, Solution

#: A trajectory keeps the run file in an attribute, and attributes of HDF5 have less than 64 kB.
MAX_BYTES = 60_000


class RunFileError(InputError):
    """A run file that cannot be used: ``problems`` has one line for everything that is wrong with it."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, eq=False)
class Run:
    """A run file that was read: all that :func:`wflow.solve` needs.

    ``text`` is the file verbatim, ``resolved`` its content with all defaults filled in, as plain data.
    ``solve_arguments`` are the further keyword arguments of :func:`wflow.solve`.
    """

    text: str
    resolved: dict[str, Any]
    objective: TransformerObjective
    rho0: Measure
    observe: Observers
    solve_arguments: dict[str, Any]

    def solve(
        self, path: str | PathLike[str] | None = None, overwrite: bool = False, progress: bool | None = None
    ) -> Solution:
        """Solve, and write a trajectory that keeps the run file (see :func:`wflow.solve`)."""
        attributes = {"runfile": self.text, "resolved": json.dumps(self.resolved)}
        options = {"path": path, "overwrite": overwrite, "progress": progress, **self.solve_arguments}
        return solve(self.objective, self.rho0, observe=self.observe, attributes=attributes, **options)


def read(path: str | PathLike[str]) -> Run:
    """Read a run file, check it, and make the data, the objective and the initial measure.

    Parameters
    ----------
    path
        The run file. A relative ``path`` of an .npz file in it starts from its folder.

    Raises
    ------
    RunFileError
        With all problems of the file, one line each.
    """
    path = check_path("path", path)
    text, content = _parse(path)
    check = _Check(str(path))
    config = check.file(content)
    made = _make(check, config, path.parent)
    if not check.problems and len(json.dumps(config)) > MAX_BYTES:
        check.say(f"the file has more than {MAX_BYTES} bytes with its defaults; keep arrays in an .npz file")
    if check.problems:
        raise RunFileError(check.problems)
    return Run(text, config, **made)


def rebuild(config: dict[str, Any], path: str | PathLike[str], stream: int = 0) -> Run:
    """A run with other values than those of its file, such as twice the layers.

    Parameters
    ----------
    config
        ``Run.resolved``, changed.
    path
        The run file: messages name it, and a relative ``path`` of an .npz file starts from its folder.
    stream
        Which random numbers the initial measure takes: 0 for those of the file, 1 or 2 for others.

    Raises
    ------
    RunFileError
        For values that do not fit.
    """
    check = _Check(str(path))
    made = _make(check, config, Path(path).parent, stream)
    if check.problems:
        raise RunFileError(check.problems)
    return Run("", config, **made)


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise RunFileError([f"{path}: cannot be read: it is {'a folder' * path.is_dir() or 'no regular file'}"])
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RunFileError([f"{path}: the file has more than {MAX_BYTES} bytes; keep arrays in an .npz file"])
        text = content.decode("utf-8-sig")  # editors of Windows mark UTF-8
        return text, tomllib.loads(text)
    except OSError as error:
        raise RunFileError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = "; it looks like UTF-16: save it as UTF-8" if utf16 else ""
        raise RunFileError([f"{path}: is not a text file: no UTF-8 at byte {error.start}{hint}"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunFileError([f"{path}: is not valid TOML: {error}"]) from None


class _Check:
    """Checks the content of a run file and collects its problems; a section with a problem is *broken*."""

    def __init__(self, file: str) -> None:
        self.name = file
        self.problems: list[str] = []
        self.broken: set[str] = set()

    def say(self, problem: str, section: str = "", hint: str = "", breaks: str | None = None) -> None:
        """Note a problem."""
        self.problems.append(f"{self.name}: {problem}{section and f' in [{section}]'}{hint}")
        self.broken.add(section if breaks is None else breaks)

    def attempt(self, section: str, needs: Collection[str], make: Callable[[], Any]) -> Any:
        """What ``make`` returns; None when a section that it needs is broken, or when it fails."""
        try:
            if self.broken.isdisjoint(needs):
                return make()
        except InputError as error:
            self.say(str(error), section)
        except (MemoryError, OverflowError) as error:
            self.say(f"there is not enough memory ({error})", section)
        self.broken.add(section)
        return None

    def file(self, content: dict[str, Any]) -> dict[str, Any]:
        """The values of a file with all defaults filled in; None for an encoder without a section."""
        sections = ["data", *(name for name in SECTIONS if name and "." not in name)]
        top = {name: value for name, value in content.items() if name in SECTIONS[""] or not isinstance(value, dict)}
        config = self.table({name: value for name, value in top.items() if name not in sections}, SECTIONS[""], "")
        for name in [name for name in content if name not in sections and name not in top]:
            hint = did_you_mean(name, sections, "[{}]")
            meant = next((section for section in sections if f"[{section}]" in hint), name)
            hint = hint or f"; the sections are {', '.join(sections)}"
            self.say(f"unknown section [{name}]", "", hint, breaks=meant)
        for name in ("data", "initial", "solve"):
            if name not in content and name not in self.broken:
                self.say(f"missing section [{name}]", breaks=name)
        if not {"attention", "feedforward"} & (content.keys() | self.broken):
            self.say("missing section [attention], [feedforward] or both", breaks="objective")
        readers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "data": lambda values: self.variant(values, "kind", DATA, "data"),
            "attention": lambda values: self.variant(values, "kind", ENCODER_KEYS, "attention"),
            "feedforward": lambda values: self.variant(values, "kind", ENCODER_KEYS, "feedforward"),
            "initial": self.initial,
            "solve": self.solve,
        }
        for name in sections:
            values = content.get(name, {})
            if not isinstance(values, dict):
                self.say(f"{name} must be a section [{name}], got {values!r:.80}", breaks=name)
            elif name not in content and name in readers:
                config[name] = None
            else:
                config[name] = readers[name](values) if name in readers else self.table(values, SECTIONS[name], name)
        return config

    def table(self, content: Mapping[str, Any], keys: Mapping[str, Key], section: str) -> dict[str, Any]:
        """The values of a section."""
        values, meant = {}, ""
        for name in [name for name in content if name not in keys]:
            homes = [home for home in SECTIONS if home and name in SECTIONS[home] | ENCODER_KEYS.get(home, {})]
            elsewhere = f"; it belongs to [{homes[0]}]" if homes else f"; the keys are {', '.join(keys)}"
            hint = did_you_mean(name, keys)
            self.say(f"unknown key {name!r}", section, hint or elsewhere)
            meant += hint
        for name, key in keys.items():
            values[name] = key.default
            if name not in content:
                if key.default is REQUIRED and repr(name) not in meant:
                    self.say(f"missing key {name!r}, {key.words},", section)
            elif key.accepts(content[name]):
                values[name] = _floats(content[name]) if "number" in key.words else content[name]
            else:
                hint = key.hint(content[name])
                self.say(f"{name} must be {key.words}, got {content[name]!r:.80}", section, hint)
        return values

    def variant(
        self, content: dict[str, Any], selector: str, variants: Mapping[str, dict[str, Key]], section: str
    ) -> dict[str, Any]:
        """The values of a section whose keys depend on one of them."""
        keys = dict(SECTIONS.get(section, {}))
        chosen = content.get(selector, keys.setdefault(selector, Key(tuple(variants))).default)
        if isinstance(chosen, str) and chosen in variants:
            return self.table(content, keys | variants[chosen], section)
        elsewhere = {name for variant in variants.values() for name in variant}  # cannot be judged without the choice
        return self.table({name: content[name] for name in content if name not in elsewhere}, keys, section)

    def initial(self, given: dict[str, Any]) -> dict[str, Any]:
        """Section [initial] and its sections of blocks and groups."""
        own = {k: v for k, v in given.items() if isinstance(v, dict) and k not in ("M", "box", "cells")}
        if not own:
            values = self.variant(given, "law", LAWS, "initial")
            random = values["law"] != "atoms"
        else:
            rest = {name: value for name, value in given.items() if name not in own}
            if "law" in rest:
                self.say(f"give law or sections such as [initial.{next(iter(own))}], not both,", "initial")
                known = {"law"} | {name for keys in LAWS.values() for name in keys}
                rest = {name: value for name, value in rest.items() if name not in known}
            values = self.table(rest, SECTIONS["initial"], "initial")
            for name, law in own.items():
                if name not in GROUPS:
                    hint = did_you_mean(name, SECTIONS["initial"]) or did_you_mean(name, GROUPS, "[initial.{}]")
                    hint = hint or f"; the names are {', '.join(GROUPS)}"
                    self.say(f"unknown section [initial.{name}]", "", hint, breaks="initial")
                values[name] = self.variant(law, "law", LAWS, f"initial.{name}")
            random = any(values[name]["law"] != "atoms" for name in own)
        if "initial" in self.broken:
            return values
        if values["cells"] is not None or values["box"] is not None:
            for name in ("M", "kind", "dtype"):
                if name in given:
                    self.say(
                        f"{name} belongs to particles, cells and box to densities: leave out {name},",
                        "initial",
                    )
            if values["cells"] is None or values["box"] is None:
                self.say("cells and box belong together: densities need both", "initial")
        elif random and values["M"] is None:
            self.say("missing key 'M', the number of particles (or cells and box, for densities),", "initial")
        return values

    def solve(self, given: dict[str, Any]) -> dict[str, Any]:
        """Section [solve] and its section [solve.save]."""
        values = self.table(given, SECTIONS["solve"], "solve")
        if "solve" not in self.broken and values["tau_end"] <= values["tau_start"]:
            self.say(f"tau_end must be after tau_start = {values['tau_start']}, got {values['tau_end']}", "solve")
        if values["dtau"] is not None:
            for name in ("rtol", "atol"):
                if name in given:
                    self.say(f"{name} belongs to adaptive steps: leave out {name} or dtau", "solve")
                values[name] = None
        if values["save"] is not None:
            values["save"] = self.table(values["save"], SECTIONS["solve.save"], "solve.save")
        return values


def _floats(value: Any) -> Any:
    """Numbers as floats, also in lists."""
    if isinstance(value, list):
        return [_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) else value


def _make(check: _Check, config: dict[str, Any], folder: Path, stream: int = 0) -> dict[str, Any]:
    """What the values of a file stand for, as far as it is sound."""
    seed = config["seed"]
    data_rng, *streams = np.random.default_rng(seed).spawn(4)
    initial_rng = streams[stream]
    data: Any  # None, like everything below, when it or what it needs is broken
    heldout: Any
    parts = check.attempt("data", ["data"], lambda: _datasets(config["data"], folder, data_rng))
    data, heldout = parts or (None, None)
    blocks = ("attention", "feedforward")
    encoders: Any = {name: check.attempt(name, [name], partial(_encoder, config.get(name), folder)) for name in blocks}
    needs = ["data", "objective", *encoders]
    objective = check.attempt("objective", needs, lambda: TransformerObjective(data, **encoders, **config["objective"]))
    laws = ["initial", *(f"initial.{name}" for name in GROUPS)]
    law = check.attempt("initial", laws, lambda: _law(config["initial"]))
    needs = ["initial", "objective"]
    rho0 = check.attempt("initial", needs, lambda: _sample(config["initial"], law, objective, initial_rng))
    save = check.attempt("solve.save", ["solve.save"], lambda: _save(config.get("solve")))
    arguments = check.attempt("solve", ["solve"], lambda: _solve_arguments(config["solve"], save, seed))
    needs = ["observe", "objective"]
    observe = check.attempt("observe", needs, lambda: _observers(config["observe"], objective, heldout))
    return {"objective": objective, "rho0": rho0, "observe": observe, "solve_arguments": arguments}


def _datasets(options: Mapping[str, Any], folder: Path, rng: np.random.Generator) -> tuple[Dataset, Dataset | None]:
    """The training data and what is held out."""
    arguments = dict(options)
    kind, heldout = arguments.pop("kind"), arguments.pop("heldout")
    if kind == "digits":
        made: Any = digits(**arguments, heldout=heldout, rng=rng)
        return (made, None) if heldout is None else made
    if kind == "diabetes":
        if heldout is None:
            return diabetes(**arguments, rng=rng), None
        total = arguments.pop("n_prompts")
        out = round(heldout * total)
        if not 0 < out < total:
            raise InputError(f"heldout must leave prompts on both sides, got {heldout} of {total} prompts")
        train = diabetes(total - out, **arguments, rng=rng, rows="train")
        return train, diabetes(out, **arguments, rng=rng, rows="heldout")
    data = in_context_regression(**arguments, rng=rng) if kind == "in-context" else from_npz(folder / arguments["path"])
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
    steps = ("rtol", "atol") if options["dtau"] is None else ("dtau",)
    scheme = scheme_of(options["scheme"], **options["options"] or {})
    if options["dtau"] is None and scheme.error_order is None:
        raise InputError(f"scheme {scheme.name!r} has no error estimate: pass dtau")
    arguments = {"tau_range": (start, end), "save": save, "rng": seed, "scheme": scheme}
    return arguments | {name: options[name] for name in ("tol", "max_seconds", *steps)}


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
