"""The report of studies, written as Markdown: the pages of the documentation, and one HTML page rendered from it."""

from __future__ import annotations

__all__ = ["Part", "Section", "number", "write", "write_docs"]

import base64
import html
import io
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from validation.study import Claim, Table
from wflow.figures.style import save, style

STYLE = """
body { font: 16px/1.5 Georgia, serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2, th { font-family: system-ui, sans-serif } h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
section { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4 }
td strong { color: #c02000 } em { font-size: .88rem; color: #555 } img { max-width: 100% }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: .82rem }
"""


@dataclass(frozen=True)
class Part:
    """An experiment in the report: what it says, or the failure that left it silent."""

    name: str
    title: str
    text: str
    failure: str = ""
    claims: Sequence[Claim] = ()
    findings: Sequence[str] = ()
    figure: Figure | None = None
    caption: str = ""
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Section:
    """A study in the report; ``seconds`` is what its answers took on one core."""

    name: str
    title: str
    text: str
    parts: Sequence[Part]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all experiments ran, there are claims, and all of them passed."""
        claims = [claim for part in self.parts for claim in part.claims]
        return bool(claims) and all(c.passed for c in claims) and not any(part.failure for part in self.parts)

    @property
    def count(self) -> str:
        """How many claims passed, and how many experiments did not run."""
        claims = [claim for part in self.parts for claim in part.claims]
        failed = sum(bool(part.failure) for part in self.parts)
        words = f"{sum(c.passed for c in claims)} of {len(claims)}" if claims else ""
        return ", ".join(filter(None, [words, f"{failed} did not run" if failed else ""])) or "no claims"

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """The figures by the names of their files."""
        for part in self.parts:
            if part.figure is not None:
                yield _stem(self, part), part.figure


def write_docs(sections: Sequence[Section], folder: Path, facts: Mapping[str, str]) -> None:
    """Write a page for every study, its figures as PNG, and ``index.md`` with facts and the list of studies."""
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        (folder / f"{section.name}.md").write_text(_page(section), encoding="utf-8")
        for stem, figure in section.figures():
            (folder / f"{stem}.png").write_bytes(_picture(figure))
    tree = "\n".join(["```{toctree}", ":hidden:", "", *(s.name for s in sections), "```"])
    index = _index("Results of the validation studies", sections, facts, "{}.md")
    (folder / "index.md").write_text(f"{index}\n{tree}\n", encoding="utf-8")


def write(sections: Sequence[Section], path: Path, facts: Mapping[str, str]) -> None:
    """Write one HTML page with all studies, and the figures as PDF into the folder ``figures`` beside it."""
    title = "wflow: validation report"
    body = [_html(_index(title, sections, facts, "#{}"), {})]
    for section in sections:
        for stem, figure in section.figures():
            (path.parent / "figures").mkdir(exist_ok=True)
            save(figure, path.parent / "figures" / f"{stem}.pdf")
        pictures = {f"{stem}.png": _picture(figure) for stem, figure in section.figures()}
        body.append(f'<section id="{section.name}">\n{_html(_page(section), pictures)}</section>')
    text = "\n".join(body)
    page = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    path.write_text(f"{page}<style>{STYLE}</style></head>\n<body>\n{text}\n</body></html>\n", encoding="utf-8")


def _html(markdown: str, pictures: Mapping[str, bytes]) -> str:
    """Markdown as HTML, with its pictures inside."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for image in (inline for token in tokens for inline in token.children or () if inline.type == "image"):
        data = base64.b64encode(pictures[str(image.attrs["src"])]).decode()
        image.attrs["src"] = f"data:image/png;base64,{data}"
    return str(reader.renderer.render(tokens, reader.options, {}))


def _picture(figure: Figure) -> bytes:
    """A figure as PNG for screens."""
    picture = io.BytesIO()
    with style():
        figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    return picture.getvalue()


# Markdown


def _index(title: str, sections: Sequence[Section], facts: Mapping[str, str], link: str) -> str:
    known = "\n".join(f"* {key}: {_plain(value)}" for key, value in facts.items())
    rows = []
    for s in sections:
        rows.append([f"[{_plain(s.title)}]({link.format(s.name)})", s.count, f"{s.seconds:.0f} s", _mark(s.passed)])
    return f"# {title}\n\n{known}\n\n{_grid(['study', 'claims passed', 'one core', ''], rows)}\n"


def _page(section: Section) -> str:
    parts = [f"# {_plain(section.title)}", *_paragraphs(section.text)]
    for part in section.parts:
        parts += _part(section, part)
    return "\n\n".join(parts) + "\n"


def _part(section: Section, part: Part) -> Iterator[str]:
    if part.title:
        yield f"## {_plain(part.title)}"
        yield from _paragraphs(part.text)
    if part.failure:
        yield from ("**FAIL**: it did not run.", f"```text\n{part.failure}\n```")
    if part.claims:
        yield _grid(["claim", "measured", "95 % interval", "expected", "criterion", ""], map(_claim, part.claims))
    if part.findings:
        yield "\n".join(f"* {_plain(finding)}" for finding in part.findings)
    if part.figure is not None:
        stem = _stem(section, part)
        yield f"![{_plain(stem.replace('-', ' '))}]({stem}.png)"
        if part.caption:
            yield f"*{_plain(part.caption)}*"
    for table in part.tables:
        cells = [[number(x) if isinstance(x, float) else _plain(str(x)) for x in row] for row in table.rows]
        yield from (f"*{_plain(table.title)}*", _grid([_plain(h) for h in table.head], cells))


def _stem(section: Section, part: Part) -> str:
    return f"{section.name}-{part.name.replace('_', '-')}".rstrip("-")


def _claim(c: Claim) -> list[str]:
    """Statement, measured, interval, expected, criterion, mark."""
    interval = "" if c.interval is None else f"{number(c.interval[0])} to {number(c.interval[1])}"
    measured = "" if math.isnan(c.measured) and c.criterion == "holds" else number(c.measured)
    expected = "" if c.expected is None else number(c.expected)
    return [_plain(c.statement), measured, interval, expected, _plain(c.criterion), _mark(c.passed)]


def _mark(passed: bool) -> str:
    return "pass" if passed else "**FAIL**"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a docstring: plain text with ``code`` in it; indented ones, which are equations, as they are."""
    for paragraph in filter(str.strip, text.split("\n\n")):
        if all(line.startswith("    ") for line in paragraph.splitlines()):
            yield f"```text\n{textwrap.dedent(paragraph)}\n```"
        else:
            pieces = re.split(r"``(.+?)``", re.sub(r"\s+", " ", paragraph.strip()))
            yield "".join(f"`{piece}`" if k % 2 else _escape(piece) for k, piece in enumerate(pieces))


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line.

    >>> print(_plain("|Q^ - Q| < 2*a_j,  and so on"))
    \\|Q^ - Q\\| \\< 2\\*a\\_j, and so on
    """
    return _escape(re.sub(r"\s+", " ", text).strip())


def _escape(text: str) -> str:
    escaped = "".join("\\" + c if c in "\\`*_{}[]<>#|$~&" else c for c in text)
    return re.sub(r"^(\d*)([-+.)])(?= )", r"\1\\\2", escaped)  # no lists


def number(value: float) -> str:
    """A number in four digits.

    >>> number(0.123456), number(1.5e-9), number(2.0)
    ('0.1235', '1.5e-09', '2')
    """
    return f"{value:.4g}"
