"""The page of trials: what it says, that it is whole, and that a browser plays its clips."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path

import pytest

from gigaedge.cli import browser
from gigaedge.trials_page import HEADER, SHORT_HEADER, Clip, cells, difference_words, how, render, short_cells
from tests.page_reader import Page
from tests.trials_reports import episode, report, row

MP4 = b"\0\0\0\x18ftypmp42 and so on"


def cell(line: list[str], name: str) -> str:
    return line[HEADER.index(name)]


def test_a_line_says_how_it_went() -> None:
    good, mixed, blind = (cells(each) for each in report().rows)
    assert all(len(line) == len(HEADER) for line in (good, mixed, blind))
    assert cell(good, "success") == "8/8 (100 %)"
    assert cell(good, "95 % interval") == "68 to 100 %"
    assert cell(good, "time, s") == "3.3 / 3.6"
    assert cell(good, "against the first row") == "-"
    assert (cell(mixed, "attempts"), cell(mixed, "first attempt")) == ("1.17", "5/8")
    assert cell(mixed, "failures") == "1 time, 1 dropped"
    assert cell(mixed, "against the first row") == "-25 % (-59 to +12): no difference shown"
    assert (cell(blind, "mode"), cell(blind, "time, s"), cell(blind, "failures")) == (
        "rtc, blind",
        "-",
        "8 fault",
    )
    assert cell(blind, "against the first row").endswith(": worse")
    expert = cells(row([episode(0, "success")], policy="expert", precision=None, steps=None, latency=None))
    assert expert[1:6] == ["expert", "-", "-", "rtc", "-"]


def test_a_terminal_gets_a_short_line() -> None:
    lines = [short_cells(each) for each in report().rows]
    assert all(len(line) == len(SHORT_HEADER) for line in lines)
    assert lines[0] == [
        "lift-block",
        "fp32, 10 steps, rtc",
        "8/8",
        "68 to 100 %",
        "8/8",
        "3.3 / 3.6",
        "-",
        "-",
    ]
    assert lines[1][-2:] == ["1 time, 1 dropped", "-59 to +12 %"]


def test_the_page_is_whole_and_needs_nothing() -> None:
    made = report(notices=("scene 3 went otherwise",), interrupted=True)
    clips = [Clip(1, made.rows[1].episodes[5], MP4), Clip(0, made.rows[0].episodes[0], MP4)]
    page = Page(render(made, clips))
    assert page.headings == [
        *("Trials", "Success", "What it looked like", "Notices", "How it was made"),
    ]
    assert page.tags.count("video") == 2
    for text in (
        "scene 5: success after 8.0 s, 2 attempts",
        "Broken off",
        "scene 3 went otherwise",
        "gigaedge trials cell.yaml <here>",
        "Scenes 0 to 7 of each task",
        "68 to 100 %",
    ):
        assert text in page.text
    sources = [each for each in page.references if not each.startswith("#")]
    assert [b64decode(each.removeprefix("data:video/mp4;base64,")) for each in sources] == [MP4, MP4]
    assert page.text.index("scene 0: success") < page.text.index("scene 5: success"), "row by row"


def test_trials_that_a_person_judged_say_so() -> None:
    told = how(report(seed=None, judge="person"))
    assert "before the next one a person may reset what it needs. A person judged every attempt." in told
    assert "goes on from where things are" not in told


def test_trials_without_a_row_make_a_page() -> None:
    made = report(interrupted=True).model_copy(update={"rows": ()})
    assert Page(render(made)).headings == ["Trials", "How it was made"]


def test_a_difference_in_words() -> None:
    difference = report().rows[2].difference
    assert difference is not None
    assert difference_words(difference).startswith("-100 % (-100 to -")


@pytest.mark.skipif(browser.find_browser() is None, reason="there is no Chromium")
def test_a_browser_shows_the_page_and_reads_the_clip(tmp_path: Path) -> None:
    made = report()
    html = render(made, [Clip(0, made.rows[0].episodes[0], _film())])
    # The page itself may run nothing; the browser is asked what it made of the film.
    allowed = re.sub(r"default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'", html)
    ask = (
        "<script>const film = document.querySelector('video');"
        "film.addEventListener('loadeddata', () => film.dataset.seen ="
        " `${film.videoWidth}x${film.videoHeight}, ${film.duration} s`);</script>"
    )
    file = tmp_path / "page.html"
    file.write_text(allowed.replace("</body>", f"{ask}</body>"), encoding="utf-8")
    dom = browser.screenshot(file, tmp_path / "page.png", (900, 1200))
    found = re.search(r'data-seen="([^"]+)"', dom)
    assert found is not None, "the browser could not play the film"
    assert found[1].startswith("320x384, 0.5")


def _film() -> bytes:
    from gigaedge_runtime.lockstep_devices import LockstepCell
    from gigaedge_runtime.trials_film import Film
    from tests.runtime.lockstep_cell import FakeWorld, lockstep_site

    cell = LockstepCell(FakeWorld(), lockstep_site())
    film = Film(cell)
    while cell.now < 0.5 - 1e-9:
        film.expose()
        cell.go_on()
    return film.encode()
