"""Run files and command lines: valid ones, key by key, and changes of their values, their keys and their spelling."""

from __future__ import annotations

__all__ = ["generate_file"]

from dataclasses import dataclass, replace

import numpy as np

from validation.doors.changes import BAD, EITHER, OPEN, SAME, Change, Generated, bad, either, open_, same


@dataclass(frozen=True)
class Value:
    """A value in TOML with its changes."""

    source: str
    changes: tuple[Change, ...]
    required: bool = False

    def plus(self, *changes: Change) -> Value:
        """The value with further changes."""
        return replace(self, changes=self.changes + changes)

    def without(self, *templates: str) -> Value:
        """The value without some changes."""
        return replace(self, changes=tuple(change for change in self.changes if change.template not in templates))


OTHER = bad("{ value = {} }; 1979-05-27; 07:32:00; 1979-05-27T07:32:00Z; [[{}]]; []")


def count(source: int, required: bool = False, zero: bool = False) -> Value:
    """An integer."""
    changes = same(f"0x{source:x}", f"0b{source:b}", f"0o{source:o}", "+{}")
    changes += bad(
        "-1",
        "{}.5",
        "'{}'",
        '"{}"',
        "true",
        "[{}]",
        "nan",
        "inf",
        "1e3000",
        "10000000000000",
        "9223372036854775808",
        "''",
        *() if zero else ("0", "-0"),
    )
    return Value(str(source), changes + either("{}.0") + OTHER, required)


def number(source: float, required: bool = False, zero: bool = False, sign: bool = False) -> Value:
    """A number."""
    changes = same("{}e0; +{}; {}E+0; {}000") + (same(str(int(source))) if source.is_integer() else ())
    changes += bad(
        "'{}'",
        '"{}"',
        "true",
        "false",
        "[{}, {}]",
        "nan",
        "inf",
        "-inf",
        "+nan",
        "1e400",
        "''",
        "'nan'",
        "1" + "0" * 400,
    )
    changes += () if sign else bad("-{}; -1e-300; -1")
    changes += () if sign or zero else bad("0; 0.0; -0.0; 1e-500")
    return Value(repr(source), changes + OTHER, required)


def boolean(source: str) -> Value:
    """True or false."""
    return Value(source, bad("1; 0; 'true'; 'yes'; 2.5; [{}]; nan; ''; True; yes; on") + OTHER)


def choice(source: str, required: bool = False) -> Value:
    """One of some words."""
    middle = len(source) // 2
    close = {source[:middle] + source[middle + 1 :], source + "s"}
    changes = same(
        f'"{source}"', f"'''{source}'''", f'"""{source}"""', '"' + "".join(f"\\u{ord(c):04x}" for c in source) + '"'
    )
    changes += bad(*(f"'{word}'" for word in close), words="did you mean")
    changes += (
        bad(
            "'xyzzy'",
            "''",
            "3",
            "true",
            "1.5",
            "nan",
            f"['{source}']",
            source,
            f"'{source}",
            f"'{source.upper()}'",
            "'{} '",
        )
        + OTHER
    )
    return Value(f"'{source}'", changes, required)


def of(source: str, *changes: Change, required: bool = False) -> Value:
    """A value with changes of its own only."""
    return Value(source, changes, required)


