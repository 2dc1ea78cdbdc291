"""Damaged and hostile trajectories: refused in words, or read with the values of the whole file.

    python -m validation.damage                       10,000 mutated files, and those made by hand
    python -m validation.damage --files 500 --seed 3  some, of another seed
    python -m validation.damage --one 1234            what becomes of one mutated file

A mutated file is a small trajectory (:func:`victims`) in which, or in the checkpoint or journal of which, bits are
flipped, blocks of 1 to 4096 bytes are zeroed, randomised, exchanged or repeated, or the end is missing. Hostile ones
are made with h5py, with right checksums wherever whoever made them could make them right
(:mod:`validation.hostile`). Each is loaded with all its measures, told about by ``wflow info``, drawn, and resumed, in
a fork of one warm process under limits of time and memory. Whatever else comes of it than :class:`wflow.InputError`,
one line of the command, or the very values of the file without damage, is a *fault*: a hang, the end of the process,
another exception, more memory than the file has reason for, and a value that differs without a word. Files of format
version 2 have no checksums: values of theirs may differ. The exit code is 1 if there is a fault.
"""

from __future__ import annotations

__all__ = ["Outcome", "Victim", "examine", "judge", "main", "mutated", "victims"]

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import h5py
import numpy as np

import wflow
from wflow import cli, figures
from wflow.plain import describe
from wflow.trajectory import storage
from wflow.trajectory.writer import TrajectoryFile

#: Seconds of a processor, and of a clock, after which a file counts as one that hangs.
SECONDS, PATIENCE = 5, 40.0
#: Memory beyond that of the warm parent: of any file, and for every byte of it.
BYTES, BYTES_PER_BYTE = 2**28, 64
#: The trajectory and what stands beside it.
NAME = "run.h5"
#: What another process may say of a lack of memory.
LACK = ("Unable to allocate", "allocation failed", "MemoryError")

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Victim:
    """A whole trajectory: its files by what their names end in, how it is resumed, and what is true of it."""

    files: Mapping[str, bytes]
    tau_end: float | None
    checked: bool = True  # whether everything in it has checksums
    facts: Facts | None = None

    def write(self, folder: Path) -> Path:
        """Put its files in a folder."""
        for end, content in self.files.items():
            (folder / f"{NAME}{end}").write_bytes(content)
        return folder / NAME


@dataclass(frozen=True)
class Outcome:
    """What became of a file: equal, refused, other (of a file without checksums), or a fault with its details."""

    result: str
    fault: str = ""
    seconds: float = 0.0
    refused: tuple[str, ...] = ()


# What is true of a file


def facts_of(solution: wflow.Solution) -> Facts:
    """All that a trajectory tells, as what can be compared bit for bit."""
    facts: dict[str, Any] = {f"series {name}": _plain(values) for name, values in solution.series.items()}
    facts |= {f"observed {name}": _plain(values) for name, values in solution.observed.items()}
    facts |= {"frame_tau": _plain(solution.frame_tau), "status": str(solution.status)}
    for i in range(solution.n_frames):
        rho = solution.measure(i)
        weights = {name: rho.weights(name) for name in rho.blocks}
        facts[f"frame {i}"] = _plain([dict(rho.blocks), weights, rho.t, rho.depth_weights])
    facts["settings"] = _plain(solution.settings)
    facts["objective"] = _plain(describe(solution.objective))
    facts["observers"] = _plain(describe(dict(solution.observers)))
    facts["stats"] = {name: n for name, n in solution.stats.items() if not name.startswith("seconds")}
    return facts


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else repr(value)


