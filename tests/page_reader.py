"""Reading a page as a browser would: is it well formed, needs nothing from outside, and fits a narrow screen?"""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from gigaedge.cli import browser

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Checks that every element is closed in order; collects what is in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.headings: list[str] = []
        self.labels: list[str] = []
        """What figures say to readers who cannot see them."""
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src"):
                self.references.append(value or "")
            if tag == "svg" and name == "aria-label":
                self.labels.append(value or "")
            self.references += re.findall(r"url\(([^)]*)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2", "summary"):
            self.headings.append(data)


class Page(Reader):
    """Checks besides that figures say what they show, and that nothing is loaded."""

    def __init__(self, html: str) -> None:
        super().__init__(html)
        assert not {"script", "link", "iframe", "img"} & set(self.tags)
        assert all(reference.startswith(("#", "data:video/mp4;")) for reference in self.references)
        assert len(self.ids) == len(set(self.ids))
        assert len(self.labels) == self.tags.count("svg") == self.tags.count("figure")
        assert all(len(label) > 20 for label in self.labels)


def show(html: str, folder: Path, shot: Path, widths: tuple[int, ...] = (1280, 390)) -> list[int]:
    """A picture of the page at each width, side by side, in `shot`; returns how wide its content is at each, px."""
    frames = "".join(
        f'<iframe srcdoc="{escape(html)}" style="width: {width}px; height: 4000px; border: 0"></iframe>'
        for width in widths
    )
    script = (
        "addEventListener('load', () => document.body.dataset.widths = Array.from(document.querySelectorAll('iframe'),"
        " frame => frame.contentDocument.documentElement.scrollWidth))"
    )
    outer = folder / "frames.html"
    outer.write_text(
        f'<!DOCTYPE html><body style="margin: 0; white-space: nowrap"><script>{script}</script>{frames}</body>'
    )
    dom = browser.screenshot(outer, shot, (sum(widths) + 20, 4000))
    found = re.search(r'data-widths="([\d,]+)"', dom)
    assert found is not None
    return [int(width) for width in found[1].split(",")]
