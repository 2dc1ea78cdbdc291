"""Run files: what they mean, and that everything wrong with one is reported at once."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import wflow
from wflow import initial, runfile
from wflow.encoders import ENCODERS
from wflow.observers import ErrorRate, Risk
from wflow.runfile.sections import DATA, ENCODER_KEYS, LAWS, REQUIRED, SECTIONS, Key, keys_of
from wflow.types import Values

#: The named types, and those of single arguments: words and tests.
TYPES = {kind.words: kind.test for kind in vars(wflow.types).values() if isinstance(kind, Values)} | {
    key.type: key.values.test
    for keys in (*SECTIONS.values(), *DATA.values(), *LAWS.values(), *ENCODER_KEYS.values())
    for key in keys.values()
    if key.values
}

ROOT = Path(__file__).parents[1]

SMALL = """\
seed = 3

[data]
kind = "in-context"
n_prompts = 16
dimension = 1
context = 3
heldout = 0.25

[attention]

[feedforward]
activation = "tanh"

[objective]
layers = 2
weight_decay = 0.01

[initial]
M = 4
law = "gaussian"
std = 0.5

[solve]
tau_end = 1
rtol = 1e-3
atol = 1e-6

[observe]
heldout = ["risk"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def edited(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong, without the name of the file in front."""
    with pytest.raises(runfile.RunFileError) as caught:
        runfile.read(write(folder, text))
    prefix = f"{folder / 'run.toml'}: "
    assert all(line.startswith(prefix) for line in caught.value.problems)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return [line.removeprefix(prefix) for line in caught.value.problems]


# What a run file means


def test_a_run_file_is_the_same_problem_in_python(tmp_path: Path) -> None:
    run = runfile.read(write(tmp_path, SMALL))

    data_rng, particle_rng = np.random.default_rng(3).spawn(2)
    train, out = wflow.datasets.in_context_regression(16, 1, 3, data_rng).split(0.25, data_rng)
    objective = wflow.TransformerObjective(
        train, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.01, layers=2
    )
    rho0 = initial.gaussian(0.5).sample(objective, 4, particle_rng)
    expected = wflow.solve(
        objective, rho0, (0, 1), rtol=1e-3, atol=1e-6, rng=3, observe={"held-out risk": Risk(objective, out)}
    )

    solution = run.solve(tmp_path / "out.h5", progress=False)
    assert (solution.energy == expected.energy).all()
    assert (solution.observed["held-out risk"] == expected.observed["held-out risk"]).all()
    for block in rho0.blocks:
        assert (solution.measure(-1).points(block) == expected.measure(-1).points(block)).all()


def test_the_trajectory_keeps_the_run_file(tmp_path: Path) -> None:
    text = "# a remark: λ, \\ and a tab\t\r\n" + SMALL
    path = tmp_path / "run.toml"
    path.write_bytes(text.encode())
    run = runfile.read(path)
    run.solve(tmp_path / "out.h5", progress=False)
    attributes = wflow.load(tmp_path / "out.h5").attributes
    assert attributes["runfile"] == text == run.text
    assert json.loads(attributes["resolved"]) == run.resolved
    assert json.loads(attributes["config"])["seed"] == 3


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    resolved = runfile.read(write(tmp_path, SMALL)).resolved
    assert resolved["solve"] == {
        "scheme": "dopri5",
        "options": None,
        "tau_start": 0.0,
        "tau_end": 1.0,
        "dtau": None,
        "rtol": 1e-3,
        "atol": 1e-6,
        "tol": 1e-10,
        "save": None,
        "max_seconds": None,
    }
    assert resolved["attention"] == {
        "kind": "attention",
        "kernel": "softmax",
        "mask": None,
        "factored": False,
        "rank": None,
        "scale": 1.0,
    }
    assert resolved["objective"]["depth"] == "split-euler"
    assert isinstance(resolved["solve"]["tau_end"], float)  # integers are accepted for numbers


FUNCTIONS: list[tuple[str, dict[str, Key], Any]] = [
    *((f"data {kind}", DATA[kind], function) for kind, function in {
        "digits": wflow.datasets.digits,
        "in-context": wflow.datasets.in_context_regression,
        "diabetes": wflow.datasets.diabetes,
        "npz": wflow.datasets.from_npz,
    }.items()),
    *((f"law {law}", LAWS[law], getattr(initial, law)) for law in LAWS),
    ("objective", SECTIONS["objective"], wflow.TransformerObjective),
    ("initial", SECTIONS["initial"], initial.Law.sample),
    ("solve", SECTIONS["solve"], wflow.solve),
    ("save", SECTIONS["solve.save"], wflow.SaveAt),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "function"), [f[1:] for f in FUNCTIONS], ids=[f[0] for f in FUNCTIONS])
def test_keys_and_defaults_are_those_of_the_functions(keys: dict[str, Key], function: Any) -> None:
    parameters = inspect.signature(function).parameters
    own = {"heldout", "tau_start", "tau_end", "M", "dtype", "cells", "box", "options"}  # what a run file has besides
    assert set(keys) - own <= set(parameters)
    for name, key in keys.items():
        if name not in own:
            default = parameters[name].default
            expected = list(default) if isinstance(default, tuple) else default
            assert key.default == (REQUIRED if default is inspect.Parameter.empty else expected)
            assert key.default in (None, REQUIRED, []) or key.accepts(key.default)


def test_keys_of_an_encoder_come_from_its_class() -> None:
    class Encoder:
        def __init__(
            self,
            width: int,
            norm: Literal["layer", "rms"] = "layer",
            kernel: Annotated[str, ("softmax", "linear")] = "softmax",
            scale: float = 1.0,
            rank: int | None = None,
            causal: bool = False,
        ) -> None: ...

    assert keys_of(Encoder) == {
        "width": Key("a positive integer"),
        "norm": Key(("layer", "rms"), "layer"),
        "kernel": Key(("softmax", "linear"), "softmax"),
        "scale": Key("a finite number", 1.0),
        "rank": Key("a positive integer", None),
        "causal": Key("true or false", False),
    }
    for kind, keys in ENCODER_KEYS.items():
        assert "kind" not in keys and all(key.type in TYPES or isinstance(key.type, tuple) for key in keys.values())
        for key in keys.values():
            assert key.type != () and (key.default in (None, REQUIRED) or key.accepts(key.default)), kind


def test_encoders_by_kind(tmp_path: Path) -> None:
    """Either block may have either encoder."""
    text = edited(
        ("[attention]", '[attention]\nkind = "feedforward"\nhidden = 2'), ('"tanh"', '"tanh"\nkind = "feedforward"')
    )
    run = runfile.read(write(tmp_path, text))
    assert run.objective.encoders == {"theta": wflow.FeedForward(hidden=2), "w": wflow.FeedForward("tanh")}
    assert run.resolved["attention"] == {"kind": "feedforward", "activation": "relu", "hidden": 2, "bias": False}


@pytest.mark.parametrize(
    ("change", "block", "shape"),
    [
        (("[attention]", ""), "w", (2, 4, 8)),
        (('[feedforward]\nactivation = "tanh"', ""), "theta", (2, 4, 32)),
        (("[attention]", "[attention]\nfactored = true\nrank = 2"), "theta", (2, 4, 32)),
        (("M = 4", "M = { theta = 3, w = 5 }"), "w", (2, 5, 8)),
        (("layers = 2", 'depth = "rk4-nodes"\nlayers = 2'), "theta", (5, 4, 32)),
        (('activation = "tanh"', "hidden = 2\nbias = true"), "w", (2, 4, 18)),
        (("M = 4", 'kind = "net"\nM = 4'), "w", (2, 4, 8)),
    ],
)
def test_blocks(tmp_path: Path, change: tuple[str, str], block: str, shape: tuple[int, ...]) -> None:
    assert runfile.read(write(tmp_path, edited(change))).rho0.points(block).shape == shape


def test_laws_of_groups(tmp_path: Path) -> None:
    groups = """
[initial.V]
law = "ball"
radius = 1
[initial.W]
law = "gaussian"
std = "lecun"
[initial.w]
law = "atoms"
points = [[1, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]]
weights = [0.25, 0.75]
"""
    text = edited(('M = 4\nlaw = "gaussian"\nstd = 0.5\n', "M = { theta = 4 }" + groups))
    rho0 = runfile.read(write(tmp_path, text)).rho0
    assert (np.linalg.norm(rho0.theta[..., :16], axis=2) <= 1).all()
    assert (rho0.w[0] == np.eye(8)[:2]).all() and rho0.weights("w")[0].tolist() == [0.25, 0.75]


def test_float32(tmp_path: Path) -> None:
    assert runfile.read(write(tmp_path, edited(("M = 4", 'M = 4\ndtype = "float32"')))).rho0.dtype == np.float32


def test_data_of_a_file_beside_the_run_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", tokens=np.ones((6, 2, 3)), labels=np.arange(6.0))
    old = SMALL[SMALL.index("kind") : SMALL.index("heldout")]
    run = runfile.read(write(tmp_path, edited((old, 'kind = "npz"\npath = "mine.npz"\n'), ("0.25", "0.5"))))
    assert run.objective.dataset.tokens.shape == (3, 2, 3)
    assert run.observe["held-out risk"].dataset.n_prompts == 3  # type: ignore[attr-defined]


def test_held_out_patients_are_in_no_training_prompt(tmp_path: Path) -> None:
    old = SMALL[SMALL.index("kind") : SMALL.index("heldout")]
    text = edited((old, 'kind = "diabetes"\nn_prompts = 40\ncontext = 5\nfeatures = ["bmi", "bp", "s5", "s6"]\n'))
    run = runfile.read(write(tmp_path, text))

    def patients(data: wflow.Dataset) -> set[tuple[float, ...]]:
        return {tuple(column) for prompt in data.tokens for column in prompt[:4].T}

    heldout: Any = run.observe["held-out risk"]
    assert run.objective.dataset.n_prompts == 30 and heldout.dataset.n_prompts == 10
    assert not patients(run.objective.dataset) & patients(heldout.dataset)


def test_error_rates_need_classes(tmp_path: Path) -> None:
    with pytest.raises(runfile.RunFileError, match=r"an error rate needs labels of -1 and \+1, got .* in \[observe\]"):
        runfile.read(write(tmp_path, edited(('["risk"]', '["error-rate", "risk"]'))))
    digits = '[data]\nkind = "digits"\nheldout = 0.5\n[feedforward]\n[initial]\nM = 2\nlaw = "gaussian"\n'
    run = runfile.read(write(tmp_path, digits + '[solve]\ntau_end = 1\n[observe]\nheldout = ["error-rate"]\n'))
    assert isinstance(run.observe["held-out error rate"], ErrorRate)


def test_fixed_steps_saves_and_observers(tmp_path: Path) -> None:
    text = edited(
        ("rtol = 1e-3\natol = 1e-6", 'scheme = "euler"\ndtau = 0.25\nsave = { steps = 2 }'),
        ('["risk"]', '["risk"]\ntraining = ["risk"]'),
    )
    run = runfile.read(write(tmp_path, text))
    assert run.resolved["solve"]["rtol"] is None and run.resolved["solve"]["save"]["steps"] == 2
    assert list(run.observe) == ["training risk", "held-out risk"]
    assert isinstance(run.observe["training risk"], Risk)
    solution = run.solve(progress=False)
    assert solution.tau.tolist() == [0, 0.25, 0.5, 0.75, 1] and solution.frame_tau.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("path", sorted((ROOT / "solvers").glob("*.toml")), ids=lambda p: p.name)
def test_examples_can_be_read(path: Path) -> None:
    run = runfile.read(path)
    assert run.observe and run.rho0.n_slices == run.objective.rule.n_slices


# What can be wrong with one

WRONG = [
    # keys, sections, choices
    (("tau_end = 1", "tau_end = 1\ndtua = 0.1"), "unknown key 'dtua' in [solve]; did you mean 'dtau'?"),
    (("tau_end", "tau_ned"), "unknown key 'tau_ned' in [solve]; did you mean 'tau_end'?"),
    (("[solve]", "[slove]"), "unknown section [slove]; did you mean [solve]?"),
    (("[observe]", "[zzz]"), "unknown section [zzz]; the sections are data, attention, feedforward, objective, "),
    (("seed = 3", "sed = 3"), "unknown key 'sed'; did you mean 'seed'?"),
    (("seed = 3", "tau_end = 3"), "unknown key 'tau_end'; it belongs to [solve]"),
    (("M = 4", "M = 4\nxyz = 4"), "unknown key 'xyz' in [initial]; the keys are M, cells, box, kind, dtype, law, std"),
    (("M = 4", "M = 4\nradius = 4"), "unknown key 'radius' in [initial]; the keys are "),
    (('"in-context"', '"in-contxt"'), "kind must be one of 'digits', 'in-context', 'diabetes', 'npz', got 'in-con"),
    (("kind =", "knid ="), "unknown key 'knid' in [data]; did you mean 'kind'?"),
    (('"tanh"', '"tahn"'), "got 'tahn' in [feedforward]; did you mean 'tanh'?"),
    (("tau_end = 1", 'tau_end = 1\nscheme = "dorpi5"'), "got 'dorpi5' in [solve]; did you mean 'dopri5'?"),
    (("layers = 2", 'depth = "middle"'), "depth must be one of 'split-euler', 'midpoint', 'rk4-nodes', got 'mid"),
    (("[attention]", "[attention]\nrnak = 2"), "unknown key 'rnak' in [attention]; did you mean 'rank'?"),
    (("[attention]", "[attention]\nkind = 'atention'"), "kind must be one of 'attention', 'feedforward'"),
    (("[attention]", "[attention]\nkind = 'atention'"), "in [attention]; did you mean 'attention'?"),
    (("[attention]", "[attention]\nhidden = 2"), "unknown key 'hidden' in [attention]; it belongs to [feedforward]"),
    (("[attention]", "[attention]\nkind = 'feedforward'\nrank = 2"), "unknown key 'rank' in [attention]"),
    (("[attention]", "[attention]\nfactored = 1"), "factored must be true or false, got 1 in [attention]"),
    # missing
    (("tau_end = 1", ""), "missing key 'tau_end', a finite number, in [solve]"),
    (("n_prompts = 16", ""), "missing key 'n_prompts', a positive integer, in [data]"),
    (("M = 4", ""), "missing key 'M', the number of particles (or cells and box, for densities), in [initial]"),
    (('law = "gaussian"', ""), "missing key 'law', one of 'gaussian', 'ball', 'atoms', in [initial]"),
    # types and ranges
    (("seed = 3", "seed = -3"), "seed must be a non-negative integer, got -3"),
    (("seed = 3", "seed = true"), "seed must be a non-negative integer, got True"),
    (("seed = 3", "seed = 0x" + 9000 * "f"), "seed must be a non-negative integer, got int with too many digits to "),
    (("tau_end = 1", "tau_end = 1\noptions = { scheme = 1 }"), "scheme 'dopri5' has no option 'scheme'; its options "),
    (("[observe]", '["\\u001b[31m\\nred"]'), r"unknown section [\x1b[31m\nred]; the sections are data, "),
    (("[attention]", "[attention]\nkind = 'feedforward'\nrank = 2"), "in [attention]; the keys are kind, activation,"),
    (("std = 0.5", "std = 'lecu'"), "got 'lecu' in [initial]; did you mean 'lecun'?"),
    (("tau_end = 1", "tau_end = 1\ntol = -1.0"), "tol must be a non-negative finite number, got -1.0 in [solve]"),
    (("tau_end = 1", "tau_end = 'soon'"), "tau_end must be a finite number, got 'soon' in [solve]"),
    (("tau_end = 1", "tau_end = inf"), "tau_end must be a finite number, got inf in [solve]"),
    (("tau_end = 1", "tau_end = 1" + 400 * "0"), "tau_end must be a finite number, got 1000"),
    (("tau_end = 1", "tau_end = -1"), "tau_end must be after tau_start = 0.0, got -1.0 in [solve]"),
    (("rtol = 1e-3\natol = 1e-6", "dtau = 0"), "dtau must be a positive finite number, got 0 in [solve]"),
    (("rtol = 1e-3\natol = 1e-6", "dtau = nan"), "dtau must be a positive finite number, got nan in [solve]"),
    (("rtol = 1e-3", "dtau = 0.1"), "atol belongs to adaptive steps: leave out atol or dtau in [solve]"),
    (("layers = 2", "layers = 0"), "layers must be a positive integer, got 0 in [objective]"),
    (("layers = 2", "layers = 2.5"), "layers must be a positive integer, got 2.5 in [objective]"),
    (("weight_decay = 0.01", "weight_decay = -1"), "weight_decay must be a non-negative finite number, got -1 in [o"),
    (("heldout = 0.25", "heldout = 1.5"), "heldout must be a number between 0 and 1, got 1.5 in [data]"),
    (("M = 4", "M = { theta = 4, x = 4 }"), "M must be a positive integer, or one for each block such as "),
    (("std = 0.5", "std = 'lecu'"), "std must be a positive finite number, 'lecun' or 'he', got 'lecu' in [initial]"),
    (
        ('["risk"]', '"risk"'),
        "heldout must be a list of 'risk', 'error-rate', 'virial', 'kernel-min', 'kernel-max' and 'amplification', "
        "got 'risk' in [observe]",
    ),
    # what the package finds
    (("context = 3", "context = 3\nteacher = 'tanh'\nwidth = 0"), "width must be a positive integer, got 0 in [data]"),
    (("heldout = 0.25", "heldout = 0.001"), "fraction must leave prompts on both sides, got 0.001 of 16"),
    (("heldout = 0.25", ""), "heldout observes held-out data, but [data] has no key heldout, such as heldout = 0.2"),
    (("[attention]", "[attention]\nrank = 2"), "rank=2 needs factored=True: the full form has no rank in [attention]"),
    (("M = 4", "M = { theta = 4 }"), "M=None takes all atoms, but block 'w' has another law; give a number"),
    (("std = 0.5", "mean = [0, 1]"), "mean for 'theta' must have 32 entries, got 2 in [initial]"),
    (("tau_end = 1", "tau_end = 1\nsave = {}"), "SaveAt takes exactly one of every, tau and steps, got none in"),
    (("tau_end = 1", "tau_end = 1\nsave = { tau = [2, 1] }"), "SaveAt tau must increase, got [2.0, 1.0]"),
    (("tau_end = 1", "tau_end = 1\nsave = { evry = 1 }"), "unknown key 'evry' in [solve.save]; did you mean 'every'?"),
    (("tau_end = 1", "tau_end = 1\nsave = 1"), "save must be a section or a table such as { every = 0.5 }, got 1 "),
    # sections of laws
    (('law = "gaussian"\nstd = 0.5', "[initial.Q]\nlaw = 'ball'\nradius = 1"), "unknown section [initial.Q]"),
    (("std = 0.5", "[initial.W]\nlaw = 'ball'\nradius = 1"), "give law or sections such as [initial.W], not both"),
    (('law = "gaussian"\nstd = 0.5', "[initial.W]\nlaw = 'ball'\nradius = 1"), "product leaves out V; name theta,"),
    (('law = "gaussian"\nstd = 0.5', "[initial.w]\nlaw = 'ball'"), "missing key 'radius', a positive finite number,"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), WRONG, ids=[expected[:40] for _, expected in WRONG])
def test_one_problem_is_one_line(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    (line,) = problems(tmp_path, edited(change))
    assert expected in line


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", tokens=np.full((6, 2, 3), np.nan), labels=np.arange(6.0))
    text = """
sede = 1
[data]
kind = "npz"
path = "mine.npz"
[attention]
rank = 2
[feedforward]
activation = "tahn"
hidden = 0
[objectve]
[initial]
M = -1
law = "ball"
[solve]
dtau = -1.0
save = { every = 1, steps = 1 }
[observe]
heldout = ["rsik"]
"""
    assert problems(tmp_path, text) == [
        "unknown key 'sede'; did you mean 'seed'?",
        "unknown section [objectve]; did you mean [objective]?",
        "activation must be one of 'identity', 'relu', 'huberized-relu', 'tanh', 'gelu', 'sigmoid', 'silu', 'elu', "
        "'softplus', got 'tahn' in [feedforward]; did you mean 'tanh'?",
        "hidden must be a positive integer, got 0 in [feedforward]",
        "M must be a positive integer, or one for each block such as { theta = 32, w = 64 }, got -1 in [initial]",
        "missing key 'radius', a positive finite number, in [initial]",
        "missing key 'tau_end', a finite number, in [solve]",
        "dtau must be a positive finite number, got -1.0 in [solve]",
        "heldout must be a list of 'risk', 'error-rate', 'virial', 'kernel-min', 'kernel-max' and 'amplification', "
        "got ['rsik'] in [observe]; did you mean 'risk'?",
        f"{tmp_path / 'mine.npz'}: tokens must be finite, got nan at index (0, 0, 0) in [data]",
        "rank=2 needs factored=True: the full form has no rank in [attention]",
        "SaveAt takes exactly one of every, tau and steps, got every and steps in [solve.save]",
    ]


def test_an_empty_file(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == [
        "missing section [data]",
        "missing section [initial]",
        "missing section [solve]",
        "missing section [attention], [feedforward] or both",
    ]


def test_sections_that_are_none(tmp_path: Path) -> None:
    text = "data = 1\nattention = true\ninitial = []\nsolve = 'now'\n"
    assert problems(tmp_path, text) == [
        "data must be a section [data], got 1",
        "attention must be a section [attention], got True",
        "initial must be a section [initial], got []",
        "solve must be a section [solve], got 'now'",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[data\n", "is not valid TOML: "),
        (b"\xff\xfe", "is not a text file: no UTF-8 at byte 0"),
        (b"x = " + 3000 * b"[", "is not valid TOML: "),
        (b"#" * 70_000, "the file has more than 60000 bytes; keep arrays in an .npz file"),
        (b"seed = " + 5000 * b"1", "has an integer of more than 4300 digits"),
        (b"a" + 10_000 * b".a" + b" = 1", "has a key of more than 30 parts; keys have at most four"),
    ],
)
def test_files_that_are_no_run_files(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(runfile.RunFileError, match=re.escape(f"run.toml: {expected}")) as caught:
        runfile.read(tmp_path / "run.toml")
    assert len(caught.value.problems) == 1


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(runfile.RunFileError, match="cannot be read: "):
            runfile.read(path)


def test_a_run_file_as_large_as_allowed_fits_into_a_trajectory(tmp_path: Path) -> None:
    text = SMALL + "#" * (runfile.MAX_BYTES - len(SMALL))
    runfile.read(write(tmp_path, text)).solve(tmp_path / "out.h5", progress=False)
    assert wflow.load(tmp_path / "out.h5").attributes["runfile"] == text


# The documentation


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Type and default of every key by the heading that it stands under."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    heading = ""
    for line in (ROOT / "docs" / "runfiles.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif match := re.fullmatch(r"\| `(\w+)` \| (.*) \| (.*) \| (.*) \|", line):
            name, words, default, meaning = match.groups()
            assert meaning
            tables.setdefault(heading, {})[name] = words, default
    return tables


def test_the_documentation_names_exactly_the_keys() -> None:
    def row(key: Key) -> tuple[str, str]:
        if key.default is REQUIRED or key.default is None:
            return key.words, "required" if key.default is REQUIRED else "none"
        default = str(key.default).lower() if isinstance(key.default, bool) else repr(key.default)
        return key.words, f"`{default}`"

    known = {"[data]": {"kind": row(Key(tuple(DATA)))}}
    known |= {f'kind = "{kind}"': {name: row(key) for name, key in keys.items()} for kind, keys in DATA.items()}
    known |= {f'kind = "{kind}"': {name: row(key) for name, key in keys.items()} for kind, keys in ENCODER_KEYS.items()}
    known |= {f'law = "{law}"': {name: row(key) for name, key in keys.items()} for law, keys in LAWS.items()}
    for section, keys in SECTIONS.items():
        known[f"[{section}]" if section else "Top level"] = {name: row(key) for name, key in keys.items()}
    known["[initial]"]["law"] = row(Key(tuple(LAWS)))
    assert documented() == known


def test_the_tables_of_the_documentation_are_written_from_the_signatures() -> None:
    spec = importlib.util.spec_from_file_location("runfiles", ROOT / "docs" / "runfiles.py")
    assert spec is not None and spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    text = writer.PAGE.read_text(encoding="utf-8")
    assert writer.page(text) == text, "run python docs/runfiles.py"
    stale = text.replace("| `8` | layers L |", "| `9` | layers L |").replace("| `tol` |", "| `tole` |")
    assert stale.count("`9`") == stale.count("`tole`") == 1
    fresh = writer.page(stale)
    assert "`9`" not in fresh and "`tole`" not in fresh
    assert "| `tol` | a non-negative finite number | `1e-10` | The run ends where " in fresh


FUTURE = '''
import sys
from dataclasses import dataclass
import wflow
from wflow import losses
from wflow.plain import register
from wflow.types import PositiveFloat, PositiveInt

losses.LOSSES["quartic"] = type("Quartic", (losses.Squares,), {})

from wflow.encoders import ENCODERS, FeedForward

@dataclass(frozen=True)
class Gated(FeedForward):
    """Gated particles.

    Parameters
    ----------
    activation, hidden, bias
        As those of :class:`wflow.FeedForward`.
    gates
        The number of gates, as in :mod:`wflow.encoders`.
    """

    gates: PositiveInt = 3

ENCODERS["gated"] = wflow.Gated = Gated

from wflow import initial, observers, schemes

@dataclass(frozen=True)
class cube(initial.Law):
    """The uniform law on a cube.

    Parameters
    ----------
    side
        The length of a side.
    """

    side: PositiveFloat

    def quantile(self, u, t, group):
        return self.side * (u - 0.5)

initial.LAWS["cube"] = initial.cube = cube
observers.OBSERVERS["twice-risk"] = type("TwiceRisk", (observers.Risk,), {})
register(gated=Gated, cube=cube)

@dataclass(frozen=True)
class Slow(schemes.Langevin):
    name = "slow"

schemes.SCHEMES["slow"] = Slow()

try:
    run = wflow.runfile.read(sys.argv[1])
except wflow.InputError as error:
    print(error)
else:
    print(run.objective.loss, run.objective.encoders["w"].gates, abs(run.rho0.w).max() < 0.25)
    print(list(run.observe), run.solve_arguments["scheme"])
    sys.path.insert(0, sys.argv[2])
    import runfiles
    print(runfiles.page(runfiles.PAGE.read_text(encoding="utf-8")))
'''


def test_what_is_in_a_list_is_in_run_files(tmp_path: Path) -> None:
    """An encoder, a loss, a law, an observer and a scheme: registered, and nothing else."""

    def said(text: str) -> str:
        command = [sys.executable, "-c", FUTURE, str(write(tmp_path, text)), str(ROOT / "docs")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    text = edited(
        ('[feedforward]\nactivation = "tanh"', '[feedforward]\nkind = "gated"\ngates = 5'),
        ("layers = 2", 'layers = 2\nloss = "quartic"'),
        ('"gaussian"\nstd = 0.5', '"cube"\nside = 0.5'),
        ("rtol = 1e-3\natol = 1e-6", 'scheme = "slow"\noptions = { cap = 0.5 }\ndtau = 0.1'),
        ('["risk"]', '["twice-risk"]'),
    )
    out = said(text)
    assert out.startswith("quartic 5 True\n['held-out twice risk'] Slow(cap=0.5)\n")
    assert '\n### kind = "gated"\n\n{py:class}`wflow.Gated`.\n' in out
    assert "\n| `bias` | true or false | `false` | As those of {py:class}`wflow.FeedForward` |\n" in out
    assert "\n| `gates` | a positive integer | `3` | The number of gates, as in {py:mod}`wflow.encoders` |\n" in out
    assert "\n| `side` | a positive finite number | required | The length of a side |\n" in out
    wrong = said(text.replace("gates = 5", "gats = 5").replace("side = 0.5", "side = -1").replace("quartic", "quartc"))
    for words in ("did you mean 'gates'?", "side must be a positive finite number, got -1", "did you mean 'quartic'?"):
        assert words in wrong


def test_every_argument_of_what_a_file_names_is_a_key() -> None:
    lists: list[tuple[Any, dict[str, dict[str, Key]]]] = [(ENCODERS, ENCODER_KEYS), (initial.LAWS, LAWS)]
    for classes, keys in lists:
        for name, cls in classes.items():
            assert list(keys[name]) == list(inspect.signature(cls).parameters)


def test_every_type_is_used_and_rejects_a_date() -> None:
    import datetime

    sections = (*SECTIONS.values(), *DATA.values(), *LAWS.values(), *ENCODER_KEYS.values())
    used = {key.type for keys in sections for key in keys.values()}
    assert set(TYPES) == {kind for kind in used if isinstance(kind, str)}
    for check in TYPES.values():
        for value in (datetime.date(2026, 1, 1), [], [[]], [datetime.time()]):
            assert not check(value) or value == []


GRID = """
[data]
kind = "npz"
path = "scalar.npz"
[attention]
[feedforward]
activation = "tanh"
[objective]
weight_decay = 0.2
entropy = 0.1
layers = 2
[initial]
law = "gaussian"
std = 0.7
cells = 24
box = { theta = [[-6, 6], [-6, 6]], w = [[-6, 6], [-6, 6]] }
[solve]
scheme = "kernel"
options = { levels = 2, outer_mass = 1e-6 }
tau_end = 0.2
rtol = 1e-3
"""


def test_densities(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).standard_normal((4, 1, 3))
    np.savez(tmp_path / "scalar.npz", tokens=tokens, labels=tokens[:, 0, 0], readout=[[0, 2]])
    run = runfile.read(write(tmp_path, GRID))
    assert isinstance(run.rho0, wflow.Grid) and run.rho0.theta.shape == (2, 24, 24)
    solution = run.solve(tmp_path / "run.h5")
    assert isinstance(solution.measure(-1), wflow.Grid)
    further = wflow.resume(tmp_path / "run.h5", 0.4)
    scheme = further.settings["scheme"]
    assert (scheme["kind"], scheme["levels"], scheme["outer_mass"]) == ("kernel", 2, 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cells = 24", "cells = 24\nM = 4"), "M belongs to particles, cells and box to densities: leave out M"),
        (("cells = 24", ""), "cells and box belong together"),
        (("cells = 24", "cells = 2"), "cells of theta must be an integer >= 3"),
        (("w = [[-6, 6], [-6, 6]]", "w = [[-6, 6]]"), "box of w must have 2 intervals, one a parameter, got 1"),
        (("w = [[-6, 6], [-6, 6]]", "v = [[-6, 6]]"), "box must name the blocks theta, w, got theta, v"),
        (("levels = 2", "levls = 2"), "scheme 'kernel' has no option 'levls'; its options are levels, outer_mass"),
        (("levels = 2", "levels = 9"), "levels must be 1, 2, 3 or 4, got 9"),
        (("box = {", "box = 3 #"), "box must be intervals for each block"),
    ],
)
def test_bad_densities(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    tokens = np.zeros((4, 1, 3))
    np.savez(tmp_path / "scalar.npz", tokens=tokens, labels=tokens[:, 0, 0], readout=[[0, 2]])
    with pytest.raises(runfile.RunFileError) as caught:
        runfile.read(write(tmp_path, GRID.replace(*change)))
    assert message in str(caught.value)
