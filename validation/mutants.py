"""Deliberately broken code, and which study or which test notices.

    python -m validation.mutants                                 all mutants that studies must notice
    python -m validation.mutants jko-half-step ...               some
    python -m validation.mutants --suite [defect-sign ...]       those that the tests must notice

A mutant is one small change of the code: a wrong sign, a lost factor, a transposed matrix. It is made in a temporary
copy of the checkout, where the quick studies run in the order of their cost until a claim fails; a mutant of the suite
names the test files that run instead. Before a study or a test file judges the first mutant it must pass without any.
The table says which claim or test caught each mutant; the exit code is 1 if one survived, 2 if something fails without
mutants or a text to be changed is not there exactly once.
"""

from __future__ import annotations

__all__ = ["MUTANTS", "Mutant", "apply", "main"]

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from validation.checkout import ROOT
from validation.study import jobs, load, names

#: A study or test file that takes so many times as long as without a mutant, and some seconds more, counts as failed:
#: what is broken may never end.
PATIENCE, SECONDS = 8.0, 60.0
#: What a copy of the checkout does without.
UNUSED = (".*", "*.pyc", "*.egg-info", "_build", "gallery", "runs")


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``old`` becomes ``new``; ``old`` must be there exactly once.

    Of a mutant of the suite, ``claim`` is the promise that it breaks, and ``tests`` are the files that must notice.
    """

    name: str
    file: str
    old: str
    new: str
    claim: str = ""
    tests: tuple[str, ...] = ()


OBJECTIVE, NETWORK, DEPTH = "wflow/energies/transformer.py", "wflow/network/batches.py", "wflow/network/rules.py"
HEADS, COMPILED, PROXIMAL = "wflow/encoders/attention.py", "wflow/encoders/compiled.py", "wflow/schemes/proximal.py"
PAIRS, LOSSES = "wflow/kernels/pairs.py", "wflow/losses.py"
ATTENTION, NEURONS = "wflow/kernels/attention.py", "wflow/kernels/feedforward.py"

MUTANTS = (
    # Encoders and their adjoints
    Mutant(
        "w-gradient-of-the-tokens",
        ATTENTION,
        "add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(Y))",
        "add_product(W_flipped_bar, rows(X_flipped, first * q, last * q), flipped(U))",
    ),
    Mutant(
        "w-transposed",
        HEADS,
        "maps.swapaxes(1, 2).ravel()",
        "maps.ravel()",
    ),
    Mutant(
        "head-weights-ignored",
        COMPILED,
        "frozen(np.ascontiguousarray(weights, np.float64))",
        "frozen(np.full(weights.shape, 1 / weights.shape[-1]))",
    ),
    Mutant(
        "token-adjoint-transposed",
        ATTENTION,
        "add_scaled_product(X_total, a, W_flipped, Y)",
        "add_scaled_product(X_total, a, flipped(W_flipped), Y)",
    ),
    Mutant(
        "token-adjoint-without-keys",
        ATTENTION,
        "if need_input:\n                            add_scaled_product(keys_total, a, u, flipped(P))",
        "if need_input and h < 0:\n                            add_scaled_product(keys_total, a, u, flipped(P))",
    ),
    Mutant("tanh-derivative", NEURONS, "q = sub(one, mul(y, y))", "q = sub(one, y)"),
    Mutant(
        "huberized-relu-derivative",
        NEURONS,
        "q = where_negative(x, nothing, where_negative(beyond, one, x))",
        "q = where_negative(x, nothing, where_negative(beyond, one, mul(half, x)))",
    ),
    Mutant(
        "token-adjoint-of-neurons-without-weights",
        NEURONS,
        "if need_input:\n                _multiply_rows(Q, a)\n",
        "if need_input:\n",
    ),
    # Kernels of attention
    Mutant("sigmoid-slope", PAIRS, "y = mul(y, sub(one, y))", "y = mul(y, one)"),
    Mutant("relu-slope", PAIRS, "y = where_negative(y, nothing, one)", "y = where_negative(y, nothing, y)"),
    Mutant(
        "sparsemax-mean-of-all", PAIRS, "put(inverse, 0, i, div(one, count))", "put(inverse, 0, i, splat(K, 1 / n))"
    ),
    Mutant(
        "gaussian-keys-without-their-squares",
        ATTENTION,
        "if at_once:\n                            product_less(k_bar_keys, flipped(u), flipped(P), k_keys, by_key)",
        "if at_once:\n                            product(k_bar_keys, flipped(u), flipped(P))",
    ),
    Mutant("scores-adjoint-without-scale", HEADS, "self.scale * second.reshape", "1.0 * second.reshape"),
    Mutant("mask-of-the-future", HEADS, "return j <= i", "return j >= i"),
    # Losses
    Mutant("logistic-slope", LOSSES, "np.where(margin > 0, small, 1.0)", "np.where(margin > 0, small, small)"),
    Mutant(
        "cross-entropy-against-the-strongest",
        LOSSES,
        "y * wrong.sum(axis=1, keepdims=True)",
        "y * wrong.max(axis=1, keepdims=True)",
    ),
    Mutant("huber-of-delta-one", LOSSES, "np.clip(u - y, -self.delta, self.delta)", "np.clip(u - y, -1.0, 1.0)"),
    # The objective and its depth rules
    Mutant("half-step-without-half", DEPTH, "half = 0.5 / layers", "half = 1.0 / layers"),
    Mutant("g-without-half", DEPTH, "(target, 0.5 * coefficient)", "(target, coefficient)"),
    Mutant(
        "one-target-in-the-adjoint",
        "wflow/kernels/depth.py",
        "for t in range(last_target[e - 1] if e > 0 else 0, last_target[e]):",
        "for t in range(last_target[e] - 1, last_target[e]):",
    ),
    Mutant(
        "rk4-nodes-as-trapezoids",
        DEPTH,
        "layers + 1, 2.0)\n    weights[1::2] = 4.0\n    weights[[0, -1]] = 1.0",
        "layers + 1, 3.0)\n    weights[[0, -1]] = 1.5",
    ),
    Mutant(
        "rk4-stage-weights",
        DEPTH,
        "_pair(2 * l, start, (start + 1, step / 2), (end, step / 6))",
        "_pair(2 * l, start, (start + 1, step / 2), (end, step / 5))",
    ),
    Mutant(
        "velocity-without-depth-weights",
        OBJECTIVE,
        "scale = (-1 / self.rule.weights)",
        "scale = (0 * self.rule.weights - self.rule.n_slices)",
    ),
    Mutant(
        "velocity-without-weight-decay",
        OBJECTIVE,
        "v -= self.weight_decay * rho.points(block)",
        "v -= 0 * rho.points(block)",
    ),
    Mutant(
        "energy-without-regulariser",
        OBJECTIVE,
        "value, terms = value + decay, terms + decay",
        "value, terms = value, terms + decay",
    ),
    Mutant("residual-averaged-over-labels", NETWORK, "(gradient / len(tokens)) @", "(gradient / targets.size) @"),
    Mutant("a-group-of-prompts-lost", NETWORK, "np.add(total, term, out=total)", "np.add(total, 0 * term, out=total)"),
    Mutant(
        "first-variation-without-depth-weights",
        OBJECTIVE,
        "paired[block] / self.rule.weights[:, None] + decay",
        "paired[block] + decay",
    ),
    # Steps of particles
    Mutant("dopri5-coefficient", "wflow/schemes/dopri5.py", "9017 / 3168", "9107 / 3168"),
    Mutant(
        "jko-frozen",
        PROXIMAL,
        "return self._prox(flow, point, point, point.x, h, 1)",
        "return flow.evaluate(point.x + h * point.velocity)",
    ),
    Mutant(
        "jko-half-step",
        PROXIMAL,
        "return self._prox(flow, point, point, point.x, h, 1)",
        "return self._prox(flow, point, point, point.x, h / 2, 1)",
    ),
    Mutant("midpoint-not-extrapolated", PROXIMAL, "flow.evaluate(2 * middle.x - point.x)", "flow.evaluate(middle.x)"),
    Mutant("bdf2-base", PROXIMAL, "base = point.x + ratio**2 /", "base = point.x + ratio /"),
    Mutant(
        "discrete-gradient-uncorrected",
        "wflow/schemes/discrete_gradient.py",
        "velocity = velocity - excess / flow.norm2(D) * D",
        "velocity = velocity - 0.5 * excess / flow.norm2(D) * D",
    ),
    Mutant(
        "avf-at-the-ends",
        "wflow/schemes/avf.py",
        "zip(0.5 * (1 + nodes), 0.5 * weights)",
        "zip(1 + 0 * nodes, 0.5 * weights)",
    ),
    Mutant("bdf2-step-of-equal-steps", PROXIMAL, "h * (1 + ratio) / (1 + 2 * ratio), 2)", "2 * h / 3, 2)"),
    Mutant(
        "quantile-ends-lopsided",
        "wflow/schemes/quantile_jko.py",
        "np.add.at(self.k, ends - widths, 0.5)",
        "np.add.at(self.k, ends - 2, 0.5)",
    ),
    Mutant(
        "quantile-ends-ignored",
        "wflow/schemes/quantile_jko.py",
        "np.add.at(self.k, ends - 2, 0.5)",
        "np.add.at(self.k, ends - 2, 0.0)",
    ),
    # Diffusion
    Mutant("noise-sqrt-sigma", "wflow/schemes/langevin.py", "math.sqrt(2 * sigma * h)", "math.sqrt(sigma * h)"),
    Mutant("first-noise", "wflow/schemes/langevin.py", "first = math.sqrt(0.75) *", "first = 0.5 *"),
    Mutant("blob-half-of-the-force", "wflow/energies/blob.py", "-gradient - quadrature.remainder", "-gradient"),
    Mutant(
        "kernel-diffusion",
        "wflow/schemes/kernel.py",
        "gaussian_row(n, dx, 2 * sigma * h, half)",
        "gaussian_row(n, dx, sigma * h, half)",
    ),
    Mutant(
        "finite-volume-diffusion",
        "wflow/schemes/finite_volume.py",
        'getattr(flow.energy.internal, "sigma", 0.0)',
        '0.5 * getattr(flow.energy.internal, "sigma", 0.0)',
    ),
    Mutant(
        "entropic-jko-bias",
        "wflow/schemes/entropic_jko.py",
        "max(sigma - 0.5 * gamma, 0.0)",
        "max(sigma - 0.25 * gamma, 0.0)",
    ),
    Mutant("muscl-slopes", "wflow/schemes/muscl.py", "0.25 * np.abs(left + right)", "0.5 * np.abs(left + right)"),
    Mutant(
        "muscl-lagged-potential", "wflow/schemes/muscl.py", "euler.x, euler.potential)", "euler.x, point.potential)"
    ),
    Mutant(
        "finite-volume-cells-of-the-first-axis",
        "wflow/schemes/finite_volume.py",
        "h / dx**2",
        "h / widths[0] ** 2",
    ),
    Mutant(
        "finite-volume-extrapolated-as-order-2",
        "wflow/schemes/finite_volume.py",
        "unless_negative(2 * halves - x, halves)",
        "unless_negative((4 * halves - x) / 3, halves)",
    ),
    # Measures, laws and distances
    Mutant(
        "langevin-overlapping-streams",
        "wflow/schemes/particle_flow.py",
        "counter=[0, 0, node, index]",
        "counter=[index, 0, node, 0]",
    ),
    Mutant(
        "groups-exchanged",
        HEADS,
        'names = ("W_V", "W_O", "W_K", "W_Q") if self.factored',
        'names = ("W_O", "W_V", "W_K", "W_Q") if self.factored',
    ),
    Mutant(
        "axes-exchanged",
        "wflow/initial.py",
        'np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, p)',
        "np.meshgrid(*axes), axis=-1).reshape(-1, p)",
    ),
    Mutant(
        "distance-of-equal-slices",
        "wflow/distances.py",
        "parts += [np.sqrt(om) * distance(a, b, block, l) for l, om in enumerate(a.depth_weights)]",
        "parts += [a.n_slices**-0.5 * distance(a, b, block, l) for l in range(a.n_slices)]",
    ),
    Mutant(
        "distance-without-depth-weights",
        "wflow/distances.py",
        "np.sqrt(om) * distance(a, b, block, l)",
        "np.sqrt(om / om) * distance(a, b, block, l)",
    ),
)


def apply(mutant: Mutant, root: Path) -> None:
    """Change the checkout at root.

    Raises
    ------
    ValueError
        Unless the old text is there exactly once.
    """
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        raise ValueError(f"mutant {mutant.name}: the old text is {count} times in {mutant.file}, not once")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


@contextmanager
def copied(mutant: Mutant | None, template: Path = ROOT) -> Iterator[Path]:
    """A temporary copy of the checkout, with a mutant in it."""
    with tempfile.TemporaryDirectory(prefix="wflow-mutant-") as folder:
        root = shutil.copytree(template, Path(folder, "copy"), ignore=shutil.ignore_patterns(*UNUSED))
        if mutant:
            apply(mutant, root)
        yield root


def run(judge: str, root: Path, workers: int, patience: float | None = None) -> str:
    """Run a quick study, or a test file, in a checkout, for so many seconds.

    Returns the first claim or test that failed, empty if all passed.
    """
    study = ["validation", judge, "--workers", str(workers), "-o", str(root / "output")]
    suite = ["pytest", "-q", "-x", "-p", "no:cacheprovider", judge]
    command = [sys.executable, "-m", *(study if judge in names() else suite)]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=root, env=environment, start_new_session=True, stdout=pipe, stderr=pipe, text=True
    )
    try:
        out, error = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return f"did not end in {patience:.0f} seconds"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode == 0:
        return ""
    lines = [line.strip() for line in out.splitlines()]
    failed = [line.removeprefix("FAIL").strip() for line in lines if line.startswith("FAIL  ")]
    tests = [line.partition(" ")[2] for line in lines if line.startswith(("FAILED ", "ERROR ")) and "::" in line]
    failed += [test.split(" - ")[0] for test in tests]
    if process.returncode == 1 and failed:
        return f"{failed[0]}" + (f", and {len(failed) - 1} more" if failed[1:] else "")
    raised = [line for line in lines if "Error: " in line]
    if process.returncode in (1, 2) and raised:
        return f"did not run: {raised[0]}"
    return "did not run: " + " ".join(error.split())[-300:]


def by_cost() -> list[str]:
    """The studies, the cheapest first."""

    def cost(name: str) -> float:
        once = {job.key: job.cost for experiment in load(name).experiments.values() for job in jobs(experiment, False)}
        return sum(once.values())

    return sorted(names(), key=cost)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    from validation.suite import SUITE

    parser = argparse.ArgumentParser("python -m validation.mutants", description="Which study or test notices a fault.")
    parser.add_argument("mutants", nargs="*", metavar="mutant", help="these alone; an unknown one lists them")
    parser.add_argument("--suite", action="store_true", help="the mutants that the tests must notice")
    parser.add_argument("--studies", nargs="+", choices=names(), help="these alone, in this order")
    parser.add_argument("--workers", type=int, default=1, help="processes of a study (default: %(default)s)")
    options = parser.parse_args(arguments)
    mutants = SUITE if options.suite else MUTANTS
    if unknown := set(options.mutants) - {m.name for m in mutants}:
        parser.error(f"no mutant {sorted(unknown)[0]!r}; there are {', '.join(m.name for m in mutants)}")
    chosen = [m for m in mutants if not options.mutants or m.name in options.mutants]
    studies, survived = () if options.suite else options.studies or by_cost(), []
    patience: dict[str, float] = {}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(75))  # so that what runs is ended, too
    try:
        with copied(None) as control:  # it keeps the kernels that are compiled on the way
            for mutant in chosen:
                began, caught = time.perf_counter(), ""
                with copied(mutant, control) as root:
                    for judge in mutant.tests or studies:
                        if judge not in patience:
                            start = time.perf_counter()
                            if claim := run(judge, control, options.workers):
                                print(f"{judge} fails without a mutant: {claim}", file=sys.stderr)
                                return 2
                            patience[judge] = SECONDS + PATIENCE * (time.perf_counter() - start)
                        if claim := run(judge, root, options.workers, patience[judge]):
                            caught = claim if mutant.tests else f"{judge}: {claim}"
                            break
                survived += [] if caught else [mutant.name]
                seconds = time.perf_counter() - began
                print(f"{mutant.name:42} {seconds:5.0f} s  {caught or 'SURVIVED'}", flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"\n{len(chosen) - len(survived)} of {len(chosen)} mutants caught"
        + "".join(f"; {n} survived" for n in survived)
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