SAVE = of(
    "{ every = 0.25 }",
    *same("{ every = 0.250 }; {every=25e-2}"),
    *open_("{ steps = 1 }; { tau = [0.125] }; { every = 1e-9 }; { every = 1e300 }"),
    *bad("""
        { }; 0.25; { evry = 0.25 }; { every = '0.25' }; { every = 0 }; { every = -0.25 }; { every = nan };
        { every = 0.25, steps = 2 }; { tau = [] }; { tau = [0.2, 0.1] }; { tau = ['a'] }; { steps = 1.5 };
        { steps = 0 }; { tau = 0.1 }; 'every'; true; { tau = [5.0] }; { tau = [-1.0] }; { every = true }
    """),
)
SOLVE = {
    "scheme": choice("heun"),
    "dtau": number(0.125),
    "tau_start": number(0.0, sign=True),
    "tau_end": number(0.5, required=True, sign=True),
    "tol": number(0.0009765625, zero=True),
    "save": SAVE,
    "max_seconds": number(128.0),
}
ADAPTIVE = {
    "scheme": choice("bs3"),
    "rtol": number(0.0078125, zero=True),
    "atol": number(0.0009765625, zero=True),
    "tau_end": number(0.5, required=True, sign=True),
}
OBJECTIVE = {
    "weight_decay": number(0.25, zero=True),
    "layers": count(2),
    "depth": choice("split-euler"),
    "loss": choice("huber"),
    "huber_delta": number(1.0),
}
MOBILITY = of(
    "{ w = 0.5, theta = 2.0 }",
    *same("{ w = 0.50, 'theta' = 2 }; { theta = 2.0, w = 5e-1 }"),
    *open_("{ }; { w = 0 }; { w = 1e9 }"),
    *bad("""
        0.5; 'w'; true; ['w']; { w = -0.5 }; { w = '0.5' }; { w = nan }; { w = inf }; { w = true }; { w = [0.5] };
        { theta.w = 0.5 }; { w = 0, theta = 0.0 }; { w = 1e-200 }; { W_X = 0.5 }; { 'w.V' = 0.5 }; { '' = 1.0 }
    """),
)
IN_CONTEXT = {
    "kind": choice("in-context", required=True),
    "n_prompts": count(3, required=True),
    "dimension": count(1, required=True),
    "context": count(2, required=True),
    "teacher": choice("tanh"),
    "width": count(4),
    "positions": boolean("true"),
    "noise": number(0.5, zero=True),
}
GAUSSIAN = {
    "M": of(
        "4",
        *same("0x4; { theta = 4, w = 4 }"),
        *bad("""
        0; -4; '4'; 4.5; true; { theta = 4 }; { w = 4, theta = 0 }; { w = 4, theta = 4, v = 4 }; [4, 4]; nan;
        1000000000; { theta = '4', w = 4 }; 2147483648
    """),
        required=True,
    ),
    "law": choice("gaussian"),
    "std": number(0.5),
    "mean": number(0.25, sign=True),
    "kind": choice("net"),
    "dtype": choice("float64"),
}
QUANTITIES = of(
    "['risk']",
    *same("[\"risk\"]; ['risk',]"),
    *bad("'risk'; ['risc']; [3]; true; [['risk']]; ['virial']; nan; { a = 'risk' }"),
)

