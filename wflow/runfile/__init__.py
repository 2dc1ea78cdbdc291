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

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from wflow.checks import check_path
from wflow.energies import TransformerObjective
from wflow.measures import Measure
from wflow.run.solve import solve
from wflow.runfile.build import make
from wflow.runfile.loader import MAX_BYTES, Check, RunFileError, parse
from wflow.settings import Observers
from wflow.solution import Solution


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
    text, content = parse(path)
    check = Check(str(path))
    config = check.file(content)
    made = make(check, config, path.parent)
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
    check = Check(str(path))
    made = make(check, config, Path(path).parent, stream)
    if check.problems:
        raise RunFileError(check.problems)
    return Run("", config, **made)
