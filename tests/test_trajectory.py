"""Trajectory files: what is in them, and what survives a kill."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

import wflow
from wflow.environment import environment
from wflow.observers import Risk
from wflow.trajectory import layout, reader, storage
from wflow.trajectory.checkpoint import resume_path

Problem = tuple[wflow.TransformerObjective, wflow.Particles]

#: A run of its own process: tiny, so that most of its time goes into writing.
PROGRAM = """
import sys
import numpy as np
import wflow.trajectory
rng = np.random.default_rng(2)
data = wflow.Dataset(rng.standard_normal((4, 2, 3)), rng.standard_normal(4), readout=(0, 2))
Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("tanh"), weight_decay=0.01, layers=2)
rho = wflow.Particles(w=rng.standard_normal((2, 3, 4)))
wflow.trajectory.TrajectoryFile.CHECKPOINT_SECONDS = 0.02
print("ready", flush=True)
wflow.solve(Q, rho, (0, 12), scheme="bs3", dtau=0.02, save=wflow.SaveAt(steps=3), path=sys.argv[1],
            observe={"risk_again": wflow.observers.Risk(Q)}, overwrite=True, rng=2)
print("done", flush=True)
"""


def contents(path: Path) -> dict[str, np.ndarray]:
    """Everything that is a result, up to the counts, as bytes compare."""
    with h5py.File(path) as file:
        steps, frames = file["series/count"][()], file["frames/count"][()]
        out = {f"series/{name}": data[:steps] for name, data in file["series"].items() if getattr(data, "shape", ())}
        out |= {f"observed/{name}": data[:steps] for name, data in file["series/observed"].items()}
        out |= {f"frames/{b}": file["frames"][b][:frames] for b in json.loads(file["frames"].attrs["blocks"])}
        return out | {"frames/tau": file["frames/tau"][:frames]}


def assert_same(a: Path, b: Path) -> None:
    """Bit for bit."""
    left, right = contents(a), contents(b)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


def test_round_trip(tmp_path: Path, small: Problem) -> None:
    objective, rho = small
    path = tmp_path / "run.h5"
    held_out = objective.dataset.subset([0, 1])
    observe = {"held_out": Risk(objective, held_out), "more": Risk(objective)}
    answer = wflow.solve(objective, rho, (0, 1), path=path, save=wflow.SaveAt(every=0.5), observe=observe, rng=11)
    memory = wflow.solve(objective, rho, (0, 1), save=wflow.SaveAt(every=0.5), observe=observe)
    loaded = wflow.load(path)
    for solution in (answer, loaded):
        for name, series in memory.series.items():
            assert series.tobytes() == solution.series[name].tobytes(), name
        assert (solution.observed["held_out"] == memory.observed["held_out"]).all()
        assert (solution.frame_tau == memory.frame_tau).all()
        for i in range(memory.n_frames):
            for block in rho.blocks:
                assert (solution.measure(i).blocks[block] == memory.measure(i).blocks[block]).all()
        assert solution.status is wflow.Status.FINISHED
        assert solution.stats["steps"] == memory.stats["steps"]
    assert loaded.objective.value(loaded.measure(-1)) == answer.energy[-1]
    header = loaded.attributes
    assert json.loads(header["versions"])["wflow"] == wflow.__version__
    assert json.loads(header["config"])["seed"] == 11 and json.loads(header["argv"])
    with pytest.raises(wflow.InputError, match="frame 9 does not exist"):
        loaded.measure(9)


def test_weights_depth_nodes_and_precision_survive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = wflow.Dataset(np.ones((2, 1, 1)), [1.0, 2.0])
    objective = wflow.TransformerObjective(data, feedforward=wflow.FeedForward(), depth="rk4-nodes", layers=2)
    weights = rng.random((5, 3))
    weights /= weights.sum(axis=1, keepdims=True)
    rho = wflow.Particles(w=rng.standard_normal((5, 3, 2)).astype(np.float32), weights={"w": weights})
    back = wflow.solve(objective, rho, (0, 0.1), path=tmp_path / "run.h5", rtol=1e-3).measure(0)
    assert back.dtype == np.float32 and (back.w == rho.w).all()
    assert (back.weights("w") == weights).all()
    np.testing.assert_array_equal(back.t, [0, 0.25, 0.5, 0.75, 1])
    assert back.depth_weights[1] == pytest.approx(1 / 3)


def test_opens_in_xarray(tmp_path: Path, small: Problem) -> None:
    answer = wflow.solve(*small, (0, 1), path=tmp_path / "run.h5", observe={"one": lambda rho: 1.0})
    series = xarray.open_dataset(tmp_path / "run.h5", group="series", engine="h5netcdf")
    np.testing.assert_array_equal(series["energy"].sel(tau=answer.tau[-1]), answer.energy[-1])
    frames = xarray.open_dataset(tmp_path / "run.h5", group="frames", engine="h5netcdf")
    assert frames["theta"].dims == ("tau", "t", "theta_particle", "theta_parameter")
    np.testing.assert_array_equal(frames["theta"].isel(tau=-1), answer.measure(-1).theta)
    series.close()
    frames.close()


def test_an_extension_equals_a_run_that_saved_at_the_old_end(tmp_path: Path, small: Problem) -> None:
    short, long = tmp_path / "short.h5", tmp_path / "long.h5"
    wflow.solve(*small, (0, 0.7), path=short)
    extended = wflow.resume(short, 1.5)
    wflow.solve(*small, (0, 1.5), path=long, save=wflow.SaveAt(tau=[0.7]))
    assert_same(short, long)
    assert extended.status is wflow.Status.FINISHED and extended.stats["steps"] == len(extended.tau) - 1


def test_resume_with_encoders_and_functions_of_ones_own(tmp_path: Path) -> None:
    class Shift:
        def n_parameters(self, dimension: int) -> int:
            return 1

        def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
            out = np.zeros_like(tokens)
            out[:, 0, 0] = weights @ parameters[:, 0]
            return out

        def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
            return np.zeros_like(tokens), np.full_like(parameters, cotangent[:, 0, 0].sum())

    objective = wflow.TransformerObjective(wflow.Dataset(np.zeros((3, 1, 1)), [1.0, 2.0, 3.0]), Shift(), layers=2)
    rho = wflow.Particles(theta=np.zeros((2, 3, 1)))
    path, whole = tmp_path / "run.h5", tmp_path / "whole.h5"
    observe = {"mean": lambda rho: rho.theta.mean()}
    wflow.solve(objective, rho, (0, 1), path=path, observe=observe)
    with pytest.raises(wflow.InputError, match="pass energy="):
        wflow.resume(path, 2)
    with pytest.raises(wflow.InputError, match=r"lambda> is of your own: pass observe=\{'mean': f\} to resume"):
        wflow.resume(path, 2, energy=objective)
    wflow.resume(path, 2, energy=objective, observe=observe)
    wflow.solve(objective, rho, (0, 2), path=whole, observe=observe, save=wflow.SaveAt(tau=[1.0]))
    assert_same(path, whole)


def test_existing_files_are_kept(tmp_path: Path, small: Problem) -> None:
    path = tmp_path / "run.h5"
    path.write_text("precious")
    with pytest.raises(wflow.InputError, match="exists already"):
        wflow.solve(*small, path=path)
    assert path.read_text() == "precious"
    wflow.solve(*small, (0, 0.1), path=path, overwrite=True)
    assert wflow.load(path).status is wflow.Status.FINISHED


def test_only_regular_files_are_replaced(tmp_path: Path, small: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(wflow.InputError, match="is no regular file"):
        wflow.solve(*small, (0, 0.1), path=pipe, overwrite=True)
    assert stat.S_ISFIFO(os.lstat(pipe).st_mode)


@pytest.mark.parametrize("name", ["run.h5.journal", "run.h5.resume", "run.h5.lock"])
def test_pipes_beside_a_trajectory_are_refused(tmp_path: Path, small: Problem, name: str) -> None:
    """A run neither replaces them nor waits for their readers, and a resume does not wait for their writers."""
    path, pipe = tmp_path / "run.h5", tmp_path / name
    os.mkfifo(pipe)
    with pytest.raises(wflow.InputError, match=rf"{name} is no regular file"):
        wflow.solve(*small, (0, 0.1), path=path)
    pipe.unlink()
    wflow.solve(*small, (0, 0.1), path=path)
    resume_path(path).unlink()
    os.mkfifo(resume_path(path))
    with pytest.raises(wflow.InputError, match=r"run.h5.resume is no regular file .* and no checkpoint"):
        wflow.resume(path, 0.2)


def test_pipes_are_no_trajectories(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (wflow.load, wflow.resume):
        with pytest.raises(wflow.InputError, match=r"is no regular file .* and no trajectory"):
            read(tmp_path / "pipe")


def test_wrong_files_are_named(tmp_path: Path, small: Problem) -> None:
    good, text, foreign, cut = (tmp_path / name for name in ("good.h5", "text.h5", "foreign.h5", "cut.h5"))
    wflow.solve(*small, (0, 0.1), path=good)
    text.write_text("not HDF5")
    with h5py.File(foreign, "w") as file:
        file["x"] = 1.0
    whole = good.read_bytes()
    cases = [
        (tmp_path / "missing.h5", "does not exist"),
        (tmp_path, "is a folder"),
        (text, "is not an HDF5 file"),
        (foreign, "no trajectory of wflow"),
    ]
    for path, message in cases:
        with pytest.raises(wflow.InputError, match=message):
            wflow.load(path)
    for share in (0.2, 0.5, 0.9, 0.99):
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(wflow.InputError, match="damaged"):
            wflow.load(cut)
    newer = tmp_path / "newer.h5"
    newer.write_bytes(whole)
    with h5py.File(newer, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(wflow.InputError, match=r"format version 99.*update wflow"):
        wflow.load(newer)


def test_checkpoints_are_checked(tmp_path: Path, small: Problem) -> None:
    path, other = tmp_path / "run.h5", tmp_path / "other.h5"
    for name in (path, other):
        wflow.solve(*small, (0, 0.1), path=name)
    with pytest.raises(wflow.InputError, match="must not be before the checkpoint"):
        wflow.resume(path, 0.05)
    resume_path(path).write_bytes(resume_path(other).read_bytes())
    with pytest.raises(wflow.InputError, match="belongs to another run"):
        wflow.resume(path, 1)
    resume_path(path).write_bytes(b"PK nonsense")
    with pytest.raises(wflow.InputError, match="is damaged"):
        wflow.resume(path, 1)
    resume_path(path).unlink()
    with pytest.raises(wflow.InputError, match="is missing"):
        wflow.resume(path, 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"h": float("nan")},
        {"tau": None},
        {"n_series": -1},
        {"steps": 2.5},
        {"notes": []},
        {"energy0": "1"},
        {"run": ...},
    ],
    ids=str,
)
def test_states_that_no_run_leaves_are_damage(tmp_path: Path, small: Problem, damage: dict[str, Any]) -> None:
    path = tmp_path / "run.h5"
    wflow.solve(*small, (0, 0.1), path=path)
    with np.load(resume_path(path)) as archive:
        arrays = dict(archive)
    meta = {name: x for name, x in (json.loads(str(arrays["meta"])) | damage).items() if x is not ...}
    with open(resume_path(path), "wb") as file:
        np.savez(file, **arrays | {"meta": np.array(json.dumps(meta))})
    with pytest.raises(wflow.InputError, match=r"cannot be resumed: its checkpoint .* is damaged"):
        wflow.resume(path, 1)


def test_a_failed_run_keeps_what_it_had(tmp_path: Path, small: Problem) -> None:
    objective, rho = small
    path = tmp_path / "run.h5"

    def explode(rho: wflow.Particles) -> float:
        if rho.theta[0, 0, 0] != start:
            raise ZeroDivisionError
        return 1.0

    start = rho.theta[0, 0, 0]
    with pytest.raises(ZeroDivisionError):
        wflow.solve(objective, rho, (0, 1), path=path, observe={"f": explode})
    assert wflow.load(path).status is wflow.Status.KILLED and wflow.load(path).n_frames == 1
    with pytest.raises(wflow.SolveError, match="raised Q"):
        wflow.solve(objective, rho, (0, 1e4), path=path, scheme="euler", dtau=400.0, overwrite=True)
    assert wflow.load(path).status is wflow.Status.ENERGY_ROSE


def launch(path: Path, **options: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"the program failed: {process.communicate()}")
    return process


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The whole run, and how long it takes once it is ready."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    process = launch(path)
    began = time.perf_counter()
    process.communicate()
    assert process.returncode == 0
    return path, time.perf_counter() - began


def check_killed_and_resumed(path: Path, whole: Path) -> None:
    killed = wflow.load(path)
    complete = wflow.load(whole)
    frames, steps = killed.n_frames, len(killed.tau)
    assert frames >= 1 and steps >= 3 * (frames - 1) + 1
    assert (killed.frame_tau == complete.frame_tau[:frames]).all()
    assert killed.energy.tobytes() == complete.energy[:steps].tobytes()
    for i in range(frames):
        assert (killed.measure(i).w == complete.measure(i).w).all()
    wflow.resume(path)
    assert_same(path, whole)


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_kill_at_random_moments(count: int, tmp_path: Path, uninterrupted: tuple[Path, float]) -> None:
    """SIGKILL: the file opens, every accepted frame is there, and the resumed run is the uninterrupted one."""
    whole, seconds = uninterrupted
    draw = random.Random(count)
    killed = 0
    for k in range(count):
        path = tmp_path / f"run{k}.h5"
        process = launch(path)
        time.sleep(draw.uniform(0.02, 0.9) * seconds)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if not path.exists():  # killed before the first frame was accepted: nothing to lose, nothing half-written
            continue
        check_killed_and_resumed(path, whole)
    assert killed >= 0.8 * count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_a_checkpoint(number: signal.Signals, tmp_path: Path, uninterrupted: tuple[Path, float]) -> None:
    whole, seconds = uninterrupted
    path = tmp_path / "run.h5"
    process = launch(path, stderr=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.2 * seconds)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    stopped = wflow.load(path)
    assert stopped.status is wflow.Status.INTERRUPTED and number.name in stopped.message
    wflow.resume(path)
    assert_same(path, whole)


def test_a_full_disk_ends_in_words(tmp_path: Path, uninterrupted: tuple[Path, float]) -> None:
    """A limit on the size of files stands in for a full disk. (The run before has compiled the kernels.)"""
    path = tmp_path / "run.h5"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    process = launch(path, stderr=subprocess.PIPE, preexec_fn=limit)
    _, words = process.communicate()
    assert process.returncode == 1
    assert "SolveError: cannot write" in words and "wflow resume" in words
    assert wflow.load(path).n_frames > 1


def test_a_running_file_can_be_read_at_every_moment(tmp_path: Path, uninterrupted: tuple[Path, float]) -> None:
    """Reading as fast as possible while frames are written as fast as possible."""
    complete = wflow.load(uninterrupted[0])
    path = tmp_path / "run.h5"
    process = launch(path)
    reads = 0
    while process.poll() is None:
        if path.exists():
            seen = wflow.load(path)
            last = seen.measure(-1)
            assert (last.w == complete.measure(seen.n_frames - 1).w).all()
            reads += 1
    process.communicate()
    assert process.returncode == 0 and reads > 10


def test_a_file_of_version_1_opens_and_resumes(tmp_path: Path) -> None:
    """A Transformer with factored heads and biased neurons, observed on held-out data, run by version 1 to tau = 1."""
    for name in ("version1.h5", "version1.h5.resume"):
        shutil.copy(Path(__file__).parent / "data" / name, tmp_path)
    path = tmp_path / "version1.h5"
    solution = wflow.load(path)
    objective, rho = solution.objective, solution.measure(-1)
    assert solution.attributes["format_version"] == 1 and solution.frame_tau.tolist() == [0, 0.5, 1]
    assert solution.energy[[0, -1]] == pytest.approx([1.2502171477361164, 0.4865538470026458], rel=1e-15)
    assert objective.value(rho) == pytest.approx(solution.energy[-1], rel=1e-12)
    assert objective.encoders == {
        "theta": wflow.SoftmaxAttention(factored=True, rank=1),
        "w": wflow.FeedForward("tanh", bias=True),
    }
    assert (objective.rule.name, objective.weight_decay, objective.dataset.name) == ("midpoint", 0.01, "signs")
    assert rho.theta[0, 0, 0] == 1.8560935885493843

    resumed = wflow.resume(path, 2)
    assert resumed.frame_tau.tolist() == [0, 0.5, 1, 1.5, 2] and resumed.stats["steps"] == 12
    assert resumed.energy[-1] == pytest.approx(0.3241287896597933, rel=1e-9)
    assert resumed.measure(-1).w[1, 2, 3] == pytest.approx(-0.8968459657154778, rel=1e-9)
    assert resumed.observed["held-out risk"][7] == pytest.approx(1.0936550692645974, rel=1e-12)
    assert resumed.observed["training error rate"][[7, -1]].tolist() == [1 / 6, 1 / 6]
    assert len(resumed.observed["held-out risk"]) == 13


def test_files_of_version_2_open_and_resume(tmp_path: Path) -> None:
    """Heads and neurons of unlike weights to tau = 1, and a compressed density to 0.5, by version 2."""
    for name in ("version2.h5", "version2.h5.resume", "version2-grid.h5", "version2-grid.h5.resume"):
        shutil.copy(Path(__file__).parent / "data" / name, tmp_path)
    path, grid = tmp_path / "version2.h5", tmp_path / "version2-grid.h5"
    old = wflow.load(path)
    assert old.attributes["format_version"] == 2 and old.frame_tau.tolist() == [0, 0.5, 1]
    assert old.energy[[0, -1]].tolist() == [0.4258789695185045, 0.35640035284956695]
    rho = old.measure(0)
    assert rho.w[0, 0, 0] == -0.7784606028005082 and old.measure(-1).theta[1, 2, 3] == 0.999258989376629
    assert rho.weights("w").tolist() == [[0.1, 0.2, 0.3, 0.4]] * 2
    resumed = wflow.resume(path, 2)
    assert resumed.attributes["format_version"] == 3 and resumed.frame_tau.tolist() == [0, 0.5, 1, 1.5, 2]
    assert resumed.stats["steps"] == 10 and (resumed.energy[: len(old.energy)] == old.energy).all()
    assert resumed.energy[-1] == pytest.approx(0.31268455660766237, rel=1e-9)
    assert resumed.measure(-1).w[1, 2, 3] == pytest.approx(-0.8977361987553172, rel=1e-9)
    assert resumed.observed["held-out risk"].shape == resumed.tau.shape

    density = wflow.load(grid).measure(-1)
    assert density.w[0, 7, 8] == 0.006001852431258512
    assert wflow.resume(grid, 0.6).measure(2).w.tobytes() == density.w.tobytes()


def test_a_second_writer_is_refused(tmp_path: Path, small: Problem) -> None:
    """While a run writes, another run and a resume of the same path, under any of its names, end in one line."""
    path, link = tmp_path / "run.h5", tmp_path / "link.h5"
    link.symlink_to(path)
    refused = []

    def intruder(rho: Any) -> float:
        for write in (lambda: wflow.solve(*small, (0, 0.1), path=path, overwrite=True), lambda: wflow.resume(link)):
            try:
                write()
            except wflow.InputError as error:
                refused.append(str(error))
        return 0.0

    wflow.solve(*small, (0, 0.2), path=path, dtau=0.1, observe={"intruder": intruder})
    assert len(refused) == 6 and all("another run is writing" in words for words in refused)
    assert wflow.load(path).status is wflow.Status.FINISHED and not (tmp_path / "run.h5.lock").exists()
    assert wflow.resume(path, 0.3, observe={"intruder": lambda rho: 0.0}).tau[-1] == 0.3


def test_locks_of_the_killed_and_files_of_others_are_no_obstacle(tmp_path: Path, small: Problem) -> None:
    path, lock = tmp_path / "run.h5", tmp_path / "run.h5.lock"
    lock.touch()
    wflow.solve(*small, (0, 0.1), path=path)
    assert not lock.exists()
    lock.write_text("precious")
    wflow.resume(path, 0.2)
    assert lock.read_text() == "precious"


@pytest.mark.parametrize("kilobytes", [4, 100])
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, kilobytes: int) -> None:
    """A limit on the size of files, like a full disk, when the file is made: HDF5 can crash there."""
    program = f"""
