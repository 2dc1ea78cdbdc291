"""The report of studies: one HTML page with all that follows, its figures as PDF beside it; or pages of the docs."""

from __future__ import annotations

__all__ = ["Section", "write", "write_docs"]

import base64
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validation.study import Claim, Outcome, Table
from wflow.figures.style import save, style

STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2, th, .mark { font-family: system-ui, sans-serif }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-size: .88rem } caption { text-align: left; font-style: italic }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4 }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 1.5rem 0 } figure img { max-width: 100% } figcaption { font-size: .88rem; color: #555 }
.mark { font-weight: 600 } .pass { color: #007a4d } .fail { color: #c02000 }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: .82rem }
"""


CLAIM_HEAD = ("claim", "measured", "95 % interval", "expected", "criterion", "")


@dataclass(frozen=True)
class Section:
    """A study in the report: its outcome, or the text of the failure that left it without one."""

    name: str
    title: str
    text: str
    outcome: Outcome | str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether there are claims and all of them passed."""
        return isinstance(self.outcome, Outcome) and all(c.passed for c in self.outcome.claims)

    @property
    def count(self) -> str:
        """How many claims passed."""
        claims = self.outcome.claims if isinstance(self.outcome, Outcome) else ()
        return f"{sum(c.passed for c in claims)} of {len(claims)}" if claims else "did not run"


def write(sections: Sequence[Section], path: Path, facts: Mapping[str, str]) -> None:
    """Write the page at ``path`` and figures into the folder ``figures`` beside it."""
    title = "wflow: validation report"
    body = [f"<h1>{title}</h1>", _facts(facts), _summary(sections)]
    for section in sections:
        body.append(_section(section, path.parent / "figures"))
    text = "\n".join(body)
    page = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    path.write_text(f"{page}<style>{STYLE}</style></head>\n<body>\n{text}\n</body></html>\n", encoding="utf-8")


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{_escape(k)}</th><td>{_escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


def _summary(sections: Sequence[Section]) -> str:
    rows = []
    for s in sections:
        link = f'<a href="#{s.name}">{s.name}</a>'
        rows.append(f"<tr><td>{link}</td><td>{_escape(s.title)}</td><td>{s.count}</td><td>{_mark(s.passed)}</td></tr>")
    return f"<table><tr><th>study</th><th></th><th>claims</th><th></th></tr>{''.join(rows)}</table>"


def _section(section: Section, figures: Path) -> str:
    parts = [f'<h2 id="{section.name}">{_escape(section.title)}</h2>']
    parts += [f"<p>{_escape(paragraph)}</p>" for paragraph in section.text.split("\n\n") if paragraph.strip()]
    outcome = section.outcome
    if isinstance(outcome, str):
        return "\n".join([*parts, f'<p class="mark fail">FAIL: it did not run</p><pre>{_escape(outcome)}</pre>'])
    parts.append(_claims(outcome.claims))
    parts += [f"<p>{_escape(finding)}</p>" for finding in outcome.findings]
    for name, (figure, caption) in outcome.figures.items():
        parts.append(_figure(figure, caption, figures / f"{section.name}-{name}.pdf"))
    parts += [_table(table) for table in outcome.tables]
    parts.append(f"<p>Computed in {section.seconds:.0f} seconds of one core.</p>")
    return "\n".join(parts)


def _claim_rows(claims: Sequence[Claim]) -> list[list[str]]:
    """Statement, measured, interval, expected, criterion."""
    rows = []
    for c in claims:
        interval = "" if c.interval is None else f"{number(c.interval[0])} to {number(c.interval[1])}"
        measured = "" if math.isnan(c.measured) and c.criterion == "holds" else number(c.measured)
        rows.append([c.statement, measured, interval, "" if c.expected is None else number(c.expected), c.criterion])
    return rows


def _claims(claims: Sequence[Claim]) -> str:
    rows = []
    for c, (statement, *cells) in zip(claims, _claim_rows(claims)):
        numbers = "".join(f'<td class="number">{x}</td>' for x in cells)
        rows.append(f"<tr><td>{_escape(statement)}</td>{numbers}<td>{_mark(c.passed)}</td></tr>")
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in CLAIM_HEAD)}</tr>{''.join(rows)}</table>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{_escape(h)}</th>" for h in table.head)
    rows = "".join(f"<tr>{''.join(_cell(x) for x in row)}</tr>" for row in table.rows)
    return f"<table><caption>{_escape(table.title)}</caption><tr>{head}</tr>{rows}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{number(value)}</td>'
    return f"<td>{_escape(str(value))}</td>"


def _figure(figure: Any, caption: str, path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    save(figure, path)
    image = f'<img alt="" src="data:image/png;base64,{base64.b64encode(_picture(figure)).decode()}">'
    return f"<figure>{image}<figcaption>{_escape(caption)}</figcaption></figure>"


def _picture(figure: Any) -> bytes:
    """A figure as PNG for screens."""
    picture = io.BytesIO()
    with style():
        figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    return picture.getvalue()


def _mark(passed: bool) -> str:
    return f'<span class="mark {"pass" if passed else "fail"}">{"pass" if passed else "FAIL"}</span>'


def number(value: float) -> str:
    """A number in four digits.

    >>> number(0.123456), number(1.5e-9), number(2.0)
    ('0.1235', '1.5e-09', '2')
    """
    return f"{value:.4g}"


def _escape(text: str) -> str:
    return html.escape(text, quote=False)


# Pages of the documentation: the same as Markdown


def write_docs(sections: Sequence[Section], folder: Path, facts: Mapping[str, str]) -> None:
    """Write a page for every study, its figures as PNG, and ``index.md`` with facts and the list of studies."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for s in sections:
        rows.append([f"[{_plain(s.title)}]({s.name}.md)", s.count, f"{s.seconds:.0f} s"])
        (folder / f"{s.name}.md").write_text(_page(s, folder), encoding="utf-8")
    tree = "\n".join(["```{toctree}", ":hidden:", "", *(s.name for s in sections), "```"])
    known = "\n".join(f"* {key}: {_plain(value)}" for key, value in facts.items())
    table = _grid(["study", "claims passed", "one core"], rows)
    text = f"# Results of the validation studies\n\n{known}\n\n{table}\n\n{tree}\n"
    (folder / "index.md").write_text(text, encoding="utf-8")


def _page(section: Section, folder: Path) -> str:
    parts = [f"# {_plain(section.title)}", *(_plain(x) for x in section.text.split("\n\n"))]
    outcome = section.outcome
    if isinstance(outcome, str):
        return "\n\n".join([*parts, "It did not run.", f"```text\n{outcome}\n```"]) + "\n"
    marks = ["pass" if c.passed else "**FAIL**" for c in outcome.claims]
    claims = [[*map(_plain, row), mark] for row, mark in zip(_claim_rows(outcome.claims), marks)]
    parts += ["## Claims", _grid(CLAIM_HEAD, claims)]
    if outcome.findings:
        parts += ["## Findings", *map(_plain, outcome.findings)]
    for name, (figure, caption) in outcome.figures.items():
        path = folder / f"{section.name}-{name}.png"
        path.write_bytes(_picture(figure))
        parts += [f"![{section.name}, {name}]({path.name})", f"*{_plain(caption)}*"]
    for table in outcome.tables:
        cells = [[number(x) if isinstance(x, float) else _plain(str(x)) for x in row] for row in table.rows]
        parts += [f"*{_plain(table.title)}*", _grid([_plain(h) for h in table.head], cells)]
    return "\n\n".join(parts) + "\n"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    escaped = "".join("\\" + c if c in "\\`*_{}[]<>#|$~" else c for c in text)
    return re.sub(r"\s+", " ", escaped).strip()
