"""The command: exit codes, one line for every problem, interrupted and killed runs."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from test_runfile import SMALL, edited, write

import wflow
from wflow.cli import main
from wflow.schemes import Flow

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "import sys; from wflow.cli import main; sys.exit(main())"]
ENVIRONMENT = os.environ | {"NUMBA_NUM_THREADS": "1"}

#: Runs for hours.
ENDLESS = edited(("tau_end = 1\nrtol = 1e-3\natol = 1e-6", "dtau = 1e-4\ntau_end = 1e4\nsave = { steps = 100 }"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished trajectory. Nobody may change it."""
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", str(write(folder, SMALL)), "-o", str(folder / "out.h5"), "--quiet"]) == 0
    return folder / "out.h5"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, with its checkpoint."""
    for path in (finished, finished.with_name("out.h5.resume")):
        shutil.copy(path, tmp_path)
    return tmp_path / "out.h5"


def frames(output: Path) -> int:
    """How many frames a run has written so far."""
    try:
        return wflow.load(output).n_frames
    except (wflow.InputError, OSError):  # not there yet, or being written to right now
        return 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run in another process that has written some steps."""
    output = tmp_path / "long.h5"
    command = [*COMMAND, "run", str(write(tmp_path, ENDLESS)), "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    deadline = time.monotonic() + 300  # kernels may have to be compiled first
    while frames(output) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    yield process, output
    process.kill()
    process.communicate()


# Runs


def test_run_and_its_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(write(tmp_path, SMALL)), "-o", str(tmp_path / "out.h5")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("The run reached the end of its range of tau.\n") and err == ""
    for pattern in (
        r"tau +0 -> 1\n",
        r"Q +\d\.\d+ -> 0\.\d+\n",
        r"R +\d\.\d+ -> 0\.\d+\n",
        r"held-out risk +\d\.\d+ -> \d\.\d+\n",
        r"defect +\S+ of Q\(0\)",
        r"time +\S+ s prepare, \S+ s compile, \S+ s solve, \S+ s save\n",
        r"steps +\d+ steps, \d+ rejected, \d+ evaluations of the velocity\n",
        r"frames +2\n",
        r"file +.*out\.h5\n",
    ):
        assert re.search(pattern, out), pattern


def test_quiet_is_quiet(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(copy), "--tau-end", "1.1", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_overwrite(copy: Path) -> None:
    created = wflow.load(copy).attributes["run"]
    arguments = ["run", str(write(copy.parent, SMALL)), "-o", str(copy), "-q"]
    assert main(arguments) == 2
    assert wflow.load(copy).attributes["run"] == created
    assert main([*arguments, "--overwrite"]) == 0
    assert wflow.load(copy).attributes["run"] != created


def test_run_and_resume_equal_an_uninterrupted_run(tmp_path: Path) -> None:
    save = "tau_end = {}\nsave = {{ tau = [0.6] }}"
    text = write(tmp_path, edited(("tau_end = 1", save.format(1))))
    assert main(["run", str(text), "-o", str(tmp_path / "whole.h5"), "-q"]) == 0
    text = write(tmp_path, edited(("tau_end = 1", save.format(0.6))))
    assert main(["run", str(text), "-o", str(tmp_path / "parts.h5"), "-q"]) == 0
    assert main(["resume", str(tmp_path / "parts.h5"), "--tau-end", "1", "-q"]) == 0
    whole, parts = wflow.load(tmp_path / "whole.h5"), wflow.load(tmp_path / "parts.h5")
    assert whole.frame_tau.tolist() == [0, 0.6, 1]
    for name in whole.series:
        assert np.array_equal(whole.series[name], parts.series[name]), name
    assert np.array_equal(whole.observed["held-out risk"], parts.observed["held-out risk"])
    for i in range(3):
        for block in ("theta", "w"):
            assert np.array_equal(whole.measure(i).points(block), parts.measure(i).points(block))


def test_an_interrupted_run_exits_with_75_and_can_be_resumed(
    running: tuple[subprocess.Popen[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    process, output = running
    assert main(["info", str(output)]) == 0
    assert "The run is going on, or was killed" in capsys.readouterr().out
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and out == ""
    assert re.fullmatch(r"wflow: interrupted by SIGINT at tau = .*: wflow resume continues it\n", err), err

    assert main(["info", str(output)]) == 0
    assert capsys.readouterr().out.startswith("interrupted by SIGINT at tau = ")
    tau = wflow.load(output).tau[-1] + 0.002
    assert main(["resume", str(output), "--tau-end", f"{tau:.9g}"]) == 0
    assert wflow.load(output).status is wflow.Status.FINISHED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), wflow.Interrupted("interrupted by SIGINT")])
def test_an_interrupted_check_cannot_be_resumed(
    error: KeyboardInterrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(self: wflow.TransformerObjective, rho: wflow.Particles) -> None:
        if calls.pop():
            raise error

    calls, evaluate_ = [True, False, False], wflow.TransformerObjective.evaluate
    monkeypatch.setattr(
        wflow.TransformerObjective, "evaluate", lambda self, rho: evaluate(self, rho) or evaluate_(self, rho)
    )
    assert main(["check", str(write(tmp_path, SMALL)), "-q"]) == 130
    assert capsys.readouterr() == ("", "wflow: interrupted\n") and not calls


def test_a_run_in_parts_equals_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the option and by the key, which the option replaces; exit code 75 until it is complete."""
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    assert main(["run", str(write(tmp_path, SMALL)), "-o", str(whole), "-q"]) == 0
    text = write(tmp_path, edited(("tau_end = 1", "tau_end = 1\nmax_seconds = 1e-9")))
    assert main(["run", str(text), "-o", str(parts)]) == 75
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"wflow: max_seconds = 1e-09 were over at tau = .*: wflow resume .*\n", err), err
    assert len(wflow.load(parts).tau) == 2
    assert main(["info", str(parts)]) == 0
    assert capsys.readouterr().out.startswith("max_seconds = 1e-09 were over at tau = ")
    assert main(["run", str(text), "-o", str(parts), "-q", "--overwrite", "--max-seconds", "1e-8"]) == 75
    assert "max_seconds = 1e-08" in capsys.readouterr().err
    assert main(["resume", str(parts), "-q", "--max-seconds", "1e-9"]) == 75
    assert len(wflow.load(parts).tau) == 3
    assert main(["resume", str(parts), "-q", "--max-seconds", "0"]) == 2
    assert main(["resume", str(parts), "-q"]) == 0
    one, other = wflow.load(whole), wflow.load(parts)
    assert other.frame_tau.tolist() == one.frame_tau.tolist()
    assert all(other.series[name].tobytes() == one.series[name].tobytes() for name in one.series)
    assert other.measure(-1).theta.tobytes() == one.measure(-1).theta.tobytes()


def test_a_killed_run_can_be_read_and_resumed(
    running: tuple[subprocess.Popen[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    process, output = running
    process.kill()
    process.communicate()
    assert main(["info", str(output)]) == 0
    out = capsys.readouterr().out
    assert (
        "killed at tau = " in out
        and "wflow resume continues" in out
        and "last written to" in out
        and "evaluations" not in out
    )
    tau = wflow.load(output).tau[-1] + 0.002
    assert main(["resume", str(output), "--tau-end", f"{tau:.9g}"]) == 0
    assert "The run reached the end" in capsys.readouterr().out


def test_a_run_that_goes_wrong_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = edited(("rtol = 1e-3\natol = 1e-6", 'scheme = "euler"\ndtau = 500'), ("tau_end = 1", "tau_end = 1000"))
    assert main(["run", str(write(tmp_path, text)), "-o", str(tmp_path / "out.h5")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "Everything accepted before is in" in err
    assert main(["info", str(tmp_path / "out.h5")]) == 0
    assert "use a smaller dtau" in capsys.readouterr().out


# What can be looked at


def test_info(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(finished)]) == 0
    out = capsys.readouterr().out
    for pattern in (
        r"data +in-context regression \(linear\): tokens \(12, 4, 4\), 1 label\n",
        r"encoders +Attention\(.*\), FeedForward\(activation='tanh'",
        r"objective +weight_decay 0\.01, depth split-euler, 2 layers\n",
        r"measure +Particles\(theta=\(2, 4, 32\), w=\(2, 4, 8\), float64\)\n",
        r"method +dopri5, .*rtol 0\.001, atol 1e-06, to tau = 1\n",
        r"held-out risk",
        r"created +20\d\d-",
        r"seed +3\n",
        r"versions +wflow ",
        r"run file +stored",
    ):
        assert re.search(pattern, out), pattern


def test_info_of_an_energy_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Mine(wflow.FeedForward):
        pass

    data = wflow.Dataset(np.ones((1, 1, 1)), [2.0])
    objective = wflow.TransformerObjective(data, feedforward=Mine("identity"), layers=1)
    wflow.solve(objective, wflow.Particles(w=[[[1.0, 1.0]]]), (0, 1), path=tmp_path / "out.h5", dtau=0.5)
    assert main(["info", str(tmp_path / "out.h5")]) == 0
    assert "objective           of your own" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "out.h5"), "--tau-end", "2"]) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["energy", "--defect", "--tau-scale", "log"],
        ["clouds", "--coordinates", "0,1", "--frames", "0,-1"],
        ["predictions", "--heldout"],
    ],
)
def test_figures(finished: Path, tmp_path: Path, options: list[str]) -> None:
    target = tmp_path / "figure.png"
    assert main(["figure", options[0], str(finished), "-o", str(target), *options[1:]]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["energy", "--defect", "--tau-scale", "log"], {"defect": True, "tau_scale": "log"}),
        (["clouds", "--coordinates", "3,1", "--frames=-1,"], {"coordinates": (3, 1), "frames": [-1]}),
        (["depth", "--frames", "1"], {"frames": 1}),
        (["predictions"], {}),
        (["predictions", "--heldout"], {"dataset": None}),
    ],
)
def test_options_reach_the_figure(
    finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], arguments: dict[str, Any]
) -> None:
    told: list[Any] = []
    draw = wflow.figures.draw
    monkeypatch.setattr(wflow.figures, "draw", lambda *a, **k: told.append((a, k)) or draw(*a, **k))
    assert main(["figure", options[0], str(finished), "-o", str(tmp_path / "f.png"), *options[1:]]) == 0
    (((kind, solution), found),) = told
    heldout = wflow.load(finished).heldout
    if "dataset" in arguments:
        assert heldout is not None and found.keys() == {"dataset"}
        assert np.array_equal(found["dataset"].tokens, heldout.tokens)
        assert not np.array_equal(heldout.labels, solution.objective.dataset.labels)
    else:
        assert (kind, found) == (options[0], arguments)


def test_the_numbers_of_info_are_those_of_the_series(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(finished)]) == 0
    rows = dict(re.findall(r"^  (\S+(?: \S+)*)  +(.*)$", capsys.readouterr().out, re.MULTILINE))
    answer = wflow.load(finished)
    for name, values in {"Q": answer.energy, "R": answer.risk, **answer.observed}.items():
        assert [float(x) for x in rows[name].split(" -> ")] == pytest.approx([values[0], values[-1]], rel=1e-5), name
    share = abs(answer.series["defect"][-1]) / abs(answer.energy[0])
    assert answer.energy[0] > 1.1 * answer.energy[-1]
    assert float(rows["defect"].split(" of ")[0]) == pytest.approx(share, rel=0.05)
    assert rows["steps"].startswith(f"{len(answer.tau) - 1} steps, {answer.stats['rejected']} rejected")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in ((["--version"], f"wflow {wflow.__version__}\n"), (["--help"], "usage: wflow")):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0 and capsys.readouterr().out.startswith(words)
    for name in ("run", "resume", "info", "figure"):
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom wflow.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not {"ot", "matplotlib", "h5py", "numba", "tqdm", "scipy.stats"} & set(loaded)


def test_kernel(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table says what the functions return, frame by frame."""
    solution = wflow.load(finished)
    Q: Any = solution.objective
    for options, data in (([], Q.dataset), (["--by", "group", "--frames", "0,-1", "--heldout"], solution.heldout)):
        by = "group" if options else "block"
        assert main(["kernel", str(finished), *options]) == 0
        title, head, *rows, end = (re.split(r"  +", line) for line in capsys.readouterr().out.splitlines())
        assert title == [f"tangent kernel of {data.n_prompts} prompts of {data.name}"]
        assert head[:6] == ["tau", "lambda_max", "lambda_min", "fastest rate", "slowest rate", "variance"]
        assert len(end) == 1 and end[0].startswith("rates: lambda/B; variance: of") and len(rows) == 2
        for i, row in zip((0, -1), rows):
            spectrum = wflow.kernel_spectrum(Q, solution.measure(i), data)
            shares = wflow.tangent.kernel_shares(Q, solution.measure(i), data, by)
            assert head[6:] == [*shares]
            variance = wflow.output_variance(Q, solution.measure(i), 1.0, data).mean()
            assert row[-1 - len(shares)] == f"{variance:.4g}"
            assert wflow.observers.Amplification(Q, data)(solution.measure(i)) == variance
            assert row[:3] == [f"{solution.frame_tau[i]:.6g}", f"{spectrum.largest:.6g}", spectrum.words]
            assert row[3] == f"{spectrum.largest / data.n_prompts:.3g}"
            assert row[-len(shares) :] == [f"{100 * share:.3g}%" for share in shares.values()]
            kernels = wflow.tangent_kernel(Q, solution.measure(i), data, by=by)
            total = sum(np.trace(kernel) for kernel in kernels.values())
            assert [*shares.values()] == pytest.approx([np.trace(x) / total for x in kernels.values()], rel=1e-12)


def test_kernel_of_what_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heat = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2, lambda x: 2 * x)
    wflow.solve(heat, wflow.Particles(x=[[[1.0]]]), (0, 0.1), dtau=0.1, path=tmp_path / "run.h5")
    assert main(["kernel", str(tmp_path / "run.h5")]) == 2
    assert "holds no Transformer objective" in capsys.readouterr().err


# What can be wrong


def trajectory(change: Callable[[Path], Any]) -> Callable[[Path], list[str]]:
    """The arguments ``info out.h5`` after something has happened to the trajectory."""

    def arguments(output: Path) -> list[str]:
        change(output)
        return ["info", str(output)]

    return arguments


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def of_the_future(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99


def run(*changes: tuple[str, str], output: str = "new.h5") -> Callable[[Path], list[str]]:
    """The arguments ``run run.toml -o output`` for a changed run file."""
    return lambda copy: ["run", str(write(copy.parent, edited(*changes))), "-o", str(copy.parent / output)]


def run_npz(**arrays: Any) -> Callable[[Path], list[str]]:
    """Likewise for data of one's own."""
    old = SMALL[SMALL.index("kind") : SMALL.index("[attention]")]

    def arguments(copy: Path) -> list[str]:
        if arrays:
            np.savez(copy.parent / "mine.npz", **arrays)
        return run((old, 'kind = "npz"\npath = "mine.npz"\n'), ("[observe]", ""), ('heldout = ["risk"]', ""))(copy)

    return arguments


def resume(*options: str) -> Callable[[Path], list[str]]:
    return lambda copy: ["resume", str(copy), *options]


def resume_without_checkpoint(copy: Path) -> list[str]:
    copy.with_name("out.h5.resume").unlink()
    return ["resume", str(copy)]


def figure(kind: str, *options: str, output: str = "f.pdf") -> Callable[[Path], list[str]]:
    return lambda copy: ["figure", kind, str(copy), "-o", str(copy.parent / output), *options]


TOKENS, NAN = np.ones((4, 2, 3)), np.full((4, 2, 3), np.nan)

BAD: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "unknown key": (run(("tau_end = 1", "tau_end = 1\ndtua = 1")), "unknown key 'dtua' in [solve]; did you mean"),
    "unknown section": (run(("[observe]", "[obsrve]")), "unknown section [obsrve]; did you mean [observe]?"),
    "dtau negative": (run(("rtol = 1e-3\natol = 1e-6", "dtau = -1.0")), "dtau must be a positive finite number, got"),
    "end before start": (run(("tau_end = 1", "tau_end = 1\ntau_start = 2")), "tau_end must be after tau_start = 2.0"),
    "layers": (run(("layers = 2", "layers = 0")), "layers must be a positive integer, got 0 in [objective]"),
    "weight_decay": (run(("weight_decay = 0.01", "weight_decay = -1")), "weight_decay must be a non-negative"),
    "heldout": (run(("0.25", "1.5")), "heldout must be a number between 0 and 1, got 1.5 in [data]"),
    "activation": (run(("tanh", "tahn")), "activation must be one of 'identity', "),
    "rank": (run(("[attention]", "[attention]\nrank = 2")), "rank=2 needs factored=True"),
    "entropy": (run(("layers = 2", "layers = 2\nentropy = 0.1")), "does not treat internal energies"),
    "no TOML": (run(("[data]", "[data")), "is not valid TOML"),
    "NaN": (run_npz(tokens=NAN, labels=np.ones(4)), "mine.npz: tokens must be finite, got nan at index"),
    "tokens": (run_npz(tokens=np.ones((4, 2)), labels=np.ones(4)), "tokens must have shape (B, D, n), got"),
    "labels": (run_npz(tokens=TOKENS, labels=np.ones(5)), "labels must have one entry a prompt: got 5 labels for 4"),
    "readout": (run_npz(tokens=TOKENS, labels=np.ones(4), readout=[2, 0]), "readout entry (2, 0) is outside tokens"),
    "readout misspelt": (run_npz(tokens=TOKENS, labels=np.ones(4), raedout=[0, 0]), "unknown array raedout"),
    "no data": (run_npz(), "mine.npz: no such file"),
    "no run file": (lambda copy: ["run", str(copy.parent / "no.toml"), "-o", "x.h5"], "no.toml: cannot be read"),
    "output exists": (run(output="out.h5"), "out.h5 exists already; choose another name, or replace"),
    "no folder": (run(output="none/new.h5"), "none does not exist"),
    "resume: start": (resume("--tau-end", "-1"), "tau_range must end after it starts"),
    "resume: before": (resume("--tau-end", "0.5"), "tau_end must not be before the checkpoint at tau = 1"),
    "resume: nan": (resume("--tau-end", "nan"), "tau_range must end after it starts"),
    "resume: no checkpoint": (resume_without_checkpoint, "cannot be resumed: its checkpoint"),
    "foreign HDF5": (trajectory(foreign), "is an HDF5 file, but no trajectory of wflow"),
    "truncated HDF5": (trajectory(truncated), "is damaged"),
    "not HDF5": (trajectory(lambda path: path.write_text("hello")), "is not an HDF5 file, so no trajectory of wflow"),
    "empty file": (trajectory(lambda path: path.write_text("")), "is not an HDF5 file, so no trajectory of wflow"),
    "future": (trajectory(of_the_future), "has format version 99; this wflow reads up to 3: update wflow"),
    "missing": (trajectory(lambda path: path.unlink()), "does not exist"),
    "figure": (figure("energi"), "got 'energi'; did you mean 'energy'?"),
    "figure: suffix": (figure("energy", output="f.pfd"), "must end in .pdf, .svg, .eps or .png"),
    "figure: folder": (figure("energy", output="none/f.pdf"), "none does not exist"),
    "figure: option": (figure("energy", "--frames", "3"), "figure energy has no option --frames"),
    "figure: heldout": (figure("clouds", "--heldout"), "figure clouds has no option --heldout"),
    "figure: frames": (figure("clouds", "--frames", "7,8"), "frames must be "),
    "figure: coordinates": (figure("clouds", "--coordinates", "0,99"), "coordinates must be two of the 32 parameters"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(self: Flow, x: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(Flow, "evaluate", evaluate)
    arguments, expected = BAD[case][0](copy), BAD[case][1]
    before = sorted(path.name for path in copy.parent.iterdir())
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == "" and line.startswith("wflow: ") and expected in line
    assert sorted(path.name for path in copy.parent.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rnu"],
        ["run", "x.toml"],
        ["figure", "clouds", "x.h5", "-o", "x.pdf", "--coordinates", "1"],
        ["figure", "clouds", "x.h5", "-o", "x.pdf", "--frames", "some"],
        ["resume", "x.h5", "--tau-end", "later"],
    ],
)
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: wflow" in capsys.readouterr().err


def test_several_problems_are_several_lines_of_the_process(tmp_path: Path) -> None:
    path = write(tmp_path, edited(("layers = 2", "layers = 0"), ("tau_end = 1", "tau_ned = 1")))
    command = [*COMMAND, "run", str(path), "-o", str(tmp_path / "out.h5")]
    answer = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.splitlines() == [
        f"wflow: {path}: layers must be a positive integer, got 0 in [objective]",
        f"wflow: {path}: unknown key 'tau_ned' in [solve]; did you mean 'tau_end'?",
    ]


# The program that does the same in Python


def program(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["particles.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "solvers" / "particles.py"), run_name="__main__")
    return int(caught.value.code or 0)


def test_the_program_solves_the_problem_of_the_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--tau-end", "0.1", "--layers", "2", "--width", "2"]
    assert program(monkeypatch, "-o", str(tmp_path / "program.h5"), *small) == 0
    figures = {path.name for path in tmp_path.glob("*.pdf")}
    assert figures == {"program-energy.pdf", "program-clouds.pdf", "program-heldout.pdf"}

    text = (ROOT / "solvers" / "digits.toml").read_text(encoding="utf-8")
    for old, new in (("tau_end = 20", "tau_end = 0.1"), ("layers = 6", "layers = 2"), ("M = 32", "M = 2")):
        assert old in text
        text = text.replace(old, new)
    assert main(["run", str(write(tmp_path, text)), "-o", str(tmp_path / "file.h5"), "-q"]) == 0
    one, other = wflow.load(tmp_path / "program.h5"), wflow.load(tmp_path / "file.h5")
    assert (one.energy == other.energy).all() and set(one.observed) == set(other.observed)
    assert all((one.observed[name] == other.observed[name]).all() for name in one.observed)
    assert (one.measure(-1).theta == other.measure(-1).theta).all()


def test_an_interrupted_program_exits_with_75(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise wflow.Interrupted("interrupted by SIGTERM")

    monkeypatch.setattr(wflow, "solve", interrupted)
    assert program(monkeypatch, "-o", str(tmp_path / "x.h5"), "--width", "2", "--layers", "1") == 75


def test_ten_digits_are_learnt_by_cross_entropy(tmp_path: Path) -> None:
    """The run file of all digits, of fewer prompts, for a shorter time."""
    text = (ROOT / "solvers" / "ten-digits.toml").read_text(encoding="utf-8")
    unwatched = 'heldout = ["error-rate", "risk"]'
    for old, new in (("heldout = 0.5", "heldout = 0.9"), ("tau_end = 400", "tau_end = 50"), (unwatched, "")):
        assert old in text
        text = text.replace(old, new)
    assert main(["run", str(write(tmp_path, text)), "-o", str(tmp_path / "ten.h5"), "-q"]) == 0
    solution = wflow.load(tmp_path / "ten.h5")
    assert solution.objective.loss == "cross-entropy" and solution.objective.dataset.n_prompts == 179
    assert solution.risk[0] == pytest.approx(np.log(10), rel=0.02) and solution.risk[-1] < 0.8
    assert solution.observed["training error rate"][0] > 0.8 and solution.observed["training error rate"][-1] < 0.1
    assert main(["figure", "predictions", str(tmp_path / "ten.h5"), "-o", str(tmp_path / "ten.pdf")]) == 0


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    assert main(["run", str(ROOT / "solvers" / "digits.toml"), "-o", str(tmp_path / "digits.h5"), "-q"]) == 0
    solution = wflow.load(tmp_path / "digits.h5")
    assert solution.observed["training error rate"][-1] < 0.02
    assert solution.observed["held-out error rate"][-1] < 0.05
    assert (np.diff(solution.energy) <= 0).all()


@pytest.mark.slow
def test_ten_digits_are_learnt_to_the_last(tmp_path: Path) -> None:
    assert main(["run", str(ROOT / "solvers" / "ten-digits.toml"), "-o", str(tmp_path / "ten.h5"), "-q"]) == 0
    solution = wflow.load(tmp_path / "ten.h5")
    assert solution.observed["training error rate"][-1] == 0
    assert solution.observed["held-out error rate"][-1] < 0.06
    assert (np.diff(solution.energy) <= 0).all()
