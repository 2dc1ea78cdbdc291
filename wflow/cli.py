"""The command ``wflow``: run, resume, check, look at and draw trajectories.

Exit codes: 0; 2 for input that cannot be used (one line for each problem on standard error); 1 for a run that went
wrong; 75 for a run that a signal (SIGINT, SIGTERM, SIGHUP, SIGUSR1) or --max-seconds ended and that can be resumed; 130
for any other command that Ctrl-C ended.
"""

from __future__ import annotations

__all__ = ["main"]

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wflow._version import __version__

if TYPE_CHECKING:
    from wflow.energies import TransformerObjective
    from wflow.solution import Solution

# Whatever takes time to import is imported where it is used, so that --help is there at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: those of the process) and return its exit code."""
    options = _parser().parse_args(argv)
    from wflow import InputError, SolveError

    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough; spare Python's last flush the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        return _fail(2, str(error))
    except SolveError as error:
        return _fail(1, str(error))
    except KeyboardInterrupt as interrupt:  # of a check, whose runs have no file, or of anything but a run
        code = getattr(interrupt, "exit_code", 130)
        return _fail(code, str(interrupt) if code == 75 else "interrupted")
    return 0


def _fail(code: int, message: str) -> int:
    for line in message.splitlines():
        print(f"wflow: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wflow", description="Solve the Wasserstein gradient flow of a mean-field Transformer."
    )
    parser.add_argument("--version", action="version", version=f"wflow {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        sub.set_defaults(command=function)
        return sub

    run = command("run", _run, "solve the problem of a run file and write a trajectory")
    run.add_argument("runfile", metavar="RUN.toml", help="the run file (its keys: docs/runfiles.md)")
    run.add_argument("-o", "--output", metavar="OUT.h5", required=True, help="the trajectory to write")
    run.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")

    resume = command("resume", _resume, "continue an interrupted, killed or finished run")
    resume.add_argument("trajectory", metavar="OUT.h5")
    resume.add_argument("--tau-end", type=float, metavar="TAU", help="go on to this training time")
    for sub in (run, resume):
        sub.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no summary")
        words = "end the run after so much wall time, with exit code 75; wflow resume continues it"
        sub.add_argument("--max-seconds", type=float, metavar="S", help=words)

    check = command("check", _check, "estimate the errors of a run: solve it again with every discretisation refined")
    check.add_argument("runfile", metavar="RUN.toml", help="the run file")
    check.add_argument("-q", "--quiet", action="store_true", help="no progress")

    ahead = command("warmup", _warmup, "compile the kernels ahead, which a first run waits for otherwise")
    ahead.add_argument("-q", "--quiet", action="store_true", help="no progress")

    info = command("info", _info, "tell how a run stands, also while it is running")
    info.add_argument("trajectory", metavar="OUT.h5")

    kernel = command("kernel", _kernel, "print the eigenvalues of the tangent kernel along a run, and whose they are")
    kernel.add_argument("trajectory", metavar="OUT.h5")
    kernel.add_argument("--frames", type=_frames, default=5, metavar="N", help="how many frames, or which: 0,3,-1")
    words = "whose shares of the trace to print: of blocks, or of their groups of parameters"
    kernel.add_argument("--by", choices=["block", "group"], default="block", help=words)
    kernel.add_argument("--heldout", action="store_true", help="of the held-out prompts")

    words = "look whether the end of a run is at rest, and for a particle that would lower Q"
    certificate = command("certificate", _certificate, words)
    certificate.add_argument("trajectory", metavar="OUT.h5")
    words = "starts of the search, in every slice of every block (default: %(default)s)"
    certificate.add_argument("--starts", type=int, default=32, metavar="N", help=words)

    figure = command("figure", _figure, "draw a figure of a trajectory")
    figure.add_argument(
        "kind", metavar="KIND", help="energy, clouds, density, depth, predictions, landscape or animation"
    )
    figure.add_argument("trajectory", metavar="OUT.h5")
    words = "what to write: .pdf, .svg, .eps or .png, of an animation .gif or .mp4"
    figure.add_argument("-o", "--output", metavar="FILE", required=True, help=words)
    choices = figure.add_argument_group("options of the figures", "each for the figures that it names")
    words = "clouds, density, depth: how many frames, or which: 0,3,-1; animation: how many at most"
    choices.add_argument("--frames", type=_frames, metavar="N", help=words)
    choices.add_argument("--coordinates", type=_pair, metavar="I,J", help="clouds: two parameters, counted from 0")
    words = "density, animation: of the slices in depth, how many, or which: 0,3,-1"
    choices.add_argument("--slices", type=_frames, metavar="N", help=words)
    choices.add_argument("--block", metavar="NAME", help="density, animation: the block to show, such as theta or w")
    words = "density, animation: a run on particles to show over the densities"
    choices.add_argument("--particles", metavar="OTHER.h5", help=words)
    choices.add_argument("--tau-scale", choices=["linear", "log"], help="energy: scale of the axis of training time")
    choices.add_argument("--defect", action="store_true", default=None, help="energy: show the energy-identity defect")
    words = "landscape: what to draw contours of"
    choices.add_argument("--quantity", choices=["energy", "risk"], help=words)
    choices.add_argument("--points", type=int, metavar="N", help="landscape: so many values along each axis")
    choices.add_argument("--heldout", action="store_true", default=None, help="predictions: of the held-out prompts")
    return parser


def _integers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if number]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers such as 0,3, got {text!r}") from None


