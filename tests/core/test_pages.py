from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from gigaedge.pages import (
    Html,
    banner,
    bullets,
    details,
    figure,
    grade,
    page,
    paragraph,
    section,
    table,
    tiles,
)
from tests.page_reader import Reader


def drawing(slope: float = 1.0) -> Figure:
    fig = Figure(figsize=(4, 3), layout="constrained")
    axes = fig.subplots()
    axes.plot([0, 1], [0, slope], "o-", label="a < b")
    axes.set_xlabel("time (s)")
    axes.legend(frameon=False)
    return fig


@pytest.fixture(scope="module")
def html() -> str:
    parts = [figure(drawing(), "rising", "a line"), figure(drawing(2), 'steep & "so"', 'a "steep" line')]
    return page(
        "a <b>", [section("numbers & more", paragraph("x < y"), table(["<n>", "v"], [["&", "1"]])), *parts]
    )


def test_a_page_is_well_formed_and_escaped(html: str) -> None:
    read = Reader(html)
    assert html.startswith("<!DOCTYPE html>")
    assert {"h1", "h2", "table", "figure", "svg"} <= set(read.tags)
    assert "b" not in read.tags
    for text in ("a <b>", "numbers & more", "x < y", "<n>", 'steep & "so"'):
        assert text in read.text


def test_a_page_needs_nothing_from_outside(html: str) -> None:
    read = Reader(html)
    assert "script" not in read.tags
    assert "link" not in read.tags
    assert read.references
    assert all(reference.startswith("#") for reference in read.references)


def test_ids_are_unique_and_every_reference_has_one(html: str) -> None:
    read = Reader(html)
    assert len(read.ids) == len(set(read.ids))
    assert {reference[1:] for reference in read.references} <= set(read.ids)


def test_a_figure_is_deterministic_and_follows_the_colour_of_the_text() -> None:
    first = figure(drawing(), "c", "alt")
    assert first == figure(drawing(), "c", "alt")
    assert first != figure(drawing(2), "c", "alt")
    assert "#000000" not in first
    assert "#ffffff" not in first
    assert "currentColor" in first
    assert "<metadata" not in first


def test_grades_are_words_in_their_colour_and_escaped() -> None:
    assert grade("<FAIL>", "fail") == '<span class="grade fail">&lt;FAIL&gt;</span>'
    top = banner("WARN", "warn", "1 < 2")
    read = Reader(top)
    assert read.text == "WARN1 < 2"
    assert 'class="banner warn"' in top
    assert "<li>a &lt; b</li>" in bullets(["a < b"])


def test_tiles_and_details_are_escaped_and_closed() -> None:
    shown = tiles([("3 <ms>", "a & b")]) + details("more <", paragraph("inside"))
    read = Reader(shown)
    assert read.text.replace("\n", "") == "3 <ms>a & bmore <inside"
    assert {"details", "summary", "b", "span"} <= set(read.tags)


def test_a_figure_stays_readable_on_a_narrow_screen() -> None:
    shown = figure(drawing(), "c", "alt")
    assert 'style="min-width: 2.8in"' in shown  # of 4
    assert '<div class="wide"><svg' in shown


def test_a_table_takes_html_only_where_it_says_so() -> None:
    shown = table(["a", "b"], [[grade("PASS", "pass"), "<i>"], [Html("<b>x</b>"), "long"]], prose=(1,))
    assert '<td><span class="grade pass">PASS</span></td><td class="prose">&lt;i&gt;</td>' in shown
    assert "<td><b>x</b></td>" in shown
    assert '<th scope="col">a</th><th scope="col" class="prose">b</th>' in shown
    assert Reader(shown).tags.count("td") == 4


def test_two_figures_that_look_alike_share_no_id() -> None:
    both = figure(drawing(), "c", "of the left") + figure(drawing(), "c", "of the right")
    ids = Reader(both).ids
    assert len(ids) == len(set(ids))


def test_a_page_lets_a_browser_load_nothing(html: str) -> None:
    assert (
        "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        'media-src data:"' in html
    )
