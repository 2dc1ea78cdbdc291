"""What the generated calls are made of: small measures, energies and files, and functions that are wrong on purpose."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from wflow import cli

Array = NDArray[Any]

#: Where the files of the present call are.
FOLDER = Path()
#: Where files stand that calls start from: see :func:`file`.
STORE = Path()


def eighths(*shape: int) -> Array:
    """Small numbers that float16 has, too."""
    size = int(np.prod(shape))
    return ((np.arange(size) * 5) % 17 - 8).reshape(shape) / 8


DATA = wflow.Dataset(eighths(3, 2, 3), [1.0, -1.0, 1.0], (1, -1))
Q = wflow.TransformerObjective(DATA, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), 0.25, layers=2)
RHO = wflow.Particles(theta=eighths(2, 2, 8), w=eighths(2, 3, 4))
LINE = wflow.Dataset(np.ones((2, 1, 1)), [1.0, -1.0])
Q_LINE = wflow.TransformerObjective(LINE, feedforward=wflow.FeedForward("tanh"), weight_decay=0.5, layers=1)
Q_NOISE = wflow.TransformerObjective(
    LINE, feedforward=wflow.FeedForward("tanh"), weight_decay=0.5, entropy=0.5, layers=1
)


def bowl(x: Array) -> Array:
    """``|x|^2/2``."""
    return np.asarray(0.5 * np.sum(x**2, axis=1))


def identity(x: Array) -> Array:
    """The gradient of the bowl."""
    return x


def second_moment(rho: Any) -> float:
    """An observer."""
    return float(sum(m.sum() for m in rho.moment(2).values()))


V = wflow.PotentialEnergy(bowl, identity)
HEAT = V + wflow.Entropy(0.5)
CLOUD = wflow.Particles(x=[[[-1.0], [0.5], [2.0]]])
SOLUTION = wflow.solve(V, CLOUD, (0, 0.5), dtau=0.125, save=wflow.SaveAt(every=0.25))
_CENTRES = np.linspace(-5.75, 5.75, 24)
HILL = wflow.Grid(x=np.exp(-((_CENTRES - 0.5) ** 2)), box={"x": ((-6, 6),)})
_CENTRES = np.linspace(-5.96875, 5.96875, 192)
FINE = wflow.Grid(x=np.exp(-((_CENTRES - 0.5) ** 2)), box={"x": ((-6, 6),)})


class Wrong:
    """An encoder with some methods replaced."""

    def __init__(self, **methods: Any) -> None:
        vars(self).update(methods)

    def n_parameters(self, dimension: int) -> Any:
        """One number."""
        return 1

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Any:
        """The number, added to the last entry."""
        out = np.zeros_like(tokens)
        out[:, -1, -1] = weights @ parameters[:, 0]
        return out

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> Any:
        """The adjoint."""
        return np.zeros_like(tokens), np.full_like(parameters, cotangent[:, -1, -1].sum())


def alone(encoder: Any) -> tuple[Any, Any]:
    """A Transformer of one layer with this encoder alone, and a measure for it."""
    objective = wflow.TransformerObjective(DATA, encoder, layers=1)
    return objective, wflow.Particles(theta=eighths(1, 2, encoder.n_parameters(2)))


def converging(refined: Any) -> dict[str, float]:
    """A quantity with an error that is halved where the depth is doubled."""
    return {"Q": 1.0 + 0.01 * 0.5 ** refined.get("depth", 0)}


def readonly(array: Array) -> Array:
    """A copy that cannot be written to."""
    out = np.array(array)
    out.setflags(write=False)
    return out


def strided(array: Array) -> Array:
    """A view with gaps along the last axis."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def flipped(array: Array) -> Array:
    """A view with negative strides."""
    axes = tuple(range(np.ndim(array)))
    return np.flip(np.flip(array, axes).copy(), axes)


def spoilt(array: Any, value: Any, dtype: Any = None) -> Array:
    """A copy with one other entry."""
    out = np.array(array, dtype=dtype)
    out[(0,) * out.ndim] = value
    return out


def masked(array: Any) -> Any:
    """A copy of which one entry is masked."""
    out = np.ma.array(array)
    out[(0,) * out.ndim] = np.ma.masked
    return out


def tuples(array: Any) -> Any:
    """Nested tuples."""
    return tuple(map(tuples, array)) if isinstance(array, (list, tuple, np.ndarray)) else array


def file(name: str) -> str:
    """The path of a file of the present call; a copy of the one of this name in the store, with its checkpoint."""
    target = FOLDER / name
    for each in (name, f"{name}.resume"):
        if (STORE / each).is_file() and not (FOLDER / each).exists():
            shutil.copy(STORE / each, FOLDER / each)
    return str(target)