def _frames(text: str) -> int | list[int]:
    numbers = _integers(text)
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def _pair(text: str) -> tuple[int, int]:
    numbers = _integers(text)
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"expected two integers such as 0,3, got {text!r}")
    return numbers[0], numbers[1]


def _run(options: argparse.Namespace) -> None:
    from wflow import InputError, runfile

    if Path(options.output).exists() and not options.overwrite:
        raise InputError(f"{options.output} exists already; choose another name, or replace it with --overwrite")
    began = time.perf_counter()
    run = runfile.read(options.runfile)
    seconds = time.perf_counter() - began
    if options.max_seconds is not None:
        run.solve_arguments["max_seconds"] = options.max_seconds
    solution = run.solve(options.output, options.overwrite, False if options.quiet else None)
    solution.stats["seconds_prepare"] = seconds
    _conclude(options, solution)


def _resume(options: argparse.Namespace) -> None:
    import wflow

    more = {"progress": False if options.quiet else None, "max_seconds": options.max_seconds}
    _conclude(options, wflow.resume(options.trajectory, options.tau_end, **more))


def _conclude(options: argparse.Namespace, solution: Solution) -> None:
    """The summary of a run that has ended, and in words what a run that is not at its end needs."""
    from wflow import Interrupted

    if solution.status.name == "INTERRUPTED":
        raise Interrupted(f"{solution.message}; the run is in {solution.path}: wflow resume continues it")
    if not options.quiet:
        _print_table({"": str(solution.status), **_course(solution), "file": str(solution.path)})


def _check(options: argparse.Namespace) -> None:
    from wflow import check

    quiet = options.quiet
    say = (lambda line: None) if quiet else (lambda line: print(f"solving {line}", file=sys.stderr, flush=True))
    print(check.check(options.runfile, say, False if quiet else None))


