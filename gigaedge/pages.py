"""One HTML page that needs nothing else: no script, no font, no second file; light or dark as its reader prefers.

Everything returns HTML. Texts are escaped; `section` takes parts that are HTML already, and a cell of a `table` may be
an `Html`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Sequence
from html import escape
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #6b6b6b; --line: #d9d9d9;
 --pass: #2b8a3e; --warn: #b35c00; --fail: #c92a2a; }
@media (prefers-color-scheme: dark) {
 :root { --ink: #e6e6e6; --paper: #161616; --faint: #a0a0a0; --line: #3a3a3a;
  --pass: #69db7c; --warn: #ffb454; --fail: #ff8787; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
 max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.left, th.left, td.prose, th.prose { text-align: left; }
td.prose { white-space: normal; min-width: 11rem; }
tbody tr { vertical-align: top; }
.grade { font-weight: 600; white-space: nowrap; }
.grade.pass { color: var(--pass); } .grade.warn { color: var(--warn); } .grade.fail { color: var(--fail); }
.grade.none { color: var(--faint); font-weight: 400; }
.banner { border: 1px solid var(--line); border-left: .5rem solid var(--faint); padding: .6rem 1rem; }
.banner .grade { font-size: 1.6rem; display: block; white-space: normal; }
.banner.pass { border-left-color: var(--pass); } .banner.warn { border-left-color: var(--warn); }
.banner.fail { border-left-color: var(--fail); }
figure { margin: 1.5rem 0; } figcaption { color: var(--faint); } figure .wide { margin: 0; }
svg { color: var(--ink); fill: currentColor; max-width: 100%; height: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.tiles div { border: 1px solid var(--line); padding: .5rem .8rem; }
.tiles b { display: block; font-size: 1.4rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--faint); }
details { border-top: 1px solid var(--line); padding: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
"""

COLOURS: Final = ("#3b82c4", "#e07b39", "#3a9d5d", "#c2559d", "#8a6fd1", "#b08a1e")
"""For the series of a figure; of middle brightness."""


_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
"""So that a browser asks nobody for anything, whatever a page says."""

_LEAST_SCALE: Final = 0.7
"""To which a figure shrinks on a narrow screen: a label of 10 points is then read like one of 7."""

Grade = Literal["pass", "warn", "fail", "none"]
"""How something is judged; `none`: not at all."""


class Html(str):
    """HTML that is put into a table as it is."""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole document."""
    name = escape(title)
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>"
    )
    body = "\n".join([f"<h1>{name}</h1>", *sections])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def section(heading: str, *parts: str) -> str:
    """A heading and what belongs to it; `parts` are HTML."""
    return "\n".join(["<section>", f"<h2>{escape(heading)}</h2>", *parts, "</section>"])


def paragraph(text: str) -> str:
    """Plain text."""
    return f"<p>{escape(text)}</p>"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (),
    prose: Collection[int] = (),
) -> str:
    """A table; cells are plain texts, or `Html`. The first column and those whose numbers are in `left` are
    left-aligned, those in `prose` are, too, and folded where they are long; the others are right-aligned.
    """
    kinds = {**dict.fromkeys(left, ' class="left"'), **dict.fromkeys(prose, ' class="prose"')}

    def cells(tag: str, row: Sequence[str]) -> str:
        shown = (f"<{tag}{kinds.get(index, '')}>{_html(cell)}</{tag}>" for index, cell in enumerate(row))
        return "".join(shown)

    head = cells("th", header).replace("<th", '<th scope="col"')
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def grade(word: str, judged: Grade) -> Html:
    """A word in the colour of how it is judged."""
    return Html(f'<span class="grade {judged}">{escape(word)}</span>')


def banner(word: str, judged: Grade, text: str) -> str:
    """The one thing to be read first."""
    return f'<div class="banner {judged}">{grade(word, judged)}{escape(text)}</div>'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """A few numbers in large type: (number with its unit, what it is) each."""
    shown = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in facts)
    return f'<div class="tiles">{shown}</div>'


def details(summary: str, *parts: str) -> str:
    """What is folded away until its reader asks for it; `parts` are HTML."""
    return "\n".join(["<details>", f"<summary>{escape(summary)}</summary>", *parts, "</details>"])


def bullets(texts: Sequence[str]) -> str:
    """A list of plain texts."""
    return "\n".join(["<ul>", *(f"<li>{escape(text)}</li>" for text in texts), "</ul>"])


def _html(cell: str) -> str:
    return cell if isinstance(cell, Html) else escape(cell)


def figure(fig: Figure, caption: str, alt: str) -> str:
    """A matplotlib figure as inline SVG; the same figure gives the same bytes.

    What is drawn in black takes the colour of the page's text, and backgrounds are left out, so that the figure
    reads on dark paper, too: give legends `frameon=False`, and draw series in colours of middle brightness.
    On a narrow screen it shrinks as far as its texts can be read, and scrolls by itself. `alt` says what a reader who
    cannot see the figure should know.
    """
    import matplotlib

    buffer = io.StringIO()
    unsigned = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "gigaedge", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata=unsigned)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :].strip().replace("#000000", "currentColor")
    prefix = f"f{hashlib.sha256((caption + alt + drawing).encode()).hexdigest()[:10]}-"
    drawing = re.sub(r'(\bid="|\bhref="#|url\(#)', lambda match: match.group() + prefix, drawing)
    least = round(fig.get_figwidth() * _LEAST_SCALE, 2)
    about = f'<svg role="img" aria-label="{escape(alt)}" style="min-width: {least:g}in"'
    drawing = drawing.replace("<svg", about, 1)
    return (
        f'<figure>\n<div class="wide">{drawing}</div>\n<figcaption>{escape(caption)}</figcaption>\n</figure>'
    )