SEED = count(3, zero=True).without("10000000000000")
Document = dict[str, dict[str, Value]]
DOCUMENTS: list[Document] = [
    {
        "": {"seed": SEED},
        "data": IN_CONTEXT,
        "attention": {"kind": choice("attention"), "factored": boolean("true"), "rank": count(1)},
        "feedforward": {"activation": choice("tanh"), "hidden": count(2), "bias": boolean("false")},
        "objective": OBJECTIVE | {"mobility": MOBILITY},
        "initial": GAUSSIAN,
        "solve": SOLVE,
    },
    {
        "data": {
            "kind": choice("diabetes", required=True),
            "n_prompts": count(6, required=True),
            "context": count(2, required=True),
            "heldout": number(0.25).plus(*bad("1.0; 1; 0.01; 1.5")),
            "features": of("['bmi']", *same('["bmi"]'), *bad("['bmii']; []; 'bmi'; [3]; ['bmi', 'bmi']; true")),
        },
        "feedforward": {"activation": choice("softplus")},
        "objective": OBJECTIVE,
        "initial": {"M": count(3), "law": choice("ball"), "radius": number(0.5, required=True)},
        "solve": ADAPTIVE,
        "observe": {"training": QUANTITIES, "heldout": QUANTITIES},
    },
    {
        "data": {
            "kind": choice("npz", required=True),
            "path": of(
                "'data.npz'",
                *same('"data.npz"; "./data.npz"; """data.npz"""'),
                *bad("'dat.npz'; 3; ''; '.'; true; ['data.npz']; 'run.toml'; '/nowhere/data.npz'; '\\u0000'"),
                required=True,
            ),
        },
        "attention": {},
        "objective": OBJECTIVE,
        "initial": {
            "law": choice("atoms", required=True),
            "points": of(
                "[[0.5, 0, 0.25, 0, 0, 1, 0, 0]]",
                *same("[[0.5, 0.0, 0.25, 0, 0, 1.0, 0, 0]]; [ [0.5, 0, 0.25, 0, 0, 1, 0, 0,], ]"),
                *bad("""
        [0.5]; [[0.5]]; [[]]; []; [['a', 0, 0.25, 0, 0, 1, 0, 0]]; 0.5; [[0.5, 0, 0.25, 0, 0, 1, 0, nan]];
        [[true, 0, 0.25, 0, 0, 1, 0, 0]]; [[0.5, 0, 0.25, 0, 0, 1, 0, 0], [1]]
    """),
                required=True,
            ),
            "weights": of("[1.0]", *same("[1]"), *bad("[0.5]; [1.0, 0.0]; 1.0; ['1']; []; [nan]; [-1.0]; [true]")),
        },
        "solve": SOLVE
        | {
            "scheme": choice("jko"),
            "options": of(
                "{ max_iter = 50 }",
                *same("{ max_iter = 0x32 }"),
                *bad("""
        { max_itr = 50 }; { max_iter = 0 }; { max_iter = 1.5 }; { max_iter = '50' }; 50; 'max_iter';
        { max_iter = true }; { levels = 2 }
    """),
            ),
        },
    },
    {
        "data": {"kind": choice("npz", required=True), "path": of("'line.npz'", required=True)},
        "feedforward": {"activation": choice("tanh")},
        "objective": {
            "weight_decay": number(0.5, zero=True),
            "entropy": number(0.5, zero=True),
            "loss": choice("logistic"),
        },
        "initial": {
            "law": choice("gaussian"),
            "std": number(0.5),
            "cells": of(
                "24",
                *same("{ w = 24 }; { w = [24, 24] }"),
                *bad("""
        2; 0; -24; 24.5; '24'; { w = [24] }; { v = 24 }; true; [24, 24]; 1000000000; { w = [100000, 100000] };
        { w = 2 }
    """),
                required=True,
            ),
            "box": of(
                "{ w = [[-6, 6], [-6, 6]] }",
                *same("{ w = [[-6.0, 6.0], [-6, 6]] }"),
                *bad("""
        { w = [[-6, 6]] }; { w = [[6, -6], [-6, 6]] }; { v = [[-6, 6], [-6, 6]] }; [[-6, 6], [-6, 6]]; 'box';
        { w = [[-6, inf], [-6, 6]] }; { w = 6 }; { w = [['a', 'b'], [-6, 6]] }; { w = [[-6, 0, 6], [-6, 6]] };
        { w = [] }; { }
    """),
                required=True,
            ),
        },
        "solve": {
            "scheme": choice("finite-volume"),
            "options": of(
                "{ outer_mass = 0.001 }",
                *same("{ outer_mass = 1e-3 }"),
                *bad("""
        { outer_mas = 0.001 }; { outer_mass = -1.0 }; { outer_mass = 'a' }; { outer_mass = nan };
        { outer_mass = true }
    """),
            ),
            "dtau": number(0.125),
            "tau_end": number(0.25, required=True, sign=True),
        },
    },
    {
        "": {"seed": SEED},
        "data": {"kind": choice("npz", required=True), "path": of("'line.npz'", required=True)},
        "feedforward": {"activation": choice("tanh")},
        "objective": {"entropy": number(0.5, zero=True), "layers": count(2)},
        "initial": {"M": count(4)},
        "initial.W_1": {
            "law": choice("gaussian", required=True),
            "std": of("'lecun'", *same('"lecun"'), *bad("'lecum'; ''; true; -1; nan; [1]; 0")),
        },
        "initial.W_2": {"law": choice("ball", required=True), "radius": number(0.5, required=True)},
        "solve": {
            "scheme": choice("langevin"),
            "dtau": number(0.125, required=True),
            "tau_end": number(0.5, required=True, sign=True),
            "save": SAVE,
        },
        "observe": {
            "training": of(
                "['risk', 'error-rate', 'virial']",
                *same('["risk", "error-rate", "virial"]'),
                *bad("['risk', 'risc']; 'risk'; true"),
            )
        },
    },
]
NEEDED = ("data", "initial", "solve")