def _told(path: Path, *arguments: str) -> str:
    """What ``wflow`` prints about a trajectory; a refusal is an :class:`wflow.InputError`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*arguments, str(path)])
    lines = err.getvalue().splitlines()
    if code == 2 and len(lines) == 1 and lines[0].startswith("wflow: "):
        raise wflow.InputError(lines[0])
    if code:
        raise AssertionError(f"wflow {arguments[0]} ends with {code}: {err.getvalue()!r:.200}")
    # without what depends on the clock and on the file system
    return "\n".join(
        line for line in out.getvalue().splitlines() if "last written" not in line and "time  " not in line
    )


def examine(path: Path, tau_end: float | None, known: Facts | None = None) -> Facts:
    """The facts of a trajectory, or the :class:`wflow.InputError` in place of each part that is refused.

    Figures are drawn where loading gives others than the known ones.
    """
    found: dict[str, Any] = {}

    def note(what: str, call: Callable[[], Any]) -> bool:
        try:
            found[what] = call()
        except wflow.InputError as error:
            found[what] = error
        return not isinstance(found[what], wflow.InputError)

    def drawn() -> int:
        solution = wflow.load(path)
        kind = "density" if isinstance(solution.measure(0), wflow.Grid) else "clouds"
        return sum(len(figures.draw(name, solution).axes) for name in ("energy", kind))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = note("load", lambda: facts_of(wflow.load(path)))
        note("info", lambda: _told(path, "info"))
        if loaded and (known is None or found["load"] != known["load"]):  # of the same solution, the same figures
            note("figure", drawn)
        note("resume", lambda: facts_of(wflow.resume(path, tau_end, progress=False)))
    return found


def judge(path: Path, victim: Victim) -> Outcome:
    """Examine a file, and compare what it gives with the facts of its victim."""
    try:
        found = examine(path, victim.tau_end, victim.facts)
    except BaseException as error:
        said = isinstance(error, wflow.SolveError) and not victim.checked  # numbers that no run goes on from
        return Outcome("other") if said else Outcome("fault", _place(error))
    refused = [what for what, value in found.items() if isinstance(value, wflow.InputError)]
    words = {what: str(found[what]) for what in refused}
    for what, text in words.items():
        if any(lack in text for lack in LACK):
            return Outcome("fault", f"{what} takes more memory than it may: {text:.120}")
        if not text or len(text.splitlines()) > 1 or len(text) > 600:
            return Outcome("fault", f"{what} is refused in {len(text)} characters: {text[:120]!r}")
    result = "refused" if refused else "equal"
    for what in found.keys() - set(refused):
        if victim.facts is not None and found[what] != victim.facts.get(what):
            result = result if refused else "other"
            if victim.checked:
                return Outcome(
                    "fault", f"{what} gives other values: {_difference(found[what], victim.facts.get(what))}"
                )
    return Outcome(result, refused=tuple(refused))


def _difference(a: Any, b: Any) -> str:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return next(
            (f"{name} {_difference(a.get(name), b.get(name))}" for name in a if a[name] != b.get(name)), "names"
        )
    return f"{a!r:.70} for {b!r:.70}"


def _place(error: BaseException) -> str:
    """An exception, and where in the package it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/wflow/" in f.filename]
    place = f" at wflow/{frames[-1].filename.rpartition('/wflow/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {error!s:.120}"


# Whole files


def victims() -> dict[str, Victim]:
    """Small trajectories of every kind, each with its facts; this also compiles what the forks will need."""
    made = {name: replace(victim, facts=_facts(victim)) for name, victim in _made()}
    for name, victim in made.items():
        for what, value in (victim.facts or {}).items():
            if isinstance(value, wflow.InputError):
                raise AssertionError(f"{name} is whole, but {what} refuses it: {value}")
    return made


def _facts(victim: Victim) -> Facts:
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        return examine(victim.write(Path(folder)), victim.tau_end)