import resource, numpy as np, wflow
Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * {kilobytes},) * 2)
try:
    wflow.solve(Q, wflow.Particles(x=np.ones((20000, 1))), (0, 1), path={str(tmp_path / "run.h5")!r})
except wflow.InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert len(done.stdout.splitlines()) == 1 and done.stdout.startswith(f"cannot write {tmp_path / 'run.h5'}: ")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_ahead_of_its_trajectory_is_refused(tmp_path: Path, small: Problem) -> None:
    """As after a power cut, or beside an older copy: what it counts is not there."""
    path, early = tmp_path / "run.h5", tmp_path / "early.h5"

    def copy(rho: Any) -> float:
        if path.exists() and not early.exists():
            shutil.copy(path, early)
        return 0.0

    wflow.solve(*small, (0, 0.5), path=path, dtau=0.1, save=wflow.SaveAt(steps=1), observe={"copy": copy})
    shutil.copy(early, path)
    with pytest.raises(wflow.InputError, match=r"its checkpoint is ahead of it, with 6 series entries and 6 frames"):
        wflow.resume(path, observe={"copy": copy})


def test_solutions_know_when_their_file_is_another(tmp_path: Path, small: Problem) -> None:
    path = tmp_path / "run.h5"
    steps = {"dtau": 0.1, "save": wflow.SaveAt(steps=1)}
    first = wflow.solve(*small, (0, 0.5), path=path, **steps)
    assert np.isfinite(first.measure(5).w).all()
    ended = wflow.solve(*small, (0, 0.3), path=path, overwrite=True, max_seconds=1e-9, **steps)
    with pytest.raises(wflow.InputError, match="holds another run than when it was loaded"):
        first.measure(5)
    assert ended.n_frames == 2
    again = wflow.resume(path)
    assert (ended.measure(1).w == again.measure(1).w).all()
    shorter = wflow.load(path)
    with h5py.File(path, "r+") as file:
        file["frames/tau"][2] = 0.25
    with pytest.raises(wflow.InputError, match=r"frame 2 of .* is gone since it was loaded"):
        shorter.measure(2)


