"""Studies: found in their folder, run end to end, stopped and resumed; what failed is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from validation import __main__ as command
from validation import atoms, checkout, page, report, studies, study
from validation.statistics import bootstrap, power_law
from validation.study import Claim, Runs, Table, at_most, within

#: A study of one file.
SQUARES = '''"""Squares: is y = x^2 the product of x_1 and x_1?

Numbers a * b * c, and ``code_of|it``,
on two lines.

    y = x^2   |   an equation
"""

from matplotlib.figure import Figure

from validation.study import Table, at_most

COST = 0.1
CAPTION = "x_1 against y."


def cases(full):
    return [{"x": x} for x in ((1, 2, 3) if full else (1, 2))]


def measure(x):
    return {"y": x * x}


def claims(runs):
    return [at_most(f"error of {case['x']}", abs(answer["y"] - case["x"] ** 2), 0) for case, answer in runs]


def findings(runs):
    return [f"{len(runs)} numbers, the last {runs[-1][1]['y']}."]


def table(runs):
    return Table("Some squares", ["x", "y"], [[case["x"], float(answer["y"])] for case, answer in runs])


def figure(runs):
    drawing = Figure()
    drawing.subplots().plot([case["x"] for case, _ in runs], [answer["y"] for _, answer in runs])
    return drawing
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of studies."""
    path = tmp_path / "studies"
    path.mkdir()
    known = set(sys.modules)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(path)])
    yield path
    for name in set(sys.modules) - known:
        if name.startswith("validation.studies."):
            del sys.modules[name]
            monkeypatch.delattr(studies, name.split(".")[2], raising=False)


def run(tmp_path: Path, *arguments: str) -> int:
    """The command with threads for processes, so that it knows the second folder, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "local_executor", ThreadPoolExecutor)
        return command.main([*arguments, "-o", str(tmp_path / "out"), "--workers", "1"])


def test_a_study_of_one_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the folder is a study: nothing else names it."""
    (folder / "some_squares.py").write_text(SQUARES)
    assert "some-squares" in study.names()
    assert run(tmp_path, "some-squares", "--docs", str(tmp_path / "docs")) == 0
    told = capsys.readouterr().out
    assert "some-squares: Squares: is y" in told and "pass  error of 2: 0 (at most 0)" in told
    assert "* 2 numbers, the last 4." in told and "all claims passed" in told
    page = (tmp_path / "docs/some-squares.md").read_text()
    assert page.startswith(
        "# Squares: is y = x^2 the product of x\\_1 and x\\_1?\n\nNumbers a \\* b \\* c, and `code_of|it`, on"
    )
    assert "```text\ny = x^2   |   an equation\n```" in page and "| error of 1 | 0 |  |  | at most 0 | pass |" in page
    assert "* 2 numbers, the last 4." in page and "![some squares](some-squares.png)\n\n*x\\_1 against y.*" in page
    assert "*Some squares*\n\n| x | y |\n| --- | --- |\n| 1 | 1 |\n| 2 | 4 |" in page
    assert (tmp_path / "docs/some-squares.png").read_bytes().startswith(b"\x89PNG")
    assert "some-squares.md) | 2 of 2 |" in (tmp_path / "docs/index.md").read_text()
    html = (tmp_path / "out/report.html").read_text()
    assert '<section id="some-squares">' in html and "is y = x^2 the product of x_1 and x_1?</h1>" in html
    assert "a * b * c, and <code>code_of|it</code>" in html and "y = x^2   |   an equation" in html
    assert '<img src="data:image/png;base64,iVBOR' in html and "<td>error of 2</td>" in html
    assert (tmp_path / "out/figures/some-squares.pdf").read_bytes().startswith(b"%PDF")