def _made() -> Iterator[tuple[str, Victim]]:
    rng = np.random.default_rng(0)
    tokens, labels = rng.standard_normal((3, 2, 3)), rng.standard_normal(3)
    data = wflow.Dataset(tokens, labels)
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), 0.01, layers=2)
    rho = wflow.Particles(theta=rng.standard_normal((2, 3, 8)), w=rng.standard_normal((2, 4, 4)))
    mass = {"theta": [[0.2, 0.3, 0.5]] * 2, "w": [[0.1, 0.2, 0.3, 0.4]] * 2}
    weighted = wflow.Particles(theta=rho.theta, w=rho.w, weights=mass)
    single = wflow.Particles(theta=rho.theta.astype(np.float32), w=rho.w.astype(np.float32))
    line = wflow.TransformerObjective(
        wflow.Dataset(np.ones((2, 1, 1)), [1.0, 2.0]), None, wflow.FeedForward("tanh"), 0.5, entropy=0.01, layers=1
    )
    centres = np.linspace(-4.5, 4.5, 10)
    hill = np.exp(-2 * np.add.outer(centres**2, centres**2))[None]
    grid = wflow.Grid(w=hill, box={"w": ((-5, 5), (-5, 5))})
    observe = {"heldout": wflow.observers.Risk(Q, data.subset([0, 1])), "risk again": wflow.observers.Risk(Q)}
    steps: dict[str, Any] = {"scheme": "heun", "dtau": 0.0625, "save": wflow.SaveAt(steps=2), "rng": 1}
    finished = _written(Q, rho, (0, 0.5), observe=observe, **steps)
    yield "particles", Victim(finished, 0.625)
    yield "killed", Victim(_written(Q, rho, (0, 0.5), observe=observe, killed="finish", **steps), None)
    yield "weighted", Victim(_written(Q, weighted, (0, 0.5), **steps), 0.625)
    yield "float32", Victim(_written(Q, single, (0, 0.5), **steps), 0.625)
    save = wflow.SaveAt(every=0.0625)
    yield "grid", Victim(_written(line, grid, (0, 0.25), scheme="finite-volume", rtol=1e-2, save=save), 0.3125)
    yield "version 2", Victim(_version_2(finished), 0.625, checked=False)
    many = {**steps, "dtau": 2**-10, "save": wflow.SaveAt(steps=128), "scheme": "euler"}
    yield "journal", Victim(_written(Q, rho, (0, 520 / 1024), killed="growth", **many), None)


def _written(energy: Any, rho: Any, tau_range: Any, killed: str = "", **options: Any) -> dict[str, bytes]:
    """The files of a run; of one that is killed at its end, or amid a change of structure."""
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        path = Path(folder) / NAME
        pid = os.fork() if killed else 0
        if pid:
            os.waitpid(pid, 0)
        elif killed:
            _die(killed)
            try:
                wflow.solve(energy, rho, tau_range, path=path, **options)
            finally:
                os._exit(1)
        else:
            wflow.solve(energy, rho, tau_range, path=path, **options)
        return {end: path.with_name(NAME + end).read_bytes() for end in _ENDS if path.with_name(NAME + end).exists()}


_ENDS = ("", ".resume", ".journal")


