"""Write the tables of runfiles.md, ``python docs/runfiles.py``: keys, types and defaults are those of run files.

The page says what a key means. A key that is new there takes what the docstring behind it says of the argument, and a
new kind of data, encoder or law gets a heading.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import wflow
from wflow import datasets, initial
from wflow.encoders import ENCODERS
from wflow.runfile.sections import DATA, DATASETS, ENCODER_KEYS, LAWS, REQUIRED, SECTIONS, Key

PAGE = Path(__file__).with_suffix(".md")
HEAD = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"

#: The kinds: their headings, what is behind them, and their keys.
KINDS: list[tuple[str, Mapping[str, Callable[..., Any]], Mapping[str, Mapping[str, Key]]]] = [
    ('kind = "{}"', DATASETS, DATA),
    ('kind = "{}"', ENCODERS, ENCODER_KEYS),
    ('law = "{}"', initial.LAWS, LAWS),
]


def page(text: str) -> str:
    """The page with its tables as they must be."""
    tables = {f"[{section}]" if section else "Top level": keys for section, keys in SECTIONS.items()}
    tables["[initial]"] = tables["[initial]"] | {"law": Key(tuple(LAWS))}
    for form, functions, variants in KINDS:
        tables |= {form.format(kind): keys for kind, keys in variants.items()}
        for before, kind in pairwise(variants):
            if f"### {form.format(kind)}\n" not in text:
                new = f"### {form.format(kind)}\n\n{link(functions[kind])}.\n\n{HEAD}\n"
                at = re.compile(r"^##|\Z", re.MULTILINE).search(text, text.index(f" {form.format(before)}\n"))
                text = text[: at.start()] + new + text[at.start() :]
    start, *parts = re.split(r"^(?=##+ )", text, flags=re.MULTILINE)
    by_heading = {part.partition("\n")[0].lstrip("# "): part for part in parts}
    by_heading |= {heading: with_table(by_heading[heading], keys) for heading, keys in tables.items()}
    return start + "".join(by_heading.values())


def with_table(part: str, keys: Mapping[str, Key]) -> str:
    """A part of the page with the table of these keys."""
    meanings = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", part, re.MULTILINE))
    rows = (
        f"| `{name}` | {key.words} | {default(key)} | {meanings.get(name) or meaning(name, key)} |\n"
        for name, key in keys.items()
    )
    return re.sub(r"^\| key \|(.*\n\|)*.*\n", lambda _: HEAD + "".join(rows), part, count=1, flags=re.MULTILINE)


def default(key: Key) -> str:
    """The default of a key."""
    if key.default is REQUIRED or key.default is None:
        return "required" if key.default is REQUIRED else "none"
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else repr(key.default)}`"


def meaning(name: str, key: Key) -> str:
    """The first paragraph on an argument in a docstring of NumPy style, in the markup of the page."""
    lines = (inspect.getdoc(key.function) or "").partition("\nParameters\n----------\n")[2]
    text = re.search(rf"^(?:\w+, )*{name}(?:, \w+)*\n((?:    .*\n?)+)", lines, re.MULTILINE)
    if text is None:
        raise ValueError(f"runfiles.md says nothing of {name!r}, nor does the docstring of {key.function}")
    words = re.sub(r":(\w+):`~?([\w.]+)`", r"{py:\1}`\2`", " ".join(text[1].split())).replace("``", "`")
    return words.removesuffix(".").replace("|", r"\|")


def link(function: Callable[..., Any]) -> str:
    """A link to a function or class, by the first public module that has it."""
    home = next(home for home in (wflow, datasets, initial) if getattr(home, function.__name__, None) is function)
    return f"{{py:{'class' if isinstance(function, type) else 'func'}}}`{home.__name__}.{function.__name__}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