def generate_file(rng: np.random.Generator, good: bool) -> Generated:
    """A run file or a command line."""
    if rng.random() < 0.15:
        return _generate_command(rng, good)
    document = DOCUMENTS[int(rng.integers(len(DOCUMENTS)))]
    sources = {section: {key: value.source for key, value in keys.items()} for section, keys in document.items()}
    reference, titles, verdict, words = _toml(sources), [], SAME, ""
    text = ""
    if not good and rng.random() < 0.4:
        title, words, text = _spoil(rng, document, sources)
        titles.append(title)
        verdict = BAD
    places = [(section, key) for section, keys in document.items() for key in keys]
    for k, place in enumerate(rng.permutation(len(places))[: int(rng.integers(1, 4))]):
        section, key = places[place]
        if section not in sources or key not in sources[section]:
            continue
        wanted = (SAME,) if good or k or verdict == BAD else (BAD, OPEN, EITHER) if rng.random() < 0.2 else (BAD,)
        choices = [change for change in document[section][key].changes if change.verdict in wanted]
        if not choices:
            continue
        change = choices[int(rng.integers(len(choices)))]
        sources[section][key] = change(sources[section][key])
        titles.append(f"[{section}] {key} = {change.template}")
        if change.verdict != SAME:
            verdict, words = change.verdict, change.words
    content, spelling = _spell(rng, sources) if not text else (text.encode(), "")
    titles += [spelling] if spelling else []
    way = ("read", "read", "solve", "command")[int(rng.integers(4))]
    code = {
        "read": "runfile.read({})\nvalue = (masses(made.rho0), made.objective.value(made.rho0), arguments(made))",
        "solve": "runfile.read({}).solve(progress=False)\nvalue = course(made)",
        "command": "command('run', {}, '-o', file('new.h5'), '-q')\nvalue = course(wflow.load(file('new.h5')))",
    }[way]
    data = "file('data.npz'), file('line.npz')\nmade = "
    name = {"read": "runfile.read", "solve": "Run.solve", "command": "wflow run"}[way]
    before, after = (data + code.replace("{}", f"written('run.toml', {part!r})") for part in (reference, content))
    return Generated(name, f"{name}: {'; '.join(titles) or 'as it is'}", verdict, after, before, words, 0.0)