def test_a_study_of_two_experiments(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of EXPERIMENTS; one that fails is told, and the other one is reported all the same."""
    (folder / "two").mkdir()
    (folder / "two/__init__.py").write_text('"""Two studies."""\nEXPERIMENTS = ("right", "bad")\n')
    (folder / "two/right.py").write_text(SQUARES)
    (folder / "two/bad.py").write_text(SQUARES.replace("x * x}", "x * x / (x - 1)}"))
    assert run(tmp_path, "two") == 1
    told = capsys.readouterr().out
    assert told.index("right: Squares") < told.index("pass  error of 2") < told.index("bad: Squares")
    assert "FAIL, it did not run" in told and "ZeroDivisionError" in told and "FAIL in two" in told
    html = (tmp_path / "out/report.html").read_text()
    assert html.count("<h2>Squares") == 2 and "ZeroDivisionError" in html and "2 of 2, 1 did not run" in html
    (folder / "two/bad.py").write_text(SQUARES.replace("runs[-1]", "runs[7]"))
    del sys.modules["validation.studies.two.bad"]
    assert run(tmp_path, "two") == 1
    assert "IndexError" in capsys.readouterr().out


def test_a_shared_answer_takes_its_seconds_once(folder: Path, tmp_path: Path) -> None:
    """Two experiments with the same cases of one function: each is computed once and counted once."""
    (folder / "twice").mkdir()
    (folder / "twice/__init__.py").write_text('"""Twice the same."""\nEXPERIMENTS = ("first", "second")\n')
    (folder / "twice/first.py").write_text(SQUARES)
    imported = "from validation.studies.twice.first import measure\n\n\ndef claims"
    second = SQUARES.replace('def measure(x):\n    return {"y": x * x}\n\n\ndef claims', imported)
    (folder / "twice/second.py").write_text(second)
    with ThreadPoolExecutor(1) as executor:
        (section,) = report.validate(["twice"], tmp_path / "out", executor)
    kept = list((tmp_path / "out/answers").glob("*.npz"))
    assert section.passed and len(section.parts) == 2 and len(kept) == 2
    assert section.seconds == pytest.approx(sum(float(np.load(path)["seconds"]) for path in kept), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "order", "words"),
    [
        (SQUARES, (), r"must name its modules \['squares'\] in order, got \(\)"),
        (SQUARES.replace("def table", "def tables").replace("COST", "PRICE"), ("squares",), "lacks COST, table"),
    ],
)
def test_what_is_no_study(folder: Path, text: str, order: tuple[str, ...], words: str) -> None:
    (folder / "wrong").mkdir()
    (folder / "wrong/__init__.py").write_text(f'"""No study."""\nEXPERIMENTS = {order!r}\n')
    (folder / "wrong/squares.py").write_text(text)
    (folder / "wrong/_shared.py").write_text("")
    with pytest.raises(ValueError, match=words):
        study.load("wrong")


def test_code_of_a_function_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with the package, the module and what that imports; not with other modules or those that draw."""
    texts = {
        "wflow/a.py": "",
        "validation/shared.py": "",
        "validation/drawing.py": "",
        "validation/other.py": "",
        "validation/indirect.py": "from validation import shared",
        "validation/plain.py": "",
        "validation/studies/one/_model.py": "import validation.plain",
        "validation/studies/one/__init__.py": "",
        "validation/studies/one/first.py": "from validation.indirect import x, drawing\nfrom . import _model",
        "validation/studies/one/second.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    module, path = "validation.studies.one.first", tmp_path / "validation/studies/one/first.py"
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__file__=str(path)))  # type: ignore[arg-type]
    function: Any = SimpleNamespace(__module__=module)
    for name in texts:
        before = checkout.code_of(function)
        assert checkout.code_of(function) == before
        (tmp_path / name).write_text(texts[name] + "\n")
        same = name.endswith(("drawing.py", "other.py", "second.py"))
        assert (checkout.code_of(function) == before) == same, name


def test_interrupt_and_resume(tmp_path: Path) -> None:
    """SIGTERM amid a study: exit code 75, answers kept and complete; the same command computes the others only."""
    (tmp_path / "studies").mkdir()
    slow = SQUARES.replace("x * x}", "x * x}  # slowly\n").replace(
        "def measure(x):", "def measure(x):\n    time.sleep(0.4)"
    )
    slow = slow.replace("((1, 2, 3) if full else (1, 2))", "range(6)").replace("\nCOST", "import time\n\nCOST", 1)
    (tmp_path / "studies/slow.py").write_text(slow)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom validation import __main__ as command, studies\n"
        f"studies.__path__.append({str(tmp_path / 'studies')!r})\n"
        "if __name__ == '__main__':\n    sys.exit(command.main(['slow', '-o', sys.argv[1], '--workers', '1']))\n"
    )
    run: Any = {
        "env": os.environ | {"PYTHONPATH": str(checkout.ROOT)},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "out")], text=True, **run)
    answers = tmp_path / "out" / "answers"
    deadline = time.monotonic() + 60
    while len(list(answers.glob("*.npz")) if answers.exists() else []) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75 and "SIGTERM: stopped" in err and "Traceback" not in err, out + err
    kept = {path: path.stat().st_mtime_ns for path in answers.glob("*.npz")}
    assert 2 <= len(kept) < 6 and not list(answers.glob("*.tmp"))
    again = subprocess.run([sys.executable, str(script), str(tmp_path / "out")], text=True, timeout=60, **run)
    assert again.returncode == 0 and "all claims passed" in again.stdout, again.stdout + again.stderr
    assert len(list(answers.glob("*.npz"))) == 6
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert "6 of 6 jobs" in again.stderr  # progress


@pytest.mark.parametrize(
    ("arguments", "words"), [(["limits"], "no study 'limits'; there are"), (["--workers", "0"], "at least 1")]
)
def test_bad_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2 and words in capsys.readouterr().err