def test_modes_are_kept(tmp_path: Path, small: Problem) -> None:
    """What its owner alone may read, they alone may read after it has gone on, checkpoint and all."""
    path = tmp_path / "run.h5"
    wflow.solve(*small, (0, 0.1), path=path)
    path.chmod(0o600)
    wflow.resume(path, 0.2)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(resume_path(path).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["a", "another"])
def test_counts_are_written_at_once(tmp_path: Path, small: Problem, name: str) -> None:
    """They do not cross the pages of the memory, between which a kill can stop a write."""
    path = tmp_path / "run.h5"
    wflow.solve(*small, (0, 0.1), path=path, attributes={name: "text"})
    with storage.opened(path) as file:
        places = layout.Layout.of(file)
    assert [place % 8 for place in places.counts] == [0, 0]
    assert all((np.array(column.offsets) % 8 == 0).all() for column in places.columns.values())


def test_new_room_has_no_times(tmp_path: Path, small: Problem) -> None:
    """From the moment at which it is there."""
    path = tmp_path / "run.h5"
    solution = wflow.solve(*small, (0, 0.1), path=path)
    descriptor = os.open(path, os.O_RDWR)
    with storage.edited(path, descriptor, solution.attributes["run"]) as file:
        layout.resize(file, steps=2000, frames=2000)
    os.close(descriptor)
    with h5py.File(path) as file:
        for group, n in (("series", len(solution.tau)), ("frames", solution.n_frames)):
            tau = file[group]["tau"]
            assert len(tau) == 2000 and np.isnan(tau[n:]).all() and np.isfinite(tau[:n]).all()