def _warmup(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    from wflow.warmup import warmup

    quiet = options.quiet
    say = (lambda line: None) if quiet else (lambda line: print(f"compiling: {line}", file=sys.stderr, flush=True))
    folder = warmup(say)
    kept = f"kept in {folder}" if folder else "not kept: NUMBA_CACHE_DIR may name a folder for them"
    print(f"all kernels are there after {time.perf_counter() - began:.1f} s, {kept}")


def _info(options: argparse.Namespace) -> None:
    from wflow import load

    solution = load(options.trajectory)
    _print_table({"": _status(solution), **_problem(solution), **_course(solution), **_provenance(solution)})


def _print_table(rows: dict[str, str]) -> None:
    """Names and what they are; the row without a name comes first, as a sentence."""
    print(rows.pop(""))
    for name, text in rows.items():
        print(f"  {name:<19} {text}")


def _status(solution: Solution) -> str:
    sentence = str(solution.status)
    if solution.status.is_failure or solution.status.name in ("INTERRUPTED", "KILLED"):
        sentence = f"{solution.message}. {sentence}"
    if solution.status.name in ("RUNNING", "KILLED"):
        age = time.time() - Path(str(solution.path)).stat().st_mtime
        sentence += f" It was last written to {max(age, 0):.0f} s ago."
    return sentence


def _problem(solution: Solution) -> dict[str, str]:
    """The objective, the measure and the method."""
    from wflow import TransformerObjective
    from wflow.plain import describe
    from wflow.schemes import SCHEMES

    rows, terms, settings = {}, [], solution.settings
    for energy in getattr(solution.objective, "terms", [solution.objective]):
        if isinstance(energy, TransformerObjective):
            data, rule = energy.dataset, energy.rule
            what = "label" if data.n_labels == 1 else "labels" if data.labels.ndim == 2 else "classes"
            rows["data"] = f"{data.name}: tokens {data.tokens.shape}, {data.n_labels} {what}"
            rows["encoders"] = ", ".join(str(encoder) for encoder in energy.encoders.values())
            noise = f"entropy {energy.entropy:g}, " if energy.entropy else ""
            delta = f" (delta {energy.huber_delta:g})" if energy.loss == "huber" else ""
            loss = f"loss {energy.loss}{delta}, " if energy.loss != "squares" else ""
            speeds = f", mobility {_words(energy.mobility)}" if energy.mobility else ""
            terms.append(
                f"{loss}weight_decay {energy.weight_decay:g}, {noise}depth {rule.name}, {rule.layers} layers{speeds}"
            )
        else:
            terms.append(_words(describe(energy)) if energy else "of your own: not all of it is stored")
    rows |= {"objective": " + ".join(terms), "measure": str(solution.measure(0))}
    scheme = _words(settings["scheme"], describe(SCHEMES.get(settings["scheme"]["kind"])))
    return rows | {"method": f"{scheme}, {_words(settings['controller'])}, to tau = {settings['tau_range'][1]:g}"}


def _words(data: Any, default: Any = None) -> str:
    """A description in words, without the arguments that are None or as in the default."""
    if not isinstance(data, dict) or "kind" not in data:
        return f"{data!s:.60}"
    if data["kind"] == "user":
        return f"{data['name']} of your own"
    known = {"kind": data["kind"]} | (default or {})
    options = [f"{name} {_words(x)}" for name, x in data.items() if x is not None and x != known.get(name)]
    return ", ".join([data["kind"], *options])


#: The counters of every run; others belong to its scheme.
STEP_COUNTS = ("steps", "rejected", "evaluations")


def _course(solution: Solution) -> dict[str, str]:
    """How the run went so far."""
    from wflow.observers import KernelMin

    series, stats = solution.series, solution.stats
    rows = {"tau": f"{series['tau'][0]:.6g} -> {series['tau'][-1]:.6g}"}
    Q = "Q" if series["defect"][-1] == series["defect"][-1] else "Q, smooth part"  # of schemes with noise
    for name, values in {Q: solution.energy, "R": solution.risk, **solution.observed}.items():
        if isinstance(solution.observers.get(name), KernelMin):
            rows[name] = " -> ".join("not resolved" if x != x else f"{x:.6g}" for x in (values[0], values[-1]))
        elif values[0] == values[0]:  # R of an energy without risk is nan
            rows[name] = f"{values[0]:.6g} -> {values[-1]:.6g}"
    defect, scale = abs(series["defect"][-1]), abs(solution.energy[0]) or 1.0
    if Q == "Q":
        rows["defect"] = f"{defect / scale:.2g} of Q(0), of the energy identity Q(0) - Q(tau) = int |v|^2 dtau"
    steps = f"{len(series['tau']) - 1} steps"
    if stats:
        steps += f", {stats['rejected']} rejected, {stats['evaluations']} evaluations of the velocity"
        notes = {name: n for name, n in stats.items() if not name.startswith("seconds") and name not in STEP_COUNTS}
        steps += "".join(f", {n} {name.replace('_', ' ')}" for name, n in notes.items())
        phases = {name: stats.get(f"seconds_{name}") for name in ("prepare", "compile", "solve", "save")}
        rows["time"] = ", ".join(f"{seconds:.3g} s {name}" for name, seconds in phases.items() if seconds is not None)
    return rows | {"steps": steps, "frames": str(solution.n_frames)}


def _provenance(solution: Solution) -> dict[str, str]:
    """Where the file comes from."""
    attributes = solution.attributes
    versions = ", ".join(f"{name} {number}" for name, number in json.loads(attributes["versions"]).items())
    rows = {
        "created": str(attributes["created"]),
        "command": " ".join(json.loads(attributes["argv"])),
        "seed": str(solution.settings["seed"]),
        "versions": versions,
        "commit": str(attributes["commit"]),
        "run file": "stored as the attribute runfile" if "runfile" in attributes else "",
    }
    return {name: text for name, text in rows.items() if text not in ("", "None")}


def _kernel(options: argparse.Namespace) -> None:
    import numpy as np

    import wflow
    from wflow import tangent
    from wflow.figures.style import choose_frames

    solution = wflow.load(options.trajectory)
    objective = _objective(solution, "tangent kernel")
    dataset = _heldout(solution) if options.heldout else objective.dataset
    rows = []
    for i in choose_frames(solution, options.frames):
        rho = solution.measure(i)
        spectrum = tangent.kernel_spectrum(objective, rho, dataset)
        shares = tangent.kernel_shares(objective, rho, dataset, options.by)
        slowest = f"{spectrum.rates[0]:.3g}" if spectrum.is_resolved else ""
        numbers = [f"{spectrum.largest:.6g}", spectrum.words, f"{spectrum.rates[-1]:.3g}", slowest]
        numbers.append(f"{np.mean(tangent.output_variance(objective, rho, 1.0, dataset)):.4g}")
        rows.append([f"{solution.frame_tau[i]:.6g}", *numbers, *(f"{100 * share:.3g}%" for share in shares.values())])
    head = ["tau", "lambda_max", "lambda_min", "fastest rate", "slowest rate", "variance", *shares]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    labels = f" and {dataset.n_labels} labels each" if dataset.n_labels > 1 else ""
    print(f"tangent kernel of {dataset.n_prompts} prompts{labels} of {dataset.name}")
    for row in [head, *rows]:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths)).rstrip())
    print("rates: lambda/B; variance: of predictions under noise of variance 1; shares: of the trace")