def _toml(sources: dict[str, dict[str, str]]) -> str:
    lines = []
    for section, keys in sorted(sources.items(), key=lambda item: item[0] != ""):
        lines += ([f"[{section}]"] if section else []) + [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _spell(rng: np.random.Generator, sources: dict[str, dict[str, str]]) -> tuple[bytes, str]:
    """The same content in another spelling."""
    ways = [
        way
        for way in ("bom", "crlf", "order", "inline", "dotted", "quoted", "comments", "spaces")
        if rng.random() < 0.2
    ]
    if "order" in ways:
        names = [str(name) for name in rng.permutation(list(sources))]
        sources = {
            name: {str(key): sources[name][str(key)] for key in rng.permutation(list(sources[name]))} for name in names
        }
    if "quoted" in ways:
        sources = {name: {f'"{key}"': value for key, value in keys.items()} for name, keys in sources.items()}
    top: dict[str, str] = {}
    nested = {name.partition(".")[0] for name in sources if "." in name}
    for name in [n for n in sources if n and "." not in n and n not in nested and sources[n]]:
        if ("inline" in ways or "dotted" in ways) and rng.random() < 0.5:
            keys = sources[name]
            sources = {n: k for n, k in sources.items() if n != name}
            if "inline" in ways:
                top[name] = "{ " + ", ".join(f"{key} = {value}" for key, value in keys.items()) + " }"
            else:
                top |= {f"{name}.{key}": value for key, value in keys.items()}
    text = _toml({"": sources.get("", {}) | top} | {n: k for n, k in sources.items() if n})
    if "comments" in ways:
        text = "# a comment with é and [data]\n" + text.replace("\n", "  # and more\n")
    if "spaces" in ways:
        text = "\n\n" + text.replace(" = ", "\t=   ").replace("\n", "  \n\n")
    if "crlf" in ways:
        text = text.replace("\n", "\r\n")
    content = text.encode()
    return (b"\xef\xbb\xbf" + content if "bom" in ways else content), ", ".join(ways)


def _spoil(rng: np.random.Generator, document: Document, sources: dict[str, dict[str, str]]) -> tuple[str, str, str]:
    """Make a file wrong as a whole: what was done, words that the refusal must have, and a text that is no TOML."""
    section = str(rng.choice([name for name in sources if sources[name]]))
    key = str(rng.choice(list(sources[section])))
    way = int(rng.integers(9))
    if way == 0:
        sources[section] = {(k if k != key else k + "x"): value for k, value in sources[section].items()}
        return f"[{section}] {key} misspelt", "did you mean", ""
    if way == 1 and section:
        new = section.replace(section[1], "", 1)
        for name in [name for name in sources if name == section or name.startswith(section + ".")]:
            sources[name.replace(section, new, 1)] = sources.pop(name)
        return f"section [{section}] misspelt", "unknown section", ""
    if way == 2:
        sources[section]["colour"] = "'red'"
        return f"an unknown key in [{section}]", "colour", ""
    if way == 3:
        sources["colours"] = {"a": "1"}
        return "an unknown section", "colours", ""
    if way == 4:
        needed = [(name, k) for name, keys in document.items() for k, value in keys.items() if value.required]
        name, lost = needed[int(rng.integers(len(needed)))]
        del sources[name][lost]
        return f"[{name}] {lost} missing", "", ""
    if way == 5:
        sections = [name for name in NEEDED if not any(other.startswith(name + ".") for other in sources)]
        name = sections[int(rng.integers(len(sections)))]
        del sources[name]
        return f"section [{name}] missing", name, ""
    if way == 6:
        others = [name for name in sources if name and name != section and key not in sources[name]]
        other = others[int(rng.integers(len(others)))]
        sources[other]["tau_end" if other != "solve" else "layers"] = "2"
        return f"a key of another section in [{other}]", "belongs to", ""
    text = _toml(sources)
    if way == 7:
        line = f"{key} = {sources[section][key]}\n"
        return f"{key} twice", "", text.replace(line, line + line, 1)
    wrong = (
        "this is no toml\n",
        "key = \n",
        "[unclosed\n",
        "a = 'open\n",
        "= 3\n",
        "a = [1, 2\n",
        "a = 1 b = 2\n",
        "\x00",
        "a = 01\n",
        "[data]\n[data]\n",
        "a = " + "[" * 5000 + "\n",
        "[[data]]\n",
        'a = "\\q"\n',
        "a.b = 1\na = 2\n",
        "seed = 1\nseed = 2\n",
    )
    line = wrong[int(rng.integers(len(wrong)))]
    return f"a line {line[:20]!r}", "", line + text if rng.random() < 0.5 else text + line


WORD = bad("'xyzzy'; ''; {} + 'x'")
RUN = bad("""
        'nothing.h5'; folder('folder'); written('text.h5', 'text'); cut('run.h5', 0.5); file('data.npz'); '';
        '/dev/null'; pipe('pipe'); file('foreign.h5')
    """)
COMMANDS: list[tuple[list[tuple[str, tuple[Change, ...]]], str]] = [
    ([("'info'", WORD), ("file('run.h5')", RUN)], "len(made.splitlines())"),
    (
        [
            ("'figure'", WORD),
            ("'energy'", WORD + bad("'density'; 'depth'; 'energies'")),
            ("file('run.h5')", RUN),
            ("'-o'", bad("'-x'")),
            (
                "file('out.png')",
                bad("folder('out.png'); file('out.txt'); '/nowhere/out.png'; ''") + same("file('a.pdf')"),
            ),
            ("'--tau-scale'", bad("'--tau-scal '; '--frames'")),
            ("'linear'", bad("'lin'; '3'")),
        ],
        "len(made)",
    ),
    (
        [
            ("'figure'", WORD),
            ("'clouds'", WORD),
            ("file('run.h5')", RUN),
            ("'-o'", bad("'-x'")),
            ("file('out.png')", bad("file('out.txt')")),
            ("'--frames'", bad("'--frame-s'")),
            ("'2'", same("'0,1'; '0,-1'") + bad("'x'; '0.5'; '9,9'; '-1'; '0'; ''; '1e3'; 'nan'")),
        ],
        "len(made)",
    ),
    (
        [
            ("'kernel'", WORD),
            ("file('big.h5')", RUN + bad("file('run.h5')")),
            ("'--frames'", bad("'--frame-s'")),
            ("'0,-1'", same("'0,2'; '0,+2'") + bad("'x'; '0.5'; '9,9'; '-1'; '0'; ''; '1e3'; 'nan'")),
            ("'--by'", bad("'--bye'; '--heldout'")),
            ("'group'", bad("'groups'; ''; 'theta'")),
        ],
        "made",
    ),
    (
        [
            ("'figure'", WORD),
            ("'landscape'", WORD),
            ("file('big.h5')", RUN),
            ("'-o'", bad("'-x'")),
            ("file('out.png')", bad("file('out.txt')")),
            ("'--points'", bad("'--point-s'; '--frames'")),
            ("'4'", same("'5'") + bad("'x'; '0.5'; '2'; '-1'; '0'; ''; '1e3'; 'nan'; '99999'")),
        ],
        "len(made)",
    ),
    ([("'resume'", WORD), ("file('toml.h5')", RUN), ("'-q'", bad("'-z'"))], "len(made)"),
    (
        [
            ("'run'", WORD),
            (
                "file('run.toml')",
                bad("""
        'nothing.toml'; folder('folder'); file('run.h5'); ''; written('empty.toml', ''); pipe('pipe');
        written('utf16.toml', 'seed = 1'.encode('utf-16')); written('latin.toml', b'# \\xe9\\xff\\n');
        written('big.toml', '#' * 70000)
    """),
            ),
            ("'-o'", bad("'-x'")),
            ("file('new.h5')", bad("file('run.h5'); folder('folder'); '/nowhere/new.h5'; ''")),
            ("'-q'", bad("'--loud'")),
        ],
        "course(wflow.load(file('new.h5')))",
    ),
    (
        [
            ("'check'", WORD),
            ("file('run.toml')", bad("'nothing.toml'; file('run.h5'); ''; folder('folder')")),
            ("'-q'", bad("'--loud'")),
        ],
        "made.splitlines()[:3]",
    ),
]


def _generate_command(rng: np.random.Generator, good: bool) -> Generated:
    parts, probe = COMMANDS[int(rng.integers(len(COMMANDS)))]
    sources = [source for source, _ in parts]
    reference = f"made = command({', '.join(sources)})\nvalue = ({probe})"
    verdict, titles = SAME, []
    places = [k for k, (_, changes) in enumerate(parts) if any(c.verdict == (SAME if good else BAD) for c in changes)]
    if places:
        k = places[int(rng.integers(len(places)))]
        choices = [change for change in parts[k][1] if change.verdict == (SAME if good else BAD)]
        change = choices[int(rng.integers(len(choices)))]
        sources[k] = change(sources[k])
        verdict = change.verdict
        titles.append(f"{parts[k][0]}: {change.template}")
    code = f"made = command({', '.join(sources)})\nvalue = ({probe})"
    name = f"wflow {parts[0][0][1:-1]}"
    return Generated(name, f"{name}: {', '.join(titles) or 'as it is'}", verdict, code, reference, "", 0.0)