def test_a_writer_without_its_lock_is_refused(tmp_path: Path, small: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each of its tries meets a lock that has just been removed."""
    monkeypatch.setattr(os.path, "samestat", lambda *stats: False)
    with pytest.raises(wflow.InputError, match="another run is writing"):
        wflow.solve(*small, (0, 0.1), path=tmp_path / "run.h5")


def test_a_run_that_ends_while_it_is_read_is_not_killed(
    tmp_path: Path, small: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, running, looks = tmp_path / "run.h5", tmp_path / "running.h5", []

    def copy(rho: Any) -> float:
        if path.exists() and not running.exists():
            shutil.copy(path, running)
        return 0.0

    wflow.solve(*small, (0, 0.2), path=path, dtau=0.1, observe={"copy": copy})
    assert wflow.load(running).status is wflow.Status.KILLED

    def look(place: Path) -> bool:
        looks.append(place)
        if len(looks) == 2:  # after the first look at the file
            shutil.copy(path, running)
        return False

    monkeypatch.setattr(reader, "is_locked", look)
    assert wflow.load(running).status is wflow.Status.FINISHED


def test_a_file_is_read_again_whose_writer_ended_meanwhile(
    tmp_path: Path, small: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, failures = tmp_path / "run.h5", [OSError("half a change")]
    wflow.solve(*small, (0, 0.1), path=path)
    monkeypatch.setattr(reader, "is_locked", lambda place: bool(failures))

    def fail(file: Any) -> int:
        if failures:
            raise failures.pop()
        return 1

    assert reader.read(path, fail) == 1


def test_a_pipe_in_the_place_of_a_lock_does_not_stop_a_reader(tmp_path: Path, small: Problem) -> None:
    path = tmp_path / "run.h5"
    wflow.solve(*small, (0, 0.1), path=path)
    os.mkfifo(tmp_path / "run.h5.lock")
    assert wflow.load(path).status is wflow.Status.FINISHED


def test_another_environment_is_said_and_recorded(tmp_path: Path, small: Problem) -> None:
    path = tmp_path / "run.h5"
    wflow.solve(*small, (0, 1), path=path, max_seconds=1e-9)
    now, words = environment(), r"run\.h5 goes on with numba .*, now 9\.9: it need not equal"
    with pytest.warns(RuntimeWarning, match=words) as said, pytest.MonkeyPatch.context() as patch:
        patch.setattr("wflow.trajectory.provenance.environment", lambda: now | {"numba": "9.9"})
        wflow.resume(path, max_seconds=1e-9)
        wflow.resume(path, max_seconds=1e-9)
    assert len(said) == 1
    with pytest.warns(RuntimeWarning, match=r"goes on with numba 9\.9, now "):
        wflow.resume(path)
    records = json.loads(wflow.load(path).attributes["environment"])
    assert [(record["from"], record["environment"]["numba"]) for record in records] == [
        (0, now["numba"]),
        (2, "9.9"),
        (4, now["numba"]),
    ]


def test_a_disk_that_is_full_from_any_moment_on(tmp_path: Path, small: Problem, tight: None) -> None:
    """One line of words; the file opens with all frames, and once there is space a resume goes on to the same end."""
    options: dict[str, Any] = {"dtau": 0.25, "save": wflow.SaveAt(steps=1), "tau_range": (0, 1.5)}
    whole = tmp_path / "whole.h5"
    with Calls() as calls:
        wflow.solve(*small, path=whole, **options)
    assert calls.count > 200
    for k, last in enumerate(range(0, calls.count, 29)):
        path = tmp_path / f"{k}.h5"
        with Calls(last), pytest.raises((wflow.InputError, wflow.SolveError), match=f"cannot write {path}") as said:
            wflow.solve(*small, path=path, **options)
        assert "\n" not in str(said.value) and "No space left" in str(said.value)
        if said.type is wflow.InputError:
            assert not [name for name in os.listdir(tmp_path) if name.startswith(f"{k}.h5")]
            continue
        broken = wflow.load(path)
        assert all(broken.measure(i).blocks for i in range(broken.n_frames))
        wflow.resume(path)
        assert_same(path, whole)


class Calls:
    """Counts the calls that need space, and refuses all but the first so many."""

    def __init__(self, last: float = np.inf) -> None:
        self.count, self.last, self.patch = 0, last, pytest.MonkeyPatch()

    def __enter__(self) -> Calls:
        for name in ("pwrite", "fsync", "ftruncate", "truncate"):
            self.patch.setattr(os, name, self.counted(getattr(os, name)))
        return self

    def __exit__(self, *error: object) -> None:
        self.patch.undo()

    def counted(self, call: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count > self.last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments)

        return counted


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little room that files grow all the time."""
    for name, value in {"ENTRIES": 2, "MORE_ENTRIES": 2, "CHUNK_BYTES": 1, "MORE_BYTES": 1}.items():
        monkeypatch.setattr(f"wflow.trajectory.layout.{name}", value)