def test_page(tmp_path: Path) -> None:
    claims = [within("a < b", 1.0, 2.0, 0.5, interval=(0.9, 1.1)), at_most("small", 0.1, 1.0)]
    parts = page.Part("", "", "", "", claims[1:], ["A finding."], tables=[Table("t", ["x"], [[0.5]])])
    good = page.Section("good", "Good", "Text.", [parts], 1.0)
    bad = page.Section("bad", "Bad", "", [page.Part("", "", "", "", claims)], 1.0)
    page.write([good, bad], tmp_path / "report.html", {"command": "x"})
    text = (tmp_path / "report.html").read_text()
    assert good.passed and not bad.passed and not page.Section("none", "None", "", [], 0.0).passed
    assert "a &lt; b" in text and "0.9 to 1.1" in text and "A finding." in text
    assert text.count("<strong>FAIL</strong>") == 2 and text.count("<td>pass</td>") == 3  # claims, and the index


def test_plain_text_stays_plain() -> None:
    """Whatever a claim says, the page says the same."""
    for text in (
        "|Q^ - Q| < 1 & a_1 * [b](c) ~ `d` $e$ #f {g} <h> \\i &lt;",
        "- no list",
        "1. no list",
        "+ none",
        "2) none",
    ):
        html = page._html(page._plain(text), {})
        assert re.fullmatch(r"<p>(.*)</p>\n", html).group(1) == escape(text, quote=False)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", study.names())
@pytest.mark.parametrize("full", [False, True])
def test_jobs_are_plain(name: str, full: bool) -> None:
    """Every measurement is a function of a module, so that any process can do it, and has a cost; texts are there."""
    loaded = study.load(name)
    assert loaded.doc and loaded.experiments
    for experiment in loaded.experiments.values():
        some = study.jobs(experiment, full)
        assert some and experiment.__doc__
        for job in some:
            assert json.dumps(job.arguments)
            assert getattr(sys.modules[job.function.__module__], job.function.__name__) is job.function and job.cost > 0


def test_runs() -> None:
    runs = Runs([({"x": 1.0}, {"y": 1}), ({"x": 2.0, "M": None}, {"y": 4})], True)
    assert [a["y"] for _, a in runs.of()] == [1, 4] and runs.one(x=2.0)["y"] == 4
    assert [a["y"] for _, a in runs.of(M=None)] == [4] and len(runs) == 2 and runs[1][1]["y"] == 4
    with pytest.raises(LookupError, match="0 cases have"):
        runs.one(x=3.0)


def test_intervals_cover() -> None:
    """95 % intervals of a fitted exponent and of a bootstrapped mean contain the true one about as often."""
    rng, x = np.random.default_rng(0), np.geomspace(1, 64, 12)
    exponents = means = 0
    for seed in range(200):
        low, high = power_law(x, 3 * x**-0.5 * np.exp(0.2 * rng.standard_normal(12))).interval
        exponents += low <= -0.5 <= high
        low, high = bootstrap(np.mean, rng.standard_normal(40), seed, 200)
        means += low <= 0 <= high
    assert 180 <= exponents <= 198 and 176 <= means <= 198


def test_claims() -> None:
    assert within("", 1.09, 1.0, 0.1).passed and not within("", 1.11, 1.0, 0.1).passed
    assert within("", 22.0, 20.0, 0.1, relative=True).passed and not within("", 1.0, -1.0, 0.5, relative=True).passed
    assert not within("", np.nan, 1.0, 0.1).passed and not at_most("", np.nan, 1.0).passed
    assert isinstance(within("", 1, 1, 0), Claim)


@pytest.mark.slow
def test_first_order_constants_of_transformers() -> None:
    """The depth constant against two depths extrapolated, the width constant against 400 draws, after training."""
    constant = atoms.constants(8)
    errors = {L: atoms.redrawn(1, L, 8, 0)["all_atoms"] - constant["prediction"] for L in (32, 64)}
    extrapolated = 128 * errors[64] - 32 * errors[32]
    assert np.abs(extrapolated - constant["depth"]).max() < 0.01 * np.abs(constant["depth"]).max()
    drawn = atoms.redrawn(16, 16, 8, 400)
    variance = 256 * np.mean((drawn["predictions"] - drawn["all_atoms"]) ** 2)
    assert abs(variance / np.mean(constant["width"]) - 1) < 0.25


def test_places_of_atoms() -> None:
    for kind in ("iid", "shared", "net"):
        i, j = atoms.places(8, 4, kind, 0)
        assert i.shape == j.shape == ((1, 8) if kind == "shared" else (4, 8))
        assert i.min() >= 0 and i.max() < atoms.K and not np.array_equal(i, j)
    net = np.sort(atoms.places(8, 4, "net", 0)[0].ravel())
    assert np.abs(np.bincount(net, minlength=atoms.K) - 32 / atoms.K).max() < 1.5  # iid: about 1.5 in the mean