def written(name: str, content: bytes | str) -> str:
    """The path of a new file with this content."""
    (FOLDER / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(FOLDER / name)


def cut(name: str, share: float) -> str:
    """The path of a truncated copy of a file."""
    path = Path(file(name))
    os.truncate(path, int(share * path.stat().st_size))
    return str(path)


def damaged(name: str, seed: int) -> str:
    """The path of a copy of which a stretch is overwritten."""
    path = Path(file(name))
    content = bytearray(path.read_bytes())
    start = int(np.random.default_rng(seed).integers(len(content)))
    content[start : start + 64] = b"\xa5" * len(content[start : start + 64])
    path.write_bytes(content)
    return str(path)


def folder(name: str) -> str:
    """The path of a folder."""
    (FOLDER / name).mkdir(exist_ok=True)
    return str(FOLDER / name)


def pipe(name: str) -> str:
    """The path of a named pipe."""
    os.mkfifo(FOLDER / name)
    return str(FOLDER / name)


def npz(name: str, **arrays: Any) -> str:
    """The path of a file of arrays."""
    np.savez(FOLDER / name, **arrays)
    return str(FOLDER / name)


@contextlib.contextmanager
def _quiet() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def command(*arguments: str) -> str:
    """What the command prints; its exit codes as exceptions."""
    with _quiet() as (out, err):
        try:
            code = cli.main(list(arguments))
        except SystemExit as end:  # of argparse, after a line on how the command is used
            code = int(end.code or 0)
    if code:
        raise {2: wflow.InputError, 1: wflow.SolveError}[code](err.getvalue() or "nothing was said")
    return out.getvalue()


def course(solution: Any) -> Any:
    """What counts of a solution."""
    names = ("tau", "energy", "risk", "dissipation", "dtau", "max_norm")
    frames = [dict(solution.measure(i).blocks) for i in range(solution.n_frames)]
    series = {name: solution.series[name] for name in names}
    return series, dict(solution.observed), solution.frame_tau, frames, solution.status.name


def arguments(run: Any) -> Any:
    """How a run file is solved."""
    return dict(sorted(run.solve_arguments.items())), sorted(run.observe)


def masses(rho: Any) -> Any:
    """What counts of a measure."""
    blocks = {name: (rho.points(name), rho.weights(name)) for name in rho.blocks}
    return blocks, dict(rho.blocks), rho.t, rho.depth_weights


def answers(Q: Any, rho: Any = RHO) -> Any:
    """What counts of an energy."""
    return Q.value(rho), dict(Q.velocity(rho)), Q.first_variation(rho)


def prompts(data: Any) -> Any:
    """What counts of a data set."""
    if isinstance(data, tuple):
        return tuple(map(prompts, data))
    return data.tokens, data.labels, data.readout, data.name


RUN_FILE = """\
seed = 3

[data]
kind = "in-context"
n_prompts = 3
dimension = 1
context = 2

[feedforward]
activation = "tanh"

[objective]
weight_decay = 0.25
layers = 2

[initial]
M = 4
law = "gaussian"
std = 0.5

[solve]
scheme = "heun"
dtau = 0.125
tau_end = 0.25
"""


def fill_store() -> None:
    """Write the files that calls start from."""
    import h5py

    observe = {"second": second_moment}
    (STORE / "run.toml").write_text(RUN_FILE)
    np.savez(STORE / "data.npz", tokens=eighths(3, 2, 3), labels=[1.0, -1.0, 1.0], readout=(1, -1))
    wflow.solve(V, CLOUD, (0, 0.5), dtau=0.125, save=wflow.SaveAt(every=0.25), observe=observe, path=STORE / "run.h5")
    np.savez(STORE / "line.npz", tokens=np.ones((2, 1, 1)), labels=[1.0, -1.0])
    wflow.solve(V, CLOUD, (0, 0.5), dtau=0.125, save=wflow.SaveAt(every=0.25), path=STORE / "plain.h5")
    wflow.solve(
        HEAT, HILL, (0, 0.5), scheme="finite-volume", dtau=0.125, save=wflow.SaveAt(every=0.25), path=STORE / "grid.h5"
    )
    wflow.solve(Q, RHO, (0, 0.5), dtau=0.125, save=wflow.SaveAt(every=0.25), path=STORE / "big.h5")
    wflow.runfile.read(STORE / "run.toml").solve(STORE / "toml.h5")
    with h5py.File(STORE / "foreign.h5", "w") as foreign:
        foreign["x"] = np.ones(3)


def warm() -> None:
    """Compile the kernels of both precisions."""
    for dtype in (np.float32, np.float64):
        for encoder in (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), wflow.FeedForward("softplus", 2, True)):
            p = encoder.n_parameters(2)
            tokens, parameters, weights = eighths(2, 2, 3).astype(dtype), eighths(3, p).astype(dtype), np.full(3, 1 / 3)
            for a in (weights, weights.astype(dtype)):
                encoder.mean(tokens, parameters, a)
                encoder.vjp(tokens, parameters, a, tokens)
            encoder.pairing(tokens, parameters, tokens)
        rho: dict[str, Any] = {name: x.astype(dtype) for name, x in RHO.blocks.items()}
        Q.first_variation(wflow.Particles(**rho))
        Q.velocity(wflow.Particles(**rho))
        wflow.kernel_spectrum(Q, wflow.Particles(**rho))