def _certificate(options: argparse.Namespace) -> None:
    import wflow

    solution = wflow.load(options.trajectory)
    objective: Any = _objective(solution, "certificate")
    rho: Any = solution.measure(-1)
    print(wflow.certificate(objective, rho, starts=options.starts))


def _objective(solution: Solution, what: str) -> TransformerObjective:
    """The Transformer objective of a run."""
    from wflow import InputError, TransformerObjective

    terms = getattr(solution.objective, "terms", [solution.objective])
    objectives = [term for term in terms if isinstance(term, TransformerObjective)]
    if len(objectives) != 1:
        raise InputError(f"{solution.path} holds no Transformer objective, or not all of it: it has no {what}")
    return objectives[0]


def _heldout(solution: Solution) -> Any:
    """The held-out prompts of a run."""
    from wflow import InputError

    if solution.heldout is None:
        raise InputError(f"{solution.path} has no held-out prompts: the run did not observe any")
    return solution.heldout


def _figure(options: argparse.Namespace) -> None:
    import inspect

    import wflow
    from wflow import InputError, figures

    solution = wflow.load(options.trajectory)
    fixed = ("command", "kind", "trajectory", "output")
    arguments = {name: value for name, value in vars(options).items() if name not in fixed and value is not None}
    functions: dict[str, Callable[..., Any]] = {**figures.FIGURES, "animation": figures.animate}
    if options.kind in functions:
        known = {*inspect.signature(functions[options.kind]).parameters}
        known |= {"heldout"} if "dataset" in known else set()
        if unknown := [name for name in arguments if name not in known]:
            raise InputError(f"figure {options.kind} has no option --{unknown[0].replace('_', '-')}")
    if arguments.pop("heldout", None):
        arguments["dataset"] = _heldout(solution)
    if "particles" in arguments:
        arguments["particles"] = wflow.load(options.particles)
    if options.kind == "animation":
        figures.animate(solution, options.output, **arguments)
    else:
        figures.save(figures.draw(options.kind, solution, **arguments), options.output)


if __name__ == "__main__":
    sys.exit(main())
