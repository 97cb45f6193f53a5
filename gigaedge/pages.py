"""One HTML page that needs nothing else: no script, no font, no second file; light or dark as its reader prefers.

Everything returns HTML. `table` and the texts of the others are escaped; `section` takes parts that are HTML already.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #6b6b6b; --line: #d9d9d9; }
@media (prefers-color-scheme: dark) {
 :root { --ink: #e6e6e6; --paper: #161616; --faint: #a0a0a0; --line: #3a3a3a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
 max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
figure { margin: 1.5rem 0; } figcaption { color: var(--faint); }
svg { color: var(--ink); fill: currentColor; max-width: 100%; height: auto; }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole document."""
    name = escape(title)
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; the first column is left-aligned, the others right."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def figure(fig: Figure, caption: str, alt: str) -> str:
    """A matplotlib figure as inline SVG; the same figure gives the same bytes.

    What is drawn in black takes the colour of the page's text, and backgrounds are left out, so that the figure
    reads on dark paper, too: give legends `frameon=False`, and draw series in colours of middle brightness.
    `alt` says what a reader who cannot see the figure should know.
    """
    import matplotlib

    buffer = io.StringIO()
    unsigned = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "gigaedge", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata=unsigned)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :].strip().replace("#000000", "currentColor")
    prefix = f"f{hashlib.sha256((caption + drawing).encode()).hexdigest()[:10]}-"
    drawing = re.sub(r'(\bid="|\bhref="#|url\(#)', lambda match: match.group() + prefix, drawing)
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    return f"<figure>\n{drawing}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