def _die(when: str) -> None:
    """Let this process die at the end of a run, or when half of a change has reached its file."""
    TrajectoryFile.CHECKPOINT_SECONDS = TrajectoryFile.CLOCK_SHARE = 0

    def end(*_: Any, **__: Any) -> Any:
        os._exit(0)

    def half(descriptor: int, changes: Sequence[storage.Change], size: int) -> None:
        for offset, data in changes[: len(changes) // 2]:
            storage.write_at(descriptor, data, offset)
        os._exit(0)

    if when == "finish":
        TrajectoryFile.finish = end  # type: ignore[method-assign]
    else:
        storage._apply = half


def _version_2(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same run as version 2 wrote it: without checksums, by the oldest format of HDF5."""
    new = io.BytesIO()
    with h5py.File(io.BytesIO(files[""]), "r") as old, h5py.File(new, "w") as file:

        def copy(name: str, thing: Any) -> None:
            if not name.endswith("crc32"):
                is_group = isinstance(thing, h5py.Group)
                made = file.require_group(name) if is_group else file.create_dataset(name, data=thing[()])
                _attributes(thing, made)

        old.visititems(copy)
        _attributes(old, file)
        file.attrs["format_version"] = 2
    with np.load(io.BytesIO(files[".resume"])) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays.pop("meta")))
    del meta["crc32"]
    stream = io.BytesIO()
    np.savez(stream, meta=np.array(json.dumps(meta)), **arrays)
    return {"": new.getvalue(), ".resume": stream.getvalue()}


def _attributes(old: Any, new: Any) -> None:
    for name, value in old.attrs.items():
        if name not in ("checksums", "crc32") and isinstance(value, (str, np.integer)):
            new.attrs[name] = value


# Mutations

Draw = np.random.Generator


def _place_in(content: bytearray, draw: Draw) -> int:
    """A place in a file: half of the time one that is not zero, since much is room."""
    place = int(draw.integers(len(content)))
    while draw.random() < 0.5 and content[place] == 0:
        place = int(draw.integers(len(content)))
    return place


def _length(draw: Draw) -> int:
    return int(2 ** draw.uniform(0, 12))


def _flip(content: bytearray, draw: Draw) -> str:
    places = [_place_in(content, draw) for _ in range(int(draw.integers(1, 4)))]
    for place in places:
        content[place] ^= 1 << int(draw.integers(8))
    return f"bits at {places}"


def _overwrite(content: bytearray, place: int, data: bytes) -> str:
    data = data[: len(content) - place]
    content[place : place + len(data)] = data
    return f"{len(data)} bytes at {place}"


def _zero(content: bytearray, draw: Draw) -> str:
    return _overwrite(content, _place_in(content, draw), bytes(_length(draw)))


def _randomise(content: bytearray, draw: Draw) -> str:
    return _overwrite(content, _place_in(content, draw), draw.bytes(_length(draw)))


def _truncate(content: bytearray, draw: Draw) -> str:
    del content[int(draw.integers(len(content))) :]
    return f"to {len(content)}"


def _exchange(content: bytearray, draw: Draw) -> str:
    n, a, b = _length(draw), _place_in(content, draw), _place_in(content, draw)
    one, other = bytes(content[a : a + n]), bytes(content[b : b + n])
    return f"{_overwrite(content, a, other)} and {_overwrite(content, b, one)}"


def _copy(content: bytearray, draw: Draw) -> str:
    a, b = _place_in(content, draw), _place_in(content, draw)
    return f"from {a}, {_overwrite(content, b, bytes(content[a : a + _length(draw)]))}"


def _insert(content: bytearray, draw: Draw) -> str:
    a, n = _place_in(content, draw), _length(draw)
    content[a:a] = content[a : a + n]
    return f"{n} bytes at {a}"


MUTATIONS: dict[str, Callable[[bytearray, Draw], str]] = {
    "bits flipped": _flip,
    "a block zeroed": _zero,
    "a block random": _randomise,
    "truncated": _truncate,
    "blocks exchanged": _exchange,
    "a range copied": _copy,
    "a range repeated": _insert,
}


def targets(made: Mapping[str, Victim]) -> list[tuple[str, str]]:
    """What is mutated: trajectories, checkpoints of two of them, and a journal."""
    extra = [("particles", ".resume"), ("grid", ".resume"), ("version 2", ".resume"), ("journal", ".journal")]
    return [(name, "") for name in made] + extra


def mutated(made: Mapping[str, Victim], seed: int, number: int) -> tuple[str, str, Victim]:
    """Mutated file of this number: which file it is, its mutation in words, and itself."""
    draw = np.random.default_rng([seed, number])
    kinds = targets(made)
    name, end = kinds[number % len(kinds)]
    way = list(MUTATIONS)[int(draw.integers(len(MUTATIONS)))]
    content = bytearray(made[name].files[end])
    words = MUTATIONS[way](content, draw)
    label = f"{name}, its {end[1:]}" if end and end[1:] != name else name
    files = {**made[name].files, end: bytes(content)}
    return label, f"{way}: {words}", replace(made[name], files=files)


# Forks


def in_fork(write: Callable[[Path], Path], judged: Callable[[Path], Outcome]) -> Outcome:
    """Judge a file in a fork with limits; the file stands in a folder of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="damage-", ignore_cleanup_errors=True) as folder:
        path = write(Path(folder))
        size = sum(place.stat().st_blocks * 512 for place in Path(folder).iterdir() if place.is_file())
        stream, target = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.close(stream)
                _limit(size)
                outcome = judged(path)
                os.write(target, json.dumps([outcome.result, outcome.fault]).encode())
            finally:
                os._exit(0)
        os.close(target)
        answer = b""
        while True:
            if select.select([stream], [], [], 1.0)[0]:
                if not (chunk := os.read(stream, 2**16)):
                    break
                answer += chunk
            elif time.monotonic() - began > PATIENCE and not _is_running(pid):  # else others keep the processors busy
                os.kill(pid, signal.SIGKILL)
                break
        os.close(stream)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.monotonic() - began
    if answer:
        result, fault = json.loads(answer)
        return Outcome(result, fault, seconds)
    hung = code in (-signal.SIGXCPU, -signal.SIGKILL)
    return Outcome("fault", "hangs" if hung else f"crash: its process ended with {code}", seconds)


def _is_running(pid: int) -> bool:
    """Whether a process would use a processor if it had one."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


def _limit(size: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + BYTES + BYTES_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge mutated and hostile files; 1 if there are faults."""
    from validation.hostile import HOSTILE, judged

    parser = argparse.ArgumentParser("python -m validation.damage", description="Damaged and hostile trajectories.")
    parser.add_argument("--files", type=int, default=10_000, help="how many are mutated (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    parser.add_argument("--one", type=int, metavar="N", help="mutated file N alone")
    parser.add_argument("--only", metavar="NAME", default="", help="those made by hand with this in their names alone")
    options = parser.parse_args(arguments)
    began, made = time.monotonic(), victims()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    faults: list[str] = []
    slowest = 0.0

    def count(kind: str, outcome: Outcome, words: str) -> None:
        nonlocal slowest
        slowest = max(slowest, outcome.seconds)
        for name in (kind, "all"):
            kinds[name]["files"] += 1
            kinds[name][outcome.result] += 1
        if outcome.fault:
            faults.append(f"{kind}, {words}: {outcome.fault}")
            print(f"FAULT {faults[-1]}", file=sys.stderr, flush=True)

    def judge_all() -> None:
        if options.one is None:
            for name, victim in made.items() if not options.only else ():
                outcome = in_fork(victim.write, lambda path, victim=victim: judge(path, victim))  # type: ignore[misc]
                if outcome.result != "equal":
                    outcome = replace(
                        outcome, fault=outcome.fault or f"a whole file is {outcome.result}", result="fault"
                    )
                count("not mutated", outcome, name)
            for name, make in HOSTILE.items():
                if options.only in name:
                    outcome = in_fork(*judged(make, made))
                    count(f"by hand: {name.partition(':')[0]}", outcome, name)
        for number in [options.one] if options.one is not None else range(0 if options.only else options.files):
            kind, words, victim = mutated(made, options.seed, number)
            outcome = in_fork(victim.write, lambda path, victim=victim: judge(path, victim))  # type: ignore[misc]
            count(f"mutated: {kind}", outcome, f"--seed {options.seed} --one {number}, {words}")
            if number % 1000 == 999:
                print(f"{number + 1} of {options.files}", file=sys.stderr, flush=True)

    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends with the table of what was judged
        judge_all()
    names = ("files", "refused", "equal", "other", "fault")
    print(f"{'':<32}" + "".join(f"{name:>9}" for name in names))
    for kind, n in [*((k, n) for k, n in kinds.items() if k != "all"), ("all", kinds["all"])]:
        print(f"{kind:<32}" + "".join(f"{n[name]:>9}" for name in names))
    print(f"{time.monotonic() - began:.0f} s; the slowest file took {slowest:.2f} s")
    print(*faults, sep="\n", end="\n" if faults else "")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
